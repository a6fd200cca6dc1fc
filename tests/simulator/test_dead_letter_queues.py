"""RedrivePolicy: messages received too often move, whole and once."""

import json
from typing import Any

import pytest

from router.simulator.errors import InvalidParameterValue
from tests.simulator.bench import URL, Bench

LETTERS = "arn:aws:sqs:us-east-1:111111111111:letters"
LETTERS_URL = "http://hub/111111111111/letters"


def policy(arn: str = LETTERS, count: object = 2) -> str:
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": count})


async def test_a_message_received_too_often_moves(bench: Bench) -> None:
    await bench.queue("letters")
    await bench.queue(RedrivePolicy=policy())
    await bench.send("poison")
    await bench.deposit("fine")
    for _ in range(2):
        assert set(await bench.bodies(VisibilityTimeout=0)) == {"poison", "fine"}
    await bench.send("new")
    assert await bench.bodies() == ["new"]
    moved = {message["Body"]: message for message in await bench.receive(QueueUrl=LETTERS_URL)}
    assert set(moved) == {"poison", "fine"}
    assert moved["poison"]["Attributes"]["DeadLetterQueueSourceArn"] == "arn:aws:sqs:us-east-1:111111111111:orders"
    assert await bench.counts() == (0, 1, 0)
    assert await bench.counts(LETTERS_URL) == (0, 2, 0)


async def test_receive_counts_survive_a_restart(bench: Bench) -> None:
    await bench.queue("letters")
    await bench.queue(RedrivePolicy=policy())
    await bench.send("poison")
    for _ in range(2):
        await bench.receive()
        await bench.reopen()
    assert await bench.bodies() == []
    assert await bench.bodies(QueueUrl=LETTERS_URL) == ["poison"]


async def test_without_its_dead_letter_queue_a_message_stays(bench: Bench) -> None:
    await bench.queue("letters")
    await bench.queue(RedrivePolicy=policy())
    await bench.send("poison")
    await bench("DeleteQueue", QueueUrl=LETTERS_URL)
    for _ in range(4):
        assert await bench.bodies(VisibilityTimeout=0) == ["poison"]


@pytest.mark.parametrize(
    "value",
    [
        policy("arn:aws:sqs:us-east-1:111111111111:absent"),
        policy("arn:aws:sqs:eu-west-1:111111111111:letters"),
        policy("arn:aws:sqs:us-east-1:111111111111:orders"),
        policy(count=0),
        policy(count=1001),
        '{"maxReceiveCount": 3}',
    ],
)
async def test_a_bad_redrive_policy_is_refused(bench: Bench, value: str) -> None:
    await bench.queue("letters")
    with pytest.raises(InvalidParameterValue):
        await bench.queue(RedrivePolicy=value)


async def test_the_dead_letter_queue_says_who_may_use_it(bench: Bench) -> None:
    await bench.queue("letters", RedriveAllowPolicy='{"redrivePermission":"denyAll"}')
    with pytest.raises(InvalidParameterValue, match="does not allow"):
        await bench.queue(RedrivePolicy=policy())


async def test_an_empty_policy_takes_the_policy_away(bench: Bench) -> None:
    await bench.queue("letters")
    await bench.queue(RedrivePolicy=policy(count="3"))
    asked: dict[str, Any] = {"QueueUrl": URL, "AttributeNames": ["RedrivePolicy"]}
    got = await bench("GetQueueAttributes", **asked)
    assert json.loads(got["Attributes"]["RedrivePolicy"]) == {"deadLetterTargetArn": LETTERS, "maxReceiveCount": 3}
    await bench("SetQueueAttributes", QueueUrl=URL, Attributes={"RedrivePolicy": ""})
    assert await bench("GetQueueAttributes", **asked) == {"Attributes": {}}
