"""Partner event sources: offered by one account, taken by another, and the events that come of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.api.put_partner_events import PutPartnerEvents
from router.aws.service import Caller
from router.core.event import Location
from router.errors import ValidationException
from router.metrics import Metrics
from router.partners import Partners
from router.planning import Incoming
from router.sources.outcome import THROTTLED, Refused, Taken
from tests.api.hub import ME, THEM, Api, serving
from tests.catalog.hub import HERE, OTHER, Clock

NAME = "aws.partner/example.com/shop/orders"
ARN = f"arn:aws:events:us-east-1::event-source/{NAME}"
TWO_WEEKS_MS = 14 * 86_400_000


@asynccontextmanager
async def offering(folder: Path, clock: Clock | None = None) -> AsyncIterator[Api]:
    """ME is the partner, THEM the customer, to whom the source is offered."""
    async with serving(folder, clock=clock or Clock()) as api:
        await api.call("CreatePartnerEventSource", Name=NAME, Account=THEM.account)
        yield api


async def take(api: Api) -> None:
    await api.call("CreateEventBus", THEM, Name=NAME, EventSourceName=NAME)


async def state(api: Api) -> str:
    shown: str = (await api.call("DescribeEventSource", THEM, Name=NAME))["State"]
    return shown


async def test_an_offered_source_is_pending_for_two_weeks_on_the_customers_side(tmp_path: Path) -> None:
    clock = Clock()
    async with offering(tmp_path, clock) as api:
        shown = await api.call("DescribeEventSource", THEM, Name=NAME)
        assert shown == {
            "Arn": ARN,
            "CreatedBy": "aws.partner/example.com",
            "CreationTime": clock.ms / 1000,
            "ExpirationTime": (clock.ms + TWO_WEEKS_MS) / 1000,
            "Name": NAME,
            "State": "PENDING",
        }
        assert (await api.call("ListEventSources", THEM))["EventSources"] == [shown]
        assert (await api.call("ListEventSources", THEM, NamePrefix="aws.partner/other"))["EventSources"] == []
        clock.ms += TWO_WEEKS_MS
        assert (await api.call("ListEventSources", THEM))["EventSources"] == []
        gone = f"ResourceNotFoundException: Event source {NAME} does not exist."
        assert await api.refused("DescribeEventSource", THEM, Name=NAME) == gone
        assert await api.refused("CreateEventBus", THEM, Name=NAME, EventSourceName=NAME) == gone


async def test_the_partner_sees_its_sources_and_their_accounts(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        await api.call("CreatePartnerEventSource", Name=NAME, Account=HERE.account)
        partner_arn = f"arn:aws:events:us-east-1:{HERE.account}:event-source/{NAME}"
        assert await api.call("DescribePartnerEventSource", Name=NAME) == {"Arn": partner_arn, "Name": NAME}
        listed = await api.call("ListPartnerEventSources", NamePrefix="aws.partner/example.com/")
        assert listed["PartnerEventSources"] == [{"Arn": partner_arn, "Name": NAME}]
        accounts = await api.call("ListPartnerEventSourceAccounts", EventSourceName=NAME, Limit=1)
        assert [(one["Account"], one["State"]) for one in accounts["PartnerEventSourceAccounts"]] == [
            (HERE.account, "PENDING")
        ]
        more = await api.call("ListPartnerEventSourceAccounts", EventSourceName=NAME, NextToken=accounts["NextToken"])
        assert [one["Account"] for one in more["PartnerEventSourceAccounts"]] == [THEM.account]


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        (
            "CreatePartnerEventSource",
            {"Name": NAME, "Account": THEM.account},
            f"ResourceAlreadyExistsException: Partner event source {NAME} already exists for account {THEM.account}.",
        ),
        (
            "DescribePartnerEventSource",
            {"Name": NAME + "x"},
            f"ResourceNotFoundException: Partner event source {NAME}x does not exist.",
        ),
        (
            "ListPartnerEventSourceAccounts",
            {"EventSourceName": NAME + "x"},
            f"ResourceNotFoundException: Partner event source {NAME}x does not exist.",
        ),
        ("ActivateEventSource", {"Name": NAME}, f"ResourceNotFoundException: Event source {NAME} does not exist."),
        ("DeactivateEventSource", {"Name": NAME}, f"ResourceNotFoundException: Event source {NAME} does not exist."),
    ],
)
async def test_refusals_of_the_partners_calls(
    tmp_path: Path, operation: str, request_: dict[str, Any], expected: str
) -> None:
    async with offering(tmp_path) as api:
        assert await api.refused(operation, ME, **request_) == expected


async def test_a_bus_of_the_sources_name_takes_it_and_gives_it_back(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        assert (await api.refused("CreateEventBus", THEM, Name="shop", EventSourceName=NAME)).startswith(
            "ValidationException: Parameter Name is not valid."
        )
        await take(api)
        shown = await api.call("DescribeEventBus", THEM, Name=NAME)
        assert shown["Arn"] == f"arn:aws:events:us-east-1:{THEM.account}:event-bus/{NAME}"
        assert await state(api) == "ACTIVE"
        assert "ExpirationTime" not in await api.call("DescribeEventSource", THEM, Name=NAME)
    async with serving(tmp_path) as api:
        assert await state(api) == "ACTIVE"
        await api.call("DeleteEventBus", THEM, Name=NAME)
        assert await state(api) == "PENDING"
        await take(api)
        assert await state(api) == "ACTIVE"


async def test_a_source_is_deactivated_and_activated_again(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        assert await api.refused("DeactivateEventSource", THEM, Name=NAME) == (
            f"InvalidStateException: Event source {NAME} is PENDING, expected ACTIVE."
        )
        assert await api.refused("ActivateEventSource", THEM, Name=NAME) == (
            f"ResourceNotFoundException: Event bus {NAME} does not exist."
        )
        await take(api)
        assert await api.refused("ActivateEventSource", THEM, Name=NAME) == (
            f"InvalidStateException: Event source {NAME} is ACTIVE, expected PENDING."
        )
        await api.call("DeactivateEventSource", THEM, Name=NAME)
        assert await state(api) == "PENDING"
        await api.call("ActivateEventSource", THEM, Name=NAME)
        assert await state(api) == "ACTIVE"


async def test_what_the_partner_withdraws_is_deleted_for_who_had_taken_it_and_gone_for_others(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        await api.call("CreatePartnerEventSource", Name=NAME, Account=HERE.account)
        await take(api)
        for account in (HERE.account, THEM.account, THEM.account):
            await api.call("DeletePartnerEventSource", Name=NAME, Account=account)
        assert await state(api) == "DELETED"
        assert "does not exist" in await api.refused("DescribeEventSource", ME, Name=NAME)
        assert "does not exist" in await api.refused("DescribePartnerEventSource", ME, Name=NAME)
        await api.call("DeleteEventBus", THEM, Name=NAME)
        assert "does not exist" in await api.refused("DescribeEventSource", THEM, Name=NAME)


async def test_a_source_is_no_other_partners(tmp_path: Path) -> None:
    another = Caller("999999999999", HERE.region)
    async with offering(tmp_path, clock := Clock()) as api:
        refused = (
            f"ResourceAlreadyExistsException: Partner event source {NAME} already exists for account {THEM.account}."
        )
        offer = {"Name": NAME, "Account": THEM.account}
        assert await api.refused("CreatePartnerEventSource", another, **offer) == refused
        await take(api)
        await api.call("CreatePartnerEventSource", another, Name=NAME, Account=HERE.account)
        assert await api.refused("CreatePartnerEventSource", another, **offer) == refused
        await api.call("DeletePartnerEventSource", another, **offer)
        assert await state(api) == "ACTIVE"
        assert Partners(api.catalog).takers(Location(another.account, HERE.region), NAME) == []
        await api.call("DeactivateEventSource", THEM, Name=NAME)
        clock.ms += TWO_WEEKS_MS
        await api.call("CreatePartnerEventSource", another, **offer)
        assert await state(api) == "PENDING"
        listed = await api.call("ListPartnerEventSourceAccounts", ME, EventSourceName=NAME)
        assert listed["PartnerEventSourceAccounts"] == []
        await api.call("DeletePartnerEventSource", ME, **offer)
        assert await state(api) == "PENDING", "what is gone for one partner stays for the other"


async def test_a_partner_bus_has_no_rules_for_all_cloudtrail_events(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        await take(api)
        rule = {"Name": "r", "EventBusName": NAME, "EventPattern": '{"source":["x"]}'}
        all_events = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
        assert "partner event buses" in await api.refused("PutRule", THEM, **rule, State=all_events)
        made = await api.call("PutRule", THEM, **rule)
        assert made["RuleArn"] == f"arn:aws:events:us-east-1:{THEM.account}:rule/{NAME}/r"


class Door:
    """Stands for the pipeline."""

    def __init__(self) -> None:
        self.came: list[Incoming] = []
        self.answers: dict[str, Refused] = {}

    async def accept(self, incoming: list[Incoming]) -> list[Taken | Refused]:
        await asyncio.sleep(0)
        self.came += incoming
        return [self.answers.get(item.location.account, Taken(item.event.id)) for item in incoming]


def entry(**changed: Any) -> dict[str, Any]:
    return {"Source": NAME, "DetailType": "order", "Detail": '{"n": 1}', "Resources": ["r"], **changed}


def putting(api: Api, door: Door) -> PutPartnerEvents:
    return PutPartnerEvents(Partners(api.catalog), door, Clock(), Metrics())  # type: ignore[arg-type]


async def test_an_event_goes_to_the_partner_bus_of_each_account_that_took_the_source(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        await api.call("CreatePartnerEventSource", Name=NAME, Account=HERE.account)
        await take(api)
        put = putting(api, door := Door())
        answer = await put(ME, {"Entries": [entry(Time=1_700_000_000_123)]})
        (incoming,) = door.came
        assert answer == {"FailedEntryCount": 0, "Entries": [{"EventId": incoming.event.id}]}
        event = incoming.event
        assert (incoming.location, incoming.bus) == (OTHER, NAME)
        assert (event.source, event.account, event.region) == (NAME, OTHER.account, "us-east-1")
        assert (event.time, event.detail, event.resources) == ("2023-11-14T22:13:20Z", '{"n":1}', ("r",))
        await api.call("CreateEventBus", ME, Name=NAME, EventSourceName=NAME)
        await put(ME, {"Entries": [entry()]})
        assert {item.location for item in door.came[1:]} == {HERE, OTHER}
        assert len({item.event.id for item in door.came[1:]}) == 1


async def test_what_nobody_took_is_answered_with_an_id_and_goes_nowhere(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        answer = await putting(api, door := Door())(ME, {"Entries": [entry()]})
        assert answer["FailedEntryCount"] == 0
        assert (len(answer["Entries"][0]["EventId"]), door.came) == (36, [])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (entry(Source=NAME + "/x"), ("NotAuthorizedForSourceException", "Not authorized for the source.")),
        (
            entry(Detail=""),
            ("InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument."),
        ),
        (
            entry(DetailType=None),
            ("InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument."),
        ),
        (entry(Detail="{ x"), ("MalformedDetail", "Detail is malformed.")),
    ],
)
async def test_a_bad_entry_fails_alone(tmp_path: Path, given: dict[str, Any], expected: tuple[str, str]) -> None:
    async with offering(tmp_path) as api:
        await take(api)
        answer = await putting(api, door := Door())(ME, {"Entries": [given, entry()]})
        code, message = expected
        assert answer["FailedEntryCount"] == 1
        assert answer["Entries"][0] == {"ErrorCode": code, "ErrorMessage": message}
        assert (len(door.came), "EventId" in answer["Entries"][1]) == (1, True)


async def test_an_entry_that_one_account_cannot_take_now_fails(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        await take(api)
        door = Door()
        door.answers[OTHER.account] = THROTTLED
        answer = await putting(api, door)(ME, {"Entries": [entry()]})
        assert answer["Entries"][0]["ErrorCode"] == "ThrottlingException"


async def test_too_many_bytes_are_refused_as_a_whole(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        put = putting(api, Door())
        with pytest.raises(ValidationException, match="Total size of the entries in the request is over the limit"):
            await put(ME, {"Entries": [entry(Detail='{"a":"' + "x" * 1024 * 1024 + '"}')]})


async def test_sources_are_of_one_region(tmp_path: Path) -> None:
    async with offering(tmp_path) as api:
        partners = Partners(api.catalog)
        assert partners.takers(Location(HERE.account, "eu-west-1"), NAME) is None
