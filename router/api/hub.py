"""The hub's own API, `/_hub/v1`: what inboxes received, dead letters and their redrive, the hub's state, why an event
matches or does not (`explain.py`), what happened to one (`router/trace_tree.py`), when schedules fire, what is deployed
(`router/stacks.py`), and the fault profiles (`profiles.py`).

JSON in and out; admins only (the server has checked that). Pages are bounded; positions and numbers only grow, so
`after` goes on where a page ended.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio.to_thread
import msgspec

from router import __version__, limits
from router.api import explain
from router.api.profiles import ProfilesApi
from router.catalog.catalog import Catalog
from router.catalog.endpoints import Endpoint
from router.core.event import Location, envelope
from router.dead_letters import DeadLetters
from router.errors import ApiError, ResourceNotFoundException, ValidationException
from router.global_endpoints import GlobalEndpoints
from router.importers.record import STACK_NAME, STACK_NAME_FORM, StackRecord
from router.lanes import DeadLetter
from router.pipeline import Pipeline
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.profiles import Profiles
from router.simulator.records import Message, is_binary
from router.sources.schedule import Schedules
from router.stacks import Stacks
from router.trace_tree import TraceTree
from router.world import iso_ms

_PAGE_MAX = 1000
_encode = msgspec.json.Encoder().encode


class _Health(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    health_check: str
    healthy: bool


_decode_health = msgspec.json.Decoder(_Health).decode


class _NotFound(ResourceNotFoundException):
    status = 404


class _Query:
    """A request's query parameters, read with their bounds."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def all(self) -> Mapping[str, str]:
        return self._query

    def text(self, name: str) -> str:
        value = self._query.get(name)
        if not value:
            raise ValidationException(f"expected the query parameter `{name}`, got none")
        return value

    def location(self) -> Location:
        return location(self.text("account"), self.text("region"))

    def number(self, name: str, default: int, largest: int) -> int:
        value = self._query.get(name, str(default))
        if re.fullmatch(r"[0-9]{1,19}", value) is None or int(value) > largest:
            raise ValidationException(f"expected a number from 0 to {largest}, got {value[:40]!r} - at `{name}`")
        return int(value)


def location(account: str, region: str) -> Location:
    """Raises ValidationException."""
    if re.fullmatch(r"[0-9]{12}", account) is None or re.fullmatch(r"[a-z0-9-]{1,32}", region) is None:
        raise ValidationException(
            f"expected an account of 12 digits and a region, got {account[:40]!r} {region[:40]!r}"
        )
    return Location(account, region)


_Action = Callable[["HubApi", _Query, bytes, str], Awaitable[Any]]


