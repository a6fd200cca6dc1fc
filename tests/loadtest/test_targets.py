"""The fast targets answer as the real ones, and tell what came."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.client import Connection, request
from loadtest.targets import Targets


@pytest.fixture
def targets() -> Iterator[Targets]:
    with Targets() as running:
        yield running


async def sqs(connection: Connection, action: str, **body: Any) -> Any:
    payload = request(f"AmazonSQS.{action}", body, account="1" * 12, region="us-east-1", service="sqs")
    status, answer = await connection.send(payload)
    assert status == 200
    return json.loads(answer)


async def test_a_post_is_an_event_and_when_it_came_first_is_kept(targets: Targets) -> None:
    connection = await Connection.open(targets.port)
    before = time.perf_counter()
    bodies = [b'{"version":"0","id":"e1","detail":{"id":"x"}}', b'{"id": "e2"}', b'{"version":"0","id":"e1"}', b"no"]
    for body in bodies:
        head = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert await connection.send(head + body) == (200, b"")
    connection.close()
    arrived = targets.arrived()
    assert list(arrived) == ["e1", "e2"]
    assert before < arrived["e1"] < arrived["e2"] < time.perf_counter()
    assert targets.counts().posts == 4
    targets.forget()
    assert (targets.arrived(), targets.counts().posts) == ({}, 4)


async def test_a_batch_of_messages_is_taken_each_with_its_event(targets: Targets) -> None:
    connection = await Connection.open(targets.port)
    entries = [{"Id": str(n), "MessageBody": json.dumps({"id": f"e{n}", "detail": {"Id": "z"}})} for n in range(3)]
    answer = await sqs(connection, "SendMessageBatch", QueueUrl="q", Entries=entries)
    connection.close()
    assert [sent["Id"] for sent in answer["Successful"]] == ["0", "1", "2"]
    assert answer["Failed"] == []
    assert (targets.counts().messages, list(targets.arrived())) == (3, ["e0", "e1", "e2"])


async def test_so_many_messages_are_given_as_were_opened_each_once(targets: Targets) -> None:
    connection = await Connection.open(targets.port)
    receive = {"QueueUrl": "q", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0}
    assert await sqs(connection, "ReceiveMessage", **receive) == {}
    targets.open(25)
    batches = [(await sqs(connection, "ReceiveMessage", **receive)).get("Messages", []) for _ in range(4)]
    assert [len(batch) for batch in batches] == [10, 10, 5, 0]
    ids = {message["MessageId"] for batch in batches for message in batch}
    assert len(ids) == 25
    assert json.loads(batches[0][0]["Body"])["Source"] == "shop"
    handles = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(batches[0])]
    for _ in range(2):  # deleted twice is deleted once
        answer = await sqs(connection, "DeleteMessageBatch", QueueUrl="q", Entries=handles)
        assert [deleted["Id"] for deleted in answer["Successful"]] == [str(n) for n in range(10)]
    connection.close()
    counts = targets.counts()
    assert (counts.left, counts.given, counts.deleted) == (0, 25, 10)


async def test_who_waits_for_messages_gets_them_when_they_are_opened(targets: Targets) -> None:
    connection = await Connection.open(targets.port)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(sqs(connection, "ReceiveMessage", QueueUrl="q", WaitTimeSeconds=20))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await asyncio.to_thread(targets.open, 1)
    connection.close()
    assert len(waiting.result()["Messages"]) == 1
