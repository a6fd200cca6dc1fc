"""PutEvents to the letter, over the wire's service and the real data path in memory."""

import calendar
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import botocore.model
import botocore.serialize
import botocore.session
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api import put_events
from router.api.put_events import FindEndpoint, PutEvents, _breaks_model, _Entry
from router.aws.model import load_model
from router.aws.service import Caller, Service
from router.aws.validate import read_input
from router.catalog import permissions
from router.catalog.endpoints import Endpoint
from router.catalog.model import Bus
from router.core.arn import bus_arn, endpoint_arn
from router.core.policy import Decision, Principal
from router.errors import ApiError
from router.sources.intake import Intake
from tests.pipeline.hub import FAR, HERE, ORDERS, OTHER, Hub, ScriptedSink, running, until
from tests.pipeline.memory_store import MemoryStore
from tests.shared import needs_shared, rows

ME = Caller(HERE.account, HERE.region)
THEM = Caller(OTHER.account, OTHER.region)
GOOD: dict[str, Any] = {"Source": "orders", "DetailType": "type", "Detail": '{"n":1}'}
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


class Api:
    """PutEvents of one hub, which has the rule `orders` on its default bus."""

    def __init__(self, hub: Hub, sink: ScriptedSink, find_endpoint: FindEndpoint, bytes_max: int) -> None:
        self.hub, self.sink = hub, sink
        intake = Intake(
            pipeline=hub.pipeline,
            find_bus=hub.catalog.bus,
            authorize=self._authorize,
            trails=lambda location: [],
            world=hub.world,
            metrics=hub.metrics,
            put_events_bytes_max=bytes_max,
        )
        operation = PutEvents(intake, lambda body: self._service.read("PutEvents", body), find_endpoint)
        self._service = Service("events", {}, {"PutEvents": operation})

    def _authorize(self, sender: Principal, bus: Bus, source: str | None, detail_type: str | None) -> Decision:
        return permissions.authorize_put_events(
            self.hub.catalog,
            sender,
            bus,
            source=source,
            detail_type=detail_type,
            org_id=None,
            via_rule_arn=None,
        )

    async def call(self, *entries: Any, caller: Caller = ME, **request: Any) -> list[dict[str, Any]]:
        """The answer's entries."""
        body = json.dumps({"Entries": list(entries), **request}).encode()
        answer = json.loads(await self._service.call("PutEvents", body, caller))
        assert answer["FailedEntryCount"] == sum("ErrorCode" in entry for entry in answer["Entries"])
        assert len(answer["Entries"]) == len(entries)
        found: list[dict[str, Any]] = answer["Entries"]
        return found

    async def refused(self, *entries: Any, caller: Caller = ME, **request: Any) -> str:
        try:
            answer = await self.call(*entries, caller=caller, **request)
        except ApiError as error:
            return f"{error.code}: {error.message}"
        raise AssertionError(f"taken: {answer}")

    async def sent(self, count: int) -> list[Any]:
        """What was sent to the rule's target, with its envelope fields."""
        await until(lambda: self.hub.settled() and len(self.sink.sent) >= count)
        assert len(self.sink.sent) == count
        return [attempt.accepted for attempt in self.sink.sent]


@asynccontextmanager
async def serving(
    find_endpoint: FindEndpoint = lambda account, endpoint_id: None, bytes_max: int = 1 << 20
) -> AsyncIterator[Api]:
    sink = ScriptedSink()
    async with running(MemoryStore(), sink) as hub:
        await hub.rule()
        yield Api(hub, sink, find_endpoint, bytes_max)


async def open_to(api: Api, bus: str, *, name: str = "default", **statement: Any) -> None:
    given_ = {"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": bus, **statement}
    await api.hub.catalog.put_policy(HERE, name, json.dumps({"Statement": given_}))


DEFAULT = bus_arn(HERE, "default")


# who may


async def test_one_denied_entry_refuses_the_whole_request() -> None:
    async with serving() as api:
        closed = bus_arn(OTHER, "default")
        assert await api.refused(GOOD, {**GOOD, "EventBusName": closed}) == (
            f"AccessDeniedException: User: arn:aws:iam::{HERE.account}:root is not authorized to perform: "
            f"events:PutEvents on resource: {closed} because no resource-based policy allows the events:PutEvents "
            "action"
        )
        assert api.sink.sent == []
        assert api.hub.settled()