class HubApi:
    """One short method an action. `default_location` is meant where an action's location is left out."""

    def __init__(
        self,
        *,
        inboxes: Inboxes,
        dead_letters: DeadLetters,
        pipeline: Pipeline,
        catalog: Catalog,
        traces: TraceTree,
        schedules: Schedules,
        stacks: Stacks,
        profiles: Profiles,
        state: Callable[[], Mapping[str, Any]],
        default_location: Location,
    ) -> None:
        self._inboxes = inboxes
        self._dead_letters = dead_letters
        self._pipeline = pipeline
        self._catalog = catalog
        self._traces = traces
        self._schedules = schedules
        self._stacks = stacks
        self._profiles = ProfilesApi(profiles)
        self._state = state
        self._default_location = default_location

    async def call(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> bytes:
        """The answer to one request. Raises ApiError."""
        for wanted, pattern, action in _ACTIONS:
            match = pattern.fullmatch(path)
            if match is not None and wanted == method:
                try:
                    return _encode(await action(self, _Query(query), body, match.groupdict().get("number", "")))
                except ResourceNotFoundException as error:
                    raise _NotFound(error.message) from error
        known = ", ".join(sorted(f"{method} /_hub/v1/{_shown(pattern)}" for method, pattern, _ in _ACTIONS))
        raise _NotFound(f"there is nothing at {method} /_hub/v1/{path[:200]}; there is {known}")

    async def status(self, _query: _Query, _body: bytes, _number: str) -> Any:
        return {
            "version": __version__,
            "pending": self._pipeline.lanes.pending,
            "parked": self._pipeline.lanes.parked,
            "in_flight": self._pipeline.in_flight,
            "dead_letters": self._dead_letters.count,
            **self._state(),
        }

    async def inboxes(self, _query: _Query, _body: bytes, _number: str) -> Any:
        rows = [
            {"arn": inbox.record.arn, "kind": inbox.record.kind, "count": inbox.count} for inbox in self._inboxes.all()
        ]
        return {"inboxes": sorted(rows, key=lambda row: str(row["arn"]))}

    def _inbox(self, query: _Query) -> Inbox:
        arn = query.text("arn")
        found = self._inboxes.find(arn)
        if found is None:
            raise _NotFound(f"There is no inbox {arn}.")
        return found

    async def messages(self, query: _Query, _body: bytes, _number: str) -> Any:
        inbox = self._inbox(query)
        after = query.number("after", 0, 2**63 - 1)
        limit = query.number("limit", 100, _PAGE_MAX)
        rows = self._inboxes.read(inbox.record.arn, after=after, limit=limit) if limit else []
        return {"messages": [_message(row.position, row.message) for row in rows]}

    async def purge(self, query: _Query, _body: bytes, _number: str) -> Any:
        inbox = self._inbox(query)
        count = inbox.count
        await self._inboxes.purge(inbox.record.arn)
        return {"purged": count}

    async def letters(self, query: _Query, _body: bytes, _number: str) -> Any:
        after = query.number("after", 0, 2**63 - 1)
        limit = query.number("limit", 100, _PAGE_MAX)
        rows = self._dead_letters.page(after, limit) if limit else []
        return {
            "count": self._dead_letters.count,
            "dead_letters": [_summary(number, letter) for number, letter in rows],
        }

    async def letter(self, _query: _Query, _body: bytes, number: str) -> Any:
        letter = self._dead_letters.get(int(number))
        return {**_summary(int(number), letter), "event": msgspec.Raw(envelope(letter.accepted.event))}

    async def redrive(self, _query: _Query, _body: bytes, number: str) -> Any:
        await self._redrive(int(number))
        return {"redriven": 1, "failed": []}

    async def redrive_all(self, _query: _Query, body: bytes, _number: str) -> Any:
        rule_arn = _rule_filter(body)
        redriven = 0
        failed: list[dict[str, Any]] = []
        after = 0
        while rows := self._dead_letters.page(after, 100):
            for number, letter in rows:
                if rule_arn is not None and letter.rule_arn != rule_arn:
                    continue
                try:
                    await self._redrive(number)
                    redriven += 1
                except ApiError as error:
                    failed.append({"number": number, "reason": error.message})
            after = rows[-1][0]
        return {"redriven": redriven, "failed": failed[:100], "failed_count": len(failed)}

    async def explain(self, query: _Query, body: bytes, _number: str) -> Any:
        return await explain.answer(
            query.all(),
            body,
            catalog=self._catalog,
            pipeline=self._pipeline,
            default_location=self._default_location,
        )

    async def trace(self, query: _Query, _body: bytes, _number: str) -> Any:
        return await self._traces.of(query.text("event_id"))

    async def schedules(self, query: _Query, _body: bytes, _number: str) -> Any:
        count = query.number("count", 3, limits.SCHEDULE_TIMES_SHOWN_MAX)
        limit = query.number("limit", limits.SCHEDULES_SHOWN_MAX, limits.SCHEDULES_SHOWN_MAX)
        find = self._schedules.upcoming(query.all().get("after", ""), limit, count)
        return {"count": self._schedules.count, "schedules": await anyio.to_thread.run_sync(find)}

    async def health_checks(self, _query: _Query, _body: bytes, _number: str) -> Any:
        shown = {one.health_check: one.healthy for one in self._catalog.things.all(Endpoint)}
        return {"health_checks": [{"HealthCheck": arn, "Healthy": shown[arn]} for arn in sorted(shown)]}

    async def set_health(self, _query: _Query, body: bytes, _number: str) -> Any:
        try:
            given = _decode_health(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationException(f'expected {{"HealthCheck": "arn:…", "Healthy": false}}: {error}') from error
        changed = await GlobalEndpoints(self._catalog).set_health(given.health_check, healthy=given.healthy)
        return {"endpoints": [{"Arn": one.arn, "takes": str(one.takes)} for one in changed]}

    async def stacks(self, query: _Query, _body: bytes, _number: str) -> Any:
        return {"stacks": self._stacks.of(query.location())}

    async def put_stack(self, _query: _Query, body: bytes, _number: str) -> Any:
        try:
            record = msgspec.json.decode(body, type=StackRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationException(f"expected a stack's record: {error}") from error
        if STACK_NAME.fullmatch(record.stack) is None:
            raise ValidationException(f"expected {STACK_NAME_FORM}, got {record.stack[:200]!r} - at `stack`")
        location(record.account, record.region)
        return {"version": await self._stacks.put(record)}

    async def delete_stack(self, query: _Query, _body: bytes, _number: str) -> Any:
        return {"deleted": await self._stacks.delete(query.location(), query.text("stack"))}

    async def profiles(self, _query: _Query, _body: bytes, _number: str) -> Any:
        return self._profiles.shown()

    async def put_profile(self, _query: _Query, body: bytes, _number: str) -> Any:
        return self._profiles.put(body)

    async def delete_profile(self, query: _Query, _body: bytes, _number: str) -> Any:
        return self._profiles.delete(query.all().get("name"))

    async def _redrive(self, number: int) -> None:
        await self._dead_letters.redrive(
            number,
            lanes=self._pipeline.lanes,
            target_exists=lambda rule, target: self._catalog.target(rule, target) is not None,
        )


_ACTIONS: tuple[tuple[str, re.Pattern[str], _Action], ...] = (
    ("GET", re.compile("status"), HubApi.status),
    ("GET", re.compile("inboxes"), HubApi.inboxes),
    ("GET", re.compile("inboxes/messages"), HubApi.messages),
    ("DELETE", re.compile("inboxes/messages"), HubApi.purge),
    ("GET", re.compile("dead-letters"), HubApi.letters),
    ("POST", re.compile("dead-letters/redrive"), HubApi.redrive_all),
    ("GET", re.compile("dead-letters/(?P<number>[0-9]{1,18})"), HubApi.letter),
    ("POST", re.compile("dead-letters/(?P<number>[0-9]{1,18})/redrive"), HubApi.redrive),
    ("GET", re.compile("explain"), HubApi.explain),
    ("POST", re.compile("explain"), HubApi.explain),
    ("GET", re.compile("trace"), HubApi.trace),
    ("GET", re.compile("schedules"), HubApi.schedules),
    ("GET", re.compile("health-checks"), HubApi.health_checks),
    ("PUT", re.compile("health-checks"), HubApi.set_health),
    ("GET", re.compile("stacks"), HubApi.stacks),
    ("PUT", re.compile("stacks"), HubApi.put_stack),
    ("DELETE", re.compile("stacks"), HubApi.delete_stack),
    ("GET", re.compile("profiles"), HubApi.profiles),
    ("PUT", re.compile("profiles"), HubApi.put_profile),
    ("DELETE", re.compile("profiles"), HubApi.delete_profile),
)


def _shown(path: re.Pattern[str]) -> str:
    return re.sub(r"\(\?P<(\w+)>.*?\)", r"{\1}", path.pattern)


def _rule_filter(body: bytes) -> str | None:
    try:
        request = msgspec.json.decode(body, type=dict[str, str]) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValidationException(f'expected {{}} or {{"rule_arn": "…"}}: {error}') from error
    unknown = set(request) - {"rule_arn"}
    if unknown:
        raise ValidationException(f'expected {{}} or {{"rule_arn": "…"}}, got the key {sorted(unknown)[0]!r}')
    return request.get("rule_arn")


def _message(position: int, message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {
        "position": position,
        "id": message.id,
        "sent_at": iso_ms(message.sent_ms),
        "body": message.body.decode(errors="replace"),
    }
    if message.attributes:
        row["attributes"] = {
            name: value.hex() if is_binary(data_type) else value.decode()
            for name, (data_type, value) in message.attributes.items()
        }
    if message.event_id is not None:
        row["event_id"] = message.event_id
    return row


def _summary(number: int, letter: DeadLetter) -> dict[str, Any]:
    return {
        "number": number,
        "event_id": letter.accepted.event.id,
        "rule_arn": letter.rule_arn,
        "target_id": letter.target_id,
        "target_arn": letter.target_arn,
        "code": letter.code,
        "message": letter.message,
        "attempts": letter.attempts,
        "condition": letter.condition,
        "queue_failure": letter.queue_failure,
        "dead_at": iso_ms(letter.dead_ms),
        "bus": letter.accepted.bus,
        "account": letter.accepted.location.account,
        "region": letter.accepted.location.region,
    }
