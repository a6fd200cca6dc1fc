"""`/_hub/v1/explain`: questions in every form, rules that match and do not see the event, and what is refused."""

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from router import limits
from router.api import explain
from router.errors import ApiError
from router.pipeline import Pipeline
from tests.pipeline.hub import FAR, HERE, OTHER, Hub, ScriptedSink, running
from tests.pipeline.memory_store import MemoryStore

READ = {
    "version": "0",
    "id": "e-1",
    "detail-type": "AWS API Call via CloudTrail",
    "source": "aws.secretsmanager",
    "account": "111111111111",
    "time": "2026-11-23T10:00:00Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {"eventName": "GetSecretValue", "eventSource": "secretsmanager.amazonaws.com"},
}
READS = '{"detail": {"eventName": ["GetSecretValue"]}}'
ALL = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running(MemoryStore(), ScriptedSink()) as made:
        yield made


async def asked(hub: Hub, question: object = None, **query: str) -> Any:
    body = b"" if question is None else question if isinstance(question, bytes) else json.dumps(question).encode()
    pipeline: Pipeline = hub.pipeline
    answer = await explain.answer(query, body, catalog=hub.catalog, pipeline=pipeline, default_location=HERE)
    return json.loads(msgspec.json.encode(answer))


async def refused(hub: Hub, question: object = None, **query: str) -> str:
    with pytest.raises(ApiError) as error:
        await asked(hub, question, **query)
    return f"{error.value.code}: {error.value.message}"


async def put(hub: Hub, name: str, pattern: str, **options: Any) -> None:
    await hub.catalog.put_rule(HERE, "default", name, created_by=HERE.account, event_pattern=pattern, **options)


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_pattern_and_an_event_come_as_objects_or_as_text(hub: Hub, as_text: bool) -> None:
    pattern: Any = {"source": ["aws.s3"]}
    question = (
        {"pattern": json.dumps(pattern), "event": json.dumps(READ)} if as_text else {"pattern": pattern, "event": READ}
    )
    answer = await asked(hub, question)
    assert answer["summary"] == 'differs in source: expected one of "aws.s3", got "aws.secretsmanager"'
    assert [field["path"] for field in answer["fields"]] == ["source"]


async def test_without_a_body_the_query_asks(hub: Hub) -> None:
    assert (await asked(hub, pattern='{"source": ["a"]}', event='{"source": "a"}'))["matched"]
    await put(hub, "r", READS, state=ALL)
    here = {"bus": "default", "account": HERE.account, "region": HERE.region}
    assert (await asked(hub, None, event=json.dumps(READ), **here))["matched"] == ["r"]


async def test_the_rules_of_a_bus_that_match_are_named(hub: Hub) -> None:
    for name in ("b", "a"):
        await put(hub, name, READS, state=ALL)
    await put(hub, "other", '{"source": ["x"]}')
    assert await asked(hub, {"bus": "default", "event": READ}) == {
        "bus": "default",
        "account": HERE.account,
        "region": HERE.region,
        "rules": 3,
        "looked_at": 3,
        "matched": ["a", "b"],
        "withheld": [],
        "nearest": None,
    }


async def test_a_rule_that_does_not_see_the_event_is_told_with_its_state(hub: Hub) -> None:
    await put(hub, "enabled", READS)
    await put(hub, "disabled", READS, state="DISABLED")
    answer = await asked(hub, {"bus": "default", "event": READ})
    reason = "matches, but its state ENABLED does not see read-only management events"
    assert answer["matched"] == []
    assert answer["withheld"] == [
        {"rule": "disabled", "state": "DISABLED", "reason": "matches, but it is DISABLED"},
        {"rule": "enabled", "state": "ENABLED", "reason": reason},
    ]
    assert (answer["nearest"]["failing"], answer["nearest"]["summary"]) == (0, "matches, but it is DISABLED")
    written = {**READ, "detail": {**READ["detail"], "eventName": "PutSecretValue"}}  # type: ignore[dict-item]
    await put(hub, "writes", '{"detail": {"eventName": ["PutSecretValue"]}}')
    assert (await asked(hub, {"bus": "default", "event": written}))["matched"] == ["writes"]
    custom = {**READ, "source": "shop"}
    assert (await asked(hub, {"bus": "default", "event": custom}))["matched"] == ["enabled"]
    partial = {"detail": READ["detail"]}
    assert (await asked(hub, {"bus": "default", "event": partial}))["matched"] == ["enabled"]


async def test_where_no_rule_matches_the_nearest_is_explained(hub: Hub) -> None:
    await put(hub, "far", '{"source": ["x"], "account": ["222222222222"]}')
    await put(hub, "near", '{"source": ["aws.secretsmanager"], "detail": {"eventName": ["PutSecretValue"]}}')
    near = (await asked(hub, {"bus": "default", "event": READ}))["nearest"]
    assert (near["rule"], near["state"], near["failing"]) == ("near", "ENABLED", 1)
    assert near["summary"] == 'differs in detail.eventName: expected one of "PutSecretValue", got "GetSecretValue"'
    assert near["explanation"]["summary"] == near["summary"]