@pytest.mark.parametrize(
    "entry", [{}, {"Source": "", "DetailType": "t"}, {**GOOD, "Source": "aws.s3"}, {**GOOD, "Detail": "["}]
)
async def test_a_denied_entry_is_denied_however_bad_it_is(entry: dict[str, Any]) -> None:
    async with serving() as api:
        refused = await api.refused(GOOD, {**entry, "EventBusName": bus_arn(OTHER, "default")})
        assert refused.startswith("AccessDeniedException")


async def test_the_policy_is_asked_for_each_entry() -> None:
    async with serving() as api:
        await open_to(api, DEFAULT, Condition={"StringEquals": {"events:source": "orders", "events:detail-type": "t"}})
        mine = {**GOOD, "EventBusName": DEFAULT, "DetailType": "t"}
        await api.call(mine, mine, caller=THEM)
        for other in ({"Source": "bills"}, {"DetailType": "u"}, {"Source": ""}, {"DetailType": None}):
            assert (await api.refused(mine, {**mine, **other}, caller=THEM)).startswith("AccessDeniedException")


async def test_an_express_denial_says_so_and_holds_for_the_own_account() -> None:
    async with serving() as api:
        await open_to(api, DEFAULT, Effect="Deny", Condition={"StringEquals": {"events:source": "bills"}})
        await api.call(GOOD)
        assert await api.refused({**GOOD, "Source": "bills"}) == (
            f"AccessDeniedException: User: arn:aws:iam::{HERE.account}:root is not authorized to perform: "
            f"events:PutEvents on resource: {DEFAULT} with an explicit deny in a resource-based policy"
        )


async def test_the_caller_is_the_user_or_role_that_signed() -> None:
    role = f"arn:aws:iam::{OTHER.account}:role/orders"
    async with serving() as api:
        await open_to(api, DEFAULT, Principal={"AWS": role})
        entry = {**GOOD, "EventBusName": DEFAULT}
        await api.call(entry, caller=msgspec.structs.replace(THEM, arn=role))
        refused = await api.refused(entry, caller=msgspec.structs.replace(THEM, arn=role + "2"))
        assert refused.startswith(f"AccessDeniedException: User: {role}2 is not authorized")


async def test_a_bus_of_another_account_that_does_not_exist_is_closed() -> None:
    async with serving() as api:
        refused = await api.refused({**GOOD, "EventBusName": bus_arn(OTHER, "nowhere")})
        assert refused.startswith("AccessDeniedException")


async def test_an_event_for_another_accounts_bus_is_the_callers() -> None:
    async with serving() as api:
        await open_to(api, DEFAULT)
        (answer,) = await api.call({**GOOD, "EventBusName": DEFAULT}, caller=THEM)
        (accepted,) = await api.sent(1)
        assert (accepted.event.account, accepted.event.region) == (OTHER.account, OTHER.region)
        assert (accepted.location, accepted.bus, accepted.event.id) == (HERE, "default", answer["EventId"])


# which bus


async def test_a_bus_may_be_named_by_name_or_arn() -> None:
    async with serving() as api:
        await api.call(GOOD, {**GOOD, "EventBusName": "default"}, {**GOOD, "EventBusName": DEFAULT})
        await api.sent(3)


async def test_an_unknown_bus_gets_an_id_and_nothing_more() -> None:
    async with serving() as api:
        answers = await api.call(
            {**GOOD, "EventBusName": "nowhere"}, {**GOOD, "EventBusName": bus_arn(HERE, "nowhere")}
        )
        assert [set(answer) for answer in answers] == [{"EventId"}, {"EventId"}]
        assert api.hub.metrics.unknown_bus == 2
        assert (api.hub.settled(), api.sink.sent) == (True, [])


async def test_another_regions_bus_fails_its_entry() -> None:
    async with serving() as api:
        taken, refused = await api.call(GOOD, {**GOOD, "EventBusName": bus_arn(FAR, "default")})
        assert set(taken) == {"EventId"}
        assert refused == {
            "ErrorCode": "InvalidArgument",
            "ErrorMessage": f"Parameter EventBusName is not valid. Reason: the bus is in {FAR.region}, the request is "
            f"for {HERE.region}.",
        }


@pytest.mark.parametrize(
    "bus", ["aws.partner/example.com/a", bus_arn(HERE, "aws.partner/x/y"), "", "a b", "b" * 1601, "arn:aws:events:::x"]
)
async def test_a_bus_name_out_of_the_models_form_refuses_the_request(bus: str) -> None:
    async with serving() as api:
        refused = await api.refused(GOOD, {**GOOD, "EventBusName": bus})
        assert f"detected: Value '{bus}' at 'entries.2.member.eventBusName' failed to satisfy constraint: " in refused


# a global endpoint: what finds its bus is given to PutEvents


