"""FIFO queues: order within a group, one receive at a time for each group, deduplication."""

from typing import Any

import pytest

from router import limits
from router.simulator.errors import InvalidParameterValue, MissingParameter
from router.simulator.records import DEDUPLICATION, Draft, Stored, message_key
from router.sinks.base import Retryable
from router.store.base import Batch, Table, successor
from tests.simulator.bench import FIFO, FIFO_URL, Bench


@pytest.fixture
async def fifo(bench: Bench) -> Bench:
    await bench.queue("orders.fifo", ContentBasedDeduplication="true")
    return bench


async def put(bench: Bench, *messages: str) -> None:
    """Messages `group/text`."""
    for message in messages:
        await bench.send(message, QueueUrl=FIFO_URL, MessageGroupId=message.partition("/")[0])


async def receive(bench: Bench, wanted: int = 10, **fields: Any) -> list[dict[str, Any]]:
    return await bench.receive(wanted, QueueUrl=FIFO_URL, **fields)


async def bodies(bench: Bench, wanted: int = 10, **fields: Any) -> list[str]:
    return [message["Body"] for message in await receive(bench, wanted, **fields)]


async def test_a_group_in_flight_is_blocked_and_others_are_not(fifo: Bench) -> None:
    await put(fifo, "a/1", "a/2", "b/1", "a/3")
    (first,) = await receive(fifo, 1)
    assert first["Body"] == "a/1"
    assert await bodies(fifo) == ["b/1"]
    await fifo.delete(first, FIFO_URL)
    assert await bodies(fifo) == ["a/2", "a/3"]


async def test_one_receive_takes_a_group_in_order(fifo: Bench) -> None:
    await put(fifo, *(f"a/{number}" for number in range(8)))
    assert await bodies(fifo, 5) == [f"a/{number}" for number in range(5)]
    assert await bodies(fifo, 5) == []


async def test_what_comes_back_comes_before_what_follows(fifo: Bench) -> None:
    await put(fifo, *(f"a/{number}" for number in range(5)))
    first, second = await receive(fifo, 2, VisibilityTimeout=10)
    await fifo.delete(second, FIFO_URL)
    assert await bodies(fifo) == []
    fifo.world.advance(10)
    assert await bodies(fifo) == [first["Body"], "a/2", "a/3", "a/4"]


async def test_order_holds_over_many_groups_and_restarts(fifo: Bench) -> None:
    drafts = [Draft(f"{number % 7}/{number}".encode(), group_id=str(number % 7)) for number in range(700)]
    batch = Batch()
    fifo.inboxes.deposit_many(batch, FIFO, drafts)
    await fifo.store.commit(batch)
    seen: dict[str, list[int]] = {}
    for turn in range(200):
        messages = await receive(fifo, 1 + turn % 10)
        for message in messages[:1] if turn % 3 else messages:
            group, _, number = message["Body"].partition("/")
            seen.setdefault(group, []).append(int(number))
            await fifo.delete(message, FIFO_URL)
        fifo.world.advance(31)
        if turn % 50 == 0:
            await fifo.reopen()
    assert seen
    assert all(numbers == [int(group) + 7 * step for step in range(len(numbers))] for group, numbers in seen.items())


