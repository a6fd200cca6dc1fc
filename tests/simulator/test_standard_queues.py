"""Standard queues: what is received, when, how often, and what a restart keeps."""

import asyncio
from hashlib import md5

import pytest

from router import limits
from router.errors import ApiError, ServiceUnavailable
from router.simulator.errors import (
    InvalidParameterValue,
    MessageNotInflight,
    OverLimit,
    QueueDoesNotExist,
    ReceiptHandleIsInvalid,
    RequestThrottled,
)
from router.simulator.records import Draft
from router.store.base import Batch, StoreFull
from tests.simulator.bench import QUEUE, URL, Bench


async def test_a_message_is_received_once_then_hidden_then_deleted(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a")
    (message,) = await bench.receive()
    assert (message["Body"], message["MD5OfBody"]) == ("a", md5(b"a", usedforsecurity=False).hexdigest())
    assert await bench.receive() == []
    await bench.delete(message)
    bench.world.advance(3600)
    assert await bench.receive() == []
    assert await bench.counts() == (0, 0, 0)


async def test_an_unacknowledged_message_comes_back_with_its_count(bench: Bench) -> None:
    await bench.queue(VisibilityTimeout="5")
    await bench.send("a")
    first = (await bench.receive())[0]["Attributes"]
    bench.world.advance(5)
    second = (await bench.receive())[0]["Attributes"]
    assert (first["ApproximateReceiveCount"], second["ApproximateReceiveCount"]) == ("1", "2")
    assert second["ApproximateFirstReceiveTimestamp"] == first["ApproximateFirstReceiveTimestamp"]
    assert second["SenderId"] == "111111111111"


async def test_visibility_can_be_shortened_and_lengthened(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a")
    (message,) = await bench.receive()
    handle = message["ReceiptHandle"]
    await bench("ChangeMessageVisibility", QueueUrl=URL, ReceiptHandle=handle, VisibilityTimeout=100)
    bench.world.advance(60)
    assert await bench.receive() == []
    await bench("ChangeMessageVisibility", QueueUrl=URL, ReceiptHandle=handle, VisibilityTimeout=0)
    assert len(await bench.receive()) == 1


async def test_visibility_of_a_message_that_is_not_in_flight_cannot_change(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a")
    (message,) = await bench.receive(VisibilityTimeout=0)
    with pytest.raises(MessageNotInflight):
        await bench(
            "ChangeMessageVisibility", QueueUrl=URL, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=1
        )


async def test_a_message_nobody_deletes_does_not_hide_the_others(bench: Bench) -> None:
    await bench.queue()
    await bench.send(*"abcd")
    seen = {(await bench.bodies(1, VisibilityTimeout=0))[0] for _ in range(12)}
    assert seen == set("abcd")


async def test_an_outdated_receipt_deletes_nothing(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a")
    (old,) = await bench.receive(VisibilityTimeout=0)
    await bench.receive()
    await bench.delete(old)
    assert await bench.counts() == (0, 1, 0)


async def test_two_deletes_of_one_message_count_once(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a", "b")
    (message,) = await bench.receive(1)
    await asyncio.gather(bench.delete(message), bench.delete(message))
    await bench.delete(message)
    assert await bench.counts() == (1, 0, 0)


async def test_delayed_messages_appear_when_they_are_due(bench: Bench) -> None:
    await bench.queue(DelaySeconds="10")
    await bench.send("queue's delay")
    await bench.send("own delay", DelaySeconds=60)
    await bench.send("none", DelaySeconds=0)
    assert await bench.bodies() == ["none"]
    assert await bench.counts() == (0, 1, 2)
    bench.world.advance(11)
    assert await bench.bodies() == ["queue's delay"]
    await bench.reopen()
    assert (await bench.counts())[2] == 1
    bench.world.advance(50)
    assert "own delay" in await bench.bodies()
    assert (await bench.counts())[2] == 0


async def test_expired_messages_are_neither_received_nor_counted(bench: Bench) -> None:
    await bench.queue(MessageRetentionPeriod="60")
    await bench.send("old")
    bench.world.advance(30)
    await bench.send("new")
    bench.world.advance(31)
    assert await bench.bodies() == ["new"]
    assert await bench.counts() == (0, 1, 0)


async def test_the_sweep_removes_expired_messages_nobody_receives(bench: Bench) -> None:
    await bench.queue(MessageRetentionPeriod="60")
    await bench.deposit(*(str(number) for number in range(2500)))
    await bench.send("delayed", DelaySeconds=5)
    bench.world.advance(59)
    await bench.send("new")
    bench.world.advance(2)
    await bench.house.sweep()
    assert await bench.counts() == (1, 0, 0)
    assert await bench.bodies() == ["new"]


async def test_long_polling_is_woken_by_a_deposit(bench: Bench) -> None:
    await bench.queue()
    poll = asyncio.ensure_future(bench.bodies(WaitTimeSeconds=20))
    await asyncio.sleep(0.05)
    await bench.deposit("a")
    assert await poll == ["a"]


async def test_long_polling_is_woken_when_the_hub_stops(bench: Bench) -> None:
    await bench.queue(ReceiveMessageWaitTimeSeconds="20")
    poll = asyncio.ensure_future(bench.bodies())
    await asyncio.sleep(0.05)
    bench.inboxes.stop()
    assert await poll == []


async def test_long_polling_on_a_queue_that_is_deleted_ends(bench: Bench) -> None:
    await bench.queue()
    poll = asyncio.ensure_future(bench.bodies(WaitTimeSeconds=20))
    await asyncio.sleep(0.05)
    await bench("DeleteQueue", QueueUrl=URL)
    with pytest.raises(QueueDoesNotExist):
        await poll


async def test_a_restart_keeps_messages_and_makes_them_visible(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a", "b")
    (message,) = await bench.receive(1)
    await bench.reopen()
    assert await bench.counts() == (2, 0, 0)
    await bench.delete(message)
    assert await bench.bodies() == ["b"]


@pytest.mark.parametrize("clean", [True, False])
async def test_counts_are_right_after_every_kind_of_restart(bench: Bench, clean: bool) -> None:
    await bench.queue()
    await bench.deposit(*"abcde")
    await bench.reopen(clean=clean)
    assert await bench.counts() == (5, 0, 0)
    await bench.delete((await bench.receive(1))[0])
    await bench.send("f", "g")
    await bench.reopen()
    assert await bench.counts() == (6, 0, 0)


async def test_memory_holds_only_what_is_in_flight(bench: Bench) -> None:
    await bench.queue()
    for _ in range(20):
        await bench.deposit(*("x" for _ in range(1000)))
    inbox = bench.inboxes.find(QUEUE)
    assert inbox is not None
    for _ in range(30):
        for message in await bench.receive():
            await bench.delete(message)
    await bench.receive()
    assert (inbox.count, inbox.in_memory) == (19_700, 10)


async def test_in_flight_messages_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUEUE_IN_FLIGHT_MAX", 12)
    await bench.queue()
    await bench.deposit(*(str(number) for number in range(40)))
    assert [len(await bench.receive()) for _ in range(2)] == [10, 2]
    with pytest.raises(OverLimit):
        await bench.receive()
    bench.world.advance(31)
    assert len(await bench.receive()) == 10


async def test_a_batch_that_fails_leaves_no_message_and_no_count(bench: Bench) -> None:
    await bench.queue()
    await bench.send("kept")
    huge = ["x" * 1_000_000] * 80
    with pytest.raises(StoreFull):
        await bench.deposit(*huge)
    assert await bench.counts() == (1, 0, 0)
    assert await bench.bodies() == ["kept"]
    await bench.send("after")
    assert await bench.bodies() == ["after"]
    await bench.reopen()
    assert await bench.counts() == (2, 0, 0)


async def test_a_message_the_store_refuses_is_not_acknowledged(bench: Bench) -> None:
    await bench.queue()
    await bench.store.close()
    with pytest.raises(ServiceUnavailable):
        await bench.send("a")
    bench.open()


async def test_messages_that_become_durable_out_of_order_are_all_received(bench: Bench) -> None:

    await bench.queue()
    early, late = Batch(), Batch()
    bench.inboxes.deposit_many(early, QUEUE, [Draft(b"early")])
    bench.inboxes.deposit_many(late, QUEUE, [Draft(b"late")])
    await bench.store.commit(late)
    assert await bench.bodies() == ["late"]
    await bench.store.commit(early)
    assert await bench.bodies() == ["early"]
    assert await bench.bodies() == []


async def test_a_full_queue_throttles(bench: Bench) -> None:
    bench.messages_max = 2
    await bench.reopen()
    await bench.queue()
    await bench.send("a", "b")
    with pytest.raises(RequestThrottled, match="is full: it holds 2 messages, at most 2"):
        await bench.send("c")
    await bench.delete((await bench.receive(1))[0])
    await bench.send("c")


async def test_purge_empties_at_once_and_old_receipts_do_nothing(bench: Bench) -> None:
    await bench.queue()
    await bench.deposit(*(str(number) for number in range(1500)))
    (message,) = await bench.receive(1)
    await bench("PurgeQueue", QueueUrl=URL)
    await bench.send("after")
    await bench.delete(message)
    assert await bench.counts() == (1, 0, 0)
    await bench.reopen()
    bench.world.advance(61)
    await bench.house.collect()
    assert bench.inboxes.gone == {}
    assert await bench.bodies() == ["after"]
    await bench.reopen()
    assert bench.inboxes.gone == {}


async def test_a_queue_made_again_is_empty(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a")
    await bench("DeleteQueue", QueueUrl=URL)
    await bench.queue()
    assert await bench.counts() == (0, 0, 0)
    await bench.reopen()
    assert await bench.bodies() == []


@pytest.mark.parametrize("handle", ["", "nonsense", "A" * 27 + "=", "é"])
async def test_a_bad_receipt_handle_is_refused(bench: Bench, handle: str) -> None:
    await bench.queue()
    await bench.queue("other")
    with pytest.raises((ReceiptHandleIsInvalid, InvalidParameterValue)):
        await bench("ChangeMessageVisibility", QueueUrl=URL, ReceiptHandle=handle, VisibilityTimeout=1)


async def test_the_receipt_of_another_queue_is_refused(bench: Bench) -> None:
    await bench.queue()
    await bench.queue("other")
    await bench.send("a")
    (message,) = await bench.receive()
    with pytest.raises(ReceiptHandleIsInvalid):
        await bench.delete(message, URL.replace("orders", "other"))


async def test_batch_deletes_answer_for_each_entry(bench: Bench) -> None:
    await bench.queue()
    await bench.send("a", "b")
    one, two = await bench.receive()
    answer = await bench(
        "DeleteMessageBatch",
        QueueUrl=URL,
        Entries=[
            {"Id": "1", "ReceiptHandle": one["ReceiptHandle"]},
            {"Id": "2", "ReceiptHandle": "bad"},
            {"Id": "3", "ReceiptHandle": two["ReceiptHandle"]},
        ],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["1", "3"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("2", "ReceiptHandleIsInvalid")]
    assert await bench.counts() == (0, 0, 0)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"MaxNumberOfMessages": 11},
        {"WaitTimeSeconds": 21},
        {"VisibilityTimeout": 43_201},
        {"ReceiveRequestAttemptId": "x"},
    ],
)
async def test_receives_out_of_range_are_refused(bench: Bench, request_fields: dict[str, int]) -> None:
    await bench.queue()
    with pytest.raises(ApiError):
        await bench.receive(**request_fields)