ENDPOINT = Endpoint(
    name="both",
    location=HERE,
    arn=endpoint_arn(HERE, "both"),
    created_ms=0,
    modified_ms=0,
    endpoint_id="abcde.veo",
    bus="twin",
    other_region=FAR.region,
    health_check="arn:aws:route53:::healthcheck/x",
    healthy=False,
)


def _far_endpoint(account: str, endpoint_id: str) -> Endpoint | None:
    return ENDPOINT if (account, endpoint_id) == (HERE.account, "abcde.veo") else None


@pytest.mark.parametrize("named", [None, "twin", bus_arn(FAR, "twin"), bus_arn(HERE, "twin")])
async def test_an_endpoint_puts_events_on_its_bus_in_its_region(named: str | None) -> None:
    async with serving(_far_endpoint) as api:
        catalog = api.hub.catalog
        await catalog.create_bus(FAR, "twin")
        await catalog.put_rule(FAR, "twin", "all", created_by=FAR.account, event_pattern=ORDERS)
        target = msgspec.structs.replace(
            catalog.rules(HERE, "default")["orders"].targets[0],
            arn=f"arn:aws:lambda:{FAR.region}:{FAR.account}:function:work",
        )
        await catalog.put_targets(FAR, "twin", "all", [target])
        (answer,) = await api.call({**GOOD, "EventBusName": named}, EndpointId="abcde.veo")
        assert set(answer) == {"EventId"}
        (accepted,) = await api.sent(1)
        assert (accepted.location, accepted.bus, accepted.event.region) == (FAR, "twin", FAR.region)
        assert accepted.event.resources[-1] == ENDPOINT.arn


async def test_what_is_refused_through_an_endpoint_counts_at_its_bus() -> None:
    async with serving(_far_endpoint) as api:
        await api.hub.catalog.create_bus(FAR, "twin")
        (answer,) = await api.call({**GOOD, "Detail": "{"}, EndpointId="abcde.veo")
        assert answer["ErrorCode"] == "MalformedDetail"
        metrics = api.hub.metrics
        assert (metrics.bus(FAR, "twin").refused, metrics.bus(FAR, "default").refused) == (1, 0)


async def test_an_endpoint_that_is_not_there_refuses_the_request() -> None:
    async with serving(_far_endpoint) as api:
        unknown = "ValidationException: Parameter EndpointId is not valid. Reason: Endpoint a.b does not exist."
        assert await api.refused(GOOD, EndpointId="a.b") == unknown
        assert (await api.refused(GOOD, EndpointId="abcde.veo", caller=THEM)).startswith("ValidationException")
        assert "at 'endpointId' failed to satisfy constraint" in await api.refused(GOOD, EndpointId="a b")


# entries


@needs_shared
@pytest.mark.parametrize(
    ("row_id", "change"),
    [
        ("api-0115", {"Detail": None}),
        ("api-0115", {"Detail": ""}),
        ("api-0117", {"DetailType": None}),
        ("api-0117", {"DetailType": ""}),
        ("api-0118", {"Detail": '"a string"'}),
        ("api-0118", {"Detail": json.dumps('{"a":"b"}')}),
        ("api-0119", {"Detail": "[1]"}),
        ("api-0120", {"Detail": '{"a":'}),
    ],
)
async def test_a_bad_entry_fails_alone_as_recorded_on_aws(row_id: str, change: dict[str, Any]) -> None:
    recorded = next(row for row in rows("conformance/api.jsonl") if row["id"] == row_id)["response"]["Entries"][0]
    async with serving() as api:
        answers = await api.call(GOOD, {**GOOD, **change}, GOOD)
        assert answers[1] == recorded
        assert [set(answers[index]) for index in (0, 2)] == [{"EventId"}, {"EventId"}]
        await api.sent(2)


async def test_a_request_in_which_no_entry_is_good_is_answered_entry_by_entry() -> None:
    async with serving() as api:
        answers = await api.call({}, {"Source": "s"}, {"Source": "s", "DetailType": "t"})
        assert [answer["ErrorMessage"].split()[1] for answer in answers] == ["Source", "DetailType", "Detail"]


@pytest.mark.parametrize("source", ["aws.", "aws.s3", "aws.partner/example.com/a"])
async def test_a_source_of_awss_fails_its_entry(source: str) -> None:
    async with serving() as api:
        refused, taken = await api.call({**GOOD, "Source": source}, {**GOOD, "Source": "awsome"})
        assert refused == {
            "ErrorCode": "NotAuthorizedForSourceException",
            "ErrorMessage": "Not authorized for the source.",
        }
        assert set(taken) == {"EventId"}