async def test_a_deduplication_id_counts_for_five_minutes_and_over_restarts(fifo: Bench) -> None:
    send: dict[str, Any] = {"QueueUrl": FIFO_URL, "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    first = await fifo("SendMessage", MessageBody="one", **send)
    again = await fifo("SendMessage", MessageBody="two", **send)
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    (message,) = await receive(fifo)
    await fifo.delete(message, FIFO_URL)
    await fifo.reopen()
    await fifo("SendMessage", MessageBody="three", **send)
    assert await receive(fifo) == []
    fifo.world.advance(limits.DEDUPLICATION_S)
    await fifo("SendMessage", MessageBody="four", **send)
    assert await bodies(fifo) == ["four"]


async def test_equal_contents_are_one_message(fifo: Bench) -> None:
    await put(fifo, "a/1", "a/1", "a/2")
    messages = await receive(fifo)
    assert [message["Body"] for message in messages] == ["a/1", "a/2"]
    assert len(messages[0]["Attributes"]["MessageDeduplicationId"]) == 64
    assert messages[0]["Attributes"]["MessageGroupId"] == "a"


async def test_deduplication_by_group(bench: Bench) -> None:
    await bench.queue("orders.fifo", ContentBasedDeduplication="true", DeduplicationScope="messageGroup")
    for group in "ab":
        await bench.send("same", QueueUrl=FIFO_URL, MessageGroupId=group)
    assert await bodies(bench) == ["same", "same"]


async def test_an_id_under_way_is_neither_duplicate_nor_lost(fifo: Bench) -> None:
    draft = Draft(b"x", group_id="g", dedup_id="d")
    failed = Batch()
    one, two = fifo.inboxes.deposit_many(failed, FIFO, [draft, draft])
    assert one == two
    assert isinstance(one, Stored)
    (other,) = fifo.inboxes.deposit_many(Batch(), FIFO, [draft])
    assert isinstance(other, Retryable)
    fifo.world.advance(11)
    batch = Batch()
    (later,) = fifo.inboxes.deposit_many(batch, FIFO, [draft])
    await fifo.store.commit(batch)
    assert isinstance(later, Stored)
    assert await bodies(fifo) == ["x"]


async def test_ended_ids_are_cleared_away(fifo: Bench) -> None:
    for number in range(30):
        await put(fifo, f"a/{number}")
    fifo.world.advance(limits.DEDUPLICATION_S + 61)
    await put(fifo, "a/x", "a/y", "a/z")
    inbox = fifo.inboxes.find(FIFO)
    assert inbox is not None

    rows = fifo.store.scan(Table.MESSAGES, message_key(inbox.prefix, DEDUPLICATION), successor(inbox.prefix))
    assert len(rows) == 6


async def test_the_queues_delay_holds_back_all_alike(bench: Bench) -> None:
    await bench.queue("orders.fifo", ContentBasedDeduplication="true", DelaySeconds="10")
    await put(bench, "a/1")
    bench.world.advance(5)
    await put(bench, "b/1")
    assert await bodies(bench) == []
    bench.world.advance(5)
    assert await bodies(bench) == ["a/1"]


async def test_messages_looked_at_are_bounded(fifo: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIFO_IN_FLIGHT_MAX", 50)
    batch = Batch()
    fifo.inboxes.deposit_many(
        batch, FIFO, [Draft(str(n).encode(), group_id="a" if n < 300 else "b") for n in range(310)]
    )
    await fifo.store.commit(batch)
    (first,) = await receive(fifo, 1)
    assert await bodies(fifo) == []
    inbox = fifo.inboxes.find(FIFO)
    assert inbox is not None
    assert inbox.in_memory <= 50 + 64
    await fifo.delete(first, FIFO_URL)
    assert await bodies(fifo, 2) == ["1", "2"]


async def test_a_receipt_that_ended_is_refused(fifo: Bench) -> None:
    await put(fifo, "a/1")
    (message,) = await receive(fifo, VisibilityTimeout=1)
    fifo.world.advance(2)
    with pytest.raises(InvalidParameterValue, match="The receipt handle has expired"):
        await fifo.delete(message, FIFO_URL)


async def test_dead_letters_keep_group_and_order(bench: Bench) -> None:
    await bench.queue("letters.fifo")
    arn = "arn:aws:sqs:us-east-1:111111111111:letters.fifo"
    await bench.queue(
        "orders.fifo",
        ContentBasedDeduplication="true",
        RedrivePolicy=f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":1}}',
    )
    await put(bench, "a/1", "a/2")
    assert await bodies(bench, 1, VisibilityTimeout=0) == ["a/1"]
    assert await bodies(bench, VisibilityTimeout=0) == ["a/2"]
    assert await bodies(bench) == []
    assert await bodies(bench) == []
    letters = await bench.receive(QueueUrl="http://hub/111111111111/letters.fifo")
    assert [message["Body"] for message in letters] == ["a/1", "a/2"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, MissingParameter),
        ({"MessageGroupId": "g", "DelaySeconds": 5, "MessageDeduplicationId": "d"}, InvalidParameterValue),
        ({"MessageGroupId": "g"}, InvalidParameterValue),
        ({"MessageGroupId": "has space", "MessageDeduplicationId": "d"}, InvalidParameterValue),
    ],
)
async def test_what_a_fifo_queue_refuses(bench: Bench, fields: dict[str, Any], error: type[Exception]) -> None:
    await bench.queue("orders.fifo")
    with pytest.raises(error):
        await bench.send("x", QueueUrl=FIFO_URL, **fields)