async def test_one_rule_is_asked_about_by_its_name(hub: Hub) -> None:
    await put(hub, "all", '{"source": [{"prefix": ""}]}', state=ALL)
    await put(hub, "mine", '{"source": ["x"]}')
    question = {"bus": "default", "event": READ}
    assert (await asked(hub, question))["nearest"] is None
    answer = await asked(hub, {**question, "rule": "mine"})
    assert (answer["rules"], answer["looked_at"], answer["matched"]) == (1, 1, [])
    assert answer["nearest"]["rule"] == "mine"
    assert (await asked(hub, {**question, "rule": "all"}))["matched"] == ["all"]
    missing = await refused(hub, {**question, "rule": "no"})
    assert missing == "ResourceNotFoundException: Rule no does not exist on EventBus default."


async def test_a_bus_without_rules_has_no_nearest(hub: Hub) -> None:
    answer = await asked(hub, {"bus": "default", "event": READ, "account": OTHER.account})
    assert (answer["account"], answer["region"], answer["rules"], answer["nearest"]) == (
        OTHER.account,
        HERE.region,
        0,
        None,
    )
    arn = f"arn:aws:events:{FAR.region}:{FAR.account}:event-bus/default"
    assert (await asked(hub, {"bus": arn, "event": READ}))["region"] == FAR.region


async def test_many_rules_are_looked_at_in_turns_and_up_to_a_bound(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(explain.RULES_A_TURN + 5):
        await put(
            hub, f"r{number:03}", READS if number in (0, explain.RULES_A_TURN + 1) else '{"source": ["x"]}', state=ALL
        )
    answer = await asked(hub, {"bus": "default", "event": READ})
    assert (answer["looked_at"], answer["matched"]) == (explain.RULES_A_TURN + 5, ["r000", "r051"])
    monkeypatch.setattr(limits, "EXPLAINED_RULES_MAX", 10)
    answer = await asked(hub, {"bus": "default", "event": READ})
    assert (answer["rules"], answer["looked_at"], answer["matched"]) == (explain.RULES_A_TURN + 5, 10, ["r000"])


FORM = 'ValidationException: expected {"pattern": …, "event": …} or {"bus": …, "event": …}'
EVENT = "ValidationException: Parameter Event is not valid. Reason: expected "


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (None, f"{FORM}, got nothing"),
        ({"event": READ}, f"{FORM}, got event"),
        ({"bus": "default"}, f"{FORM}, got bus"),
        ({"bus": "default", "pattern": {}, "event": {}}, f"{FORM}, got pattern, event, bus"),
        ({"patern": {}}, f"{FORM}: Object contains unknown field `patern`"),
        ({"bus": 5, "event": {}}, f"{FORM}: Expected `str | null`, got `int` - at `$.bus`"),
        (b"{", f"{FORM}: Input data was truncated"),
        (b"[]", f"{FORM}: Expected `object`, got `array`"),
        (b'{"pattern": {}, "event": "\xff"}', "ValidationException: expected JSON in UTF-8, got "),
        (b'{"pattern": {}, "event": {"\xff": 1}}', "ValidationException: expected JSON in UTF-8, got "),
        ({"pattern": {"source": ["a"]}, "event": []}, f"{EVENT}a JSON object"),
        ({"pattern": {"source": ["a"]}, "event": "x"}, f"{EVENT}strict JSON"),
        ({"bus": "default", "event": []}, f"{EVENT}a JSON object"),
        ({"pattern": {"source": "a"}, "event": {}}, 'InvalidEventPatternException: Event pattern is not valid. Re'),
        ({"pattern": {"source": ["a" * 5000]}, "event": {}}, "ValidationException: expected a pattern of at most 4"),
        ({"pattern": {"source": ["a"]}, "event": "x" * 1_100_000}, "ValidationException: expected an event of at m"),
        ({"pattern": {"source": ["a"]}, "event": {}, "account": "1"}, "ValidationException: expected `rule`, `accou"),
        ({"bus": "no", "event": {}}, "ResourceNotFoundException: Event bus no does not exist in 1111"),
        ({"bus": "default", "event": {}, "region": "x"}, "ResourceNotFoundException: Event bus default does not exist"),
        ({"bus": "a b", "event": {}}, "ValidationException: Expected the name of an event bus or its ARN, got 'a b'"),
        (
            {"bus": f"arn:aws:events:{FAR.region}:{FAR.account}:event-bus/default", "event": {}, "region": "x"},
            "ValidationException: expected `account` and `region` with a bus's name, got them with its ARN",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_is_refused(hub: Hub, question: object, said: str) -> None:
    assert (await refused(hub, question)).startswith(said)


async def test_unknown_query_parameters_are_refused(hub: Hub) -> None:
    assert (await refused(hub, None, patern="x")).startswith(f"{FORM}: Object contains unknown field `patern`")