MALFORMED = {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}


@pytest.mark.parametrize(
    ("detail", "taken"),
    [
        (f'{{"n":{2**63 - 1}}}', True),
        (f'{{"n":{2**63}}}', False),
        (f'{{"n":[{{"m":{-(2**63)}}}]}}', True),
        (f'{{"n":[{{"m":{-(2**63) - 1}}}]}}', False),
        (f'{{"n":{2**63}.5,"m":1e400}}', True),
        ('{"a":' * 1000 + "1" + "}" * 1000, True),
        ('{"a":' * 1001 + "1" + "}" * 1001, False),
    ],
)
async def test_whole_numbers_fit_64_bits_and_nesting_ends_at_1000(detail: str, taken: bool) -> None:
    async with serving() as api:
        for bus in ("default", "nowhere"):
            (answer,) = await api.call({**GOOD, "Detail": detail, "EventBusName": bus})
            assert (answer != MALFORMED) is taken, bus


# the size


def _size(entry: dict[str, Any]) -> int:
    """The user guide's formula, "eb-putevents"."""
    texts = [entry.get("Source"), entry.get("DetailType"), entry.get("Detail"), *(entry.get("Resources") or ())]
    return (14 if entry.get("Time") is not None else 0) + sum(len(text.encode()) for text in texts if text)


def _filled(size: int, entry: dict[str, Any]) -> dict[str, Any]:
    detail = json.dumps({"a": "x" * (size - _size({**entry, "Detail": '{"a": ""}'}))})
    filled = {**entry, "Detail": detail}
    assert _size(filled) == size
    return filled


@pytest.mark.parametrize("bytes_max", [1 << 20, 256 << 10])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"Time": 0},
        {"Resources": ["é" * 100, "", "r"]},
        {"EventBusName": "default", "TraceHeader": ROOT},
        {"Source": "orders", "DetailType": "ü" * 50, "Time": 1_795_000_000.5},
    ],
)
async def test_the_entries_together_must_be_smaller_than_the_limit(bytes_max: int, more: dict[str, Any]) -> None:
    async with serving(bytes_max=bytes_max) as api:
        first = {**GOOD, **more}
        for over in (0, 1):
            filled = _filled(bytes_max - 1 - _size(first) + over, first)
            if over:
                refused = await api.refused(first, filled)
                assert refused == "ValidationException: Total size of the entries in the request is over the limit."
            else:
                assert [set(answer) for answer in await api.call(first, filled)] == [{"EventId"}] * 2


# time


@pytest.mark.parametrize(
    ("time", "delivered"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_640_995_200, "2022-01-01T00:00:00Z"),
        (1_640_995_200.999, "2022-01-01T00:00:00Z"),
        (1.6409952e9, "2022-01-01T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (None, "2026-11-23T10:00:00Z"),
    ],
)
async def test_the_time_is_delivered_in_whole_seconds(time: float | None, delivered: str) -> None:
    async with serving() as api:
        api.hub.world.ms = calendar.timegm((2026, 11, 23, 10, 0, 0)) * 1000 + 999
        await api.call({**GOOD, "Time": time})
        (accepted,) = await api.sent(1)
        assert accepted.event.time == delivered


@pytest.mark.parametrize("time", [-1, -0.5, -62_135_596_800])
async def test_a_time_before_1970_fails_its_entry(time: float) -> None:
    async with serving() as api:
        (answer,) = await api.call({**GOOD, "Time": time})
        assert answer == {
            "ErrorCode": "InvalidArgument",
            "ErrorMessage": f"Parameter Time is not valid. Reason: expected a timestamp, got {float(time)!r}.",
        }


@pytest.mark.parametrize(
    ("time", "token"),
    [
        ("2022-01-01T00:00:00Z", "STRING_VALUE"),
        ("1640995200", "STRING_VALUE"),
        ("", "STRING_VALUE"),
        (True, "TRUE_VALUE"),
        (1e300, "DECIMAL_VALUE"),
        (253_402_300_800, "NUMBER_VALUE"),
    ],
)
async def test_a_time_that_is_no_number_for_a_time_refuses_the_request(time: object, token: str) -> None:
    async with serving() as api:
        assert await api.refused(GOOD, {**GOOD, "Time": time}) == (
            f"SerializationException: {token} can not be converted to milliseconds since epoch "
            "(at 'entries.2.member.time')"
        )


@needs_shared
@pytest.mark.parametrize("row_id", ["api-0505", "api-0506", "api-0507"])
async def test_times_as_sdks_and_the_cli_send_them_are_delivered_as_recorded(row_id: str) -> None:
    row = next(row for row in rows("conformance/api.jsonl") if row["id"] == row_id)
    (entry,) = row["request"]["Entries"]
    model = botocore.session.Session().get_service_model("events")
    serializer = botocore.serialize.create_serializer("json")
    sent = serializer.serialize_to_request(
        {"Entries": [{**GOOD, "Time": entry["Time"]}]}, model.operation_model("PutEvents")
    )
    (on_the_wire,) = json.loads(sent["body"])["Entries"]
    assert isinstance(on_the_wire["Time"], int)
    async with serving() as api:
        await api.call(on_the_wire)
        (accepted,) = await api.sent(1)
        assert accepted.event.time == row["response"]


# the trace header


@pytest.mark.parametrize(
    ("of_entry", "of_call", "kept"),
    [
        (None, None, None),
        (ROOT, None, ROOT),
        (None, ROOT, ROOT),
        (ROOT, ROOT + ";Sampled=1", ROOT),
        ("", ROOT, None),
        ("malformed", ROOT, None),
        (None, "malformed", None),
        (None, "", None),
        (None, f"{ROOT};a={'b' * 500}", None),
    ],
)
async def test_an_entrys_trace_header_beats_the_calls_even_where_it_is_none(
    of_entry: str | None, of_call: str | None, kept: str | None
) -> None:
    async with serving() as api:
        await api.call({**GOOD, "TraceHeader": of_entry}, caller=msgspec.structs.replace(ME, trace_header=of_call))
        (accepted,) = await api.sent(1)
        assert accepted.trace_header == kept
        assert ROOT not in api.sink.sent[0].payload.decode()


# the fast way and the model


def test_the_fast_check_knows_the_models_form_of_bus_names() -> None:
    shape = load_model("events", ["PutEvents"]).shapes["NonPartnerEventBusNameOrArn"]
    assert shape.pattern is not None
    assert re.compile(shape.pattern.replace("\\/", "/").replace(r"[\.\-", r"[.\-"), re.ASCII) == put_events._BUS


_MODEL = load_model("events", ["PutEvents"])
_TEXTS = st.sampled_from(["", "a", "a b", "default", DEFAULT, DEFAULT + "/x", "x" * 500, "x" * 501, "y" * 1601, "é"])
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "Source": st.none() | _TEXTS,
        "EventBusName": st.none() | _TEXTS,
        "TraceHeader": st.none() | _TEXTS,
        "Resources": st.none() | st.lists(st.sampled_from(["", "r", "r" * 2048, "r" * 2049]), max_size=3),
        "Time": st.none() | st.sampled_from([0, -1, 1.5, -62_135_596_800, 253_402_300_799]),
    },
)


@given(_ENTRIES)
def test_the_fast_check_finds_what_the_validator_finds(entry: dict[str, Any]) -> None:
    _, violations = read_input(_MODEL, "PutEventsRequest", {"Entries": [entry]})
    assert _breaks_model(msgspec.convert(entry, _Entry)) is bool(violations)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "Value null at 'entries' failed to satisfy constraint: Member must not be null"),
        ({"Entries": None}, "Value null at 'entries' failed to satisfy constraint: Member must not be null"),
        ({"Entries": []}, "Member must have length greater than or equal to 1"),
        ({"Entries": [None]}, "Value null at 'entries.1.member' failed to satisfy constraint: Member must not be null"),
        ({"Entries": [{}] * 11}, "at 'entries' failed to satisfy constraint: Member must have length less than or eq"),
        ({"Entries": [{"Resources": [None]}]}, "Value '[null]' at 'entries.1.member.resources' failed"),
        ({"Entries": [{"Resources": ["r" * 2049]}]}, "at 'entries.1.member.resources' failed to satisfy constraint"),
        ({"Entries": [{"TraceHeader": "r" * 501}]}, "Member must have length less than or equal to 500"),
        ({"Entries": "x"}, "Expected list or null (at 'entries')"),
        ({"Entries": [{"Source": 1}]}, "NUMBER_VALUE can not be converted to a String (at 'entries.1.member.source')"),
        ({"Entries": [{"Detail": {}}]}, "Start of structure or map found where not expected."),
    ],
)
async def test_a_body_that_breaks_the_model_is_refused_in_awss_words(request_: dict[str, Any], text: str) -> None:
    async with serving() as api:
        refusal = ""
        try:
            await api._service.call("PutEvents", json.dumps(request_).encode(), ME)
        except ApiError as error:
            refusal = error.message
        assert text in refusal
