"""The door: what producers send becomes `Incoming` for the pipeline, or is refused with AWS's code and text.

Three kinds of producers, three calls: customers' PutEvents entries (`aws.` sources refused), service events and raw
CloudTrail records (the location's trails decide), and the messages of a queue source, which are taken whole or not at
all. Nothing here stores, matches or delivers.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from router.catalog.model import Bus
from router.catalog.permissions import refusal
from router.core import cloudtrail
from router.core.arn import InvalidArn, bus_arn, bus_name
from router.core.event import Event, Location, compact, entry_size, has_long_integer
from router.core.event import trace_header as well_formed
from router.core.policy import Decision, Principal
from router.core.ruletable import MalformedDetail, RuleTable
from router.errors import AccessDeniedException, ValidationException
from router.metrics import Metrics
from router.pipeline import Pipeline
from router.planning import Incoming
from router.sources.outcome import MALFORMED_DETAIL, Refused, Taken, Withheld
from router.world import World, iso_seconds


class Entry(msgspec.Struct, rename="pascal", gc=False):
    """One entry of a PutEvents request; what is required is checked by hand, because AWS fails the entry alone."""

    source: str | None = None
    detail_type: str | None = None
    detail: str | None = None
    resources: list[str] | None = None
    event_bus_name: str | None = None
    time: float | str | None = None
    """Epoch seconds; in a queue's message also ISO 8601."""
    trace_header: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    """EventBridge's envelope, or (where `detail-type` is absent) a CloudTrail record."""

    detail_type: str | None = msgspec.field(default=None, name="detail-type")
    detail: msgspec.Raw = msgspec.Raw(b"")
    source: str | None = None
    id: str | None = None
    account: str | None = None
    region: str | None = None
    time: str | None = None
    resources: msgspec.Raw = msgspec.Raw(b"[]")
    """The envelope's are ARNs; a CloudTrail record's are objects, and no business of the envelope's."""


class _Empty(msgspec.Struct):
    pass


class _Door(NamedTuple):
    """Where an entry is to go."""

    location: Location
    name: str
    bus: Bus | None
    """None where there is no such bus."""


_Doors = dict[str | None, _Door | Refused]
"""By the name that entries give: None is the default bus."""


_YEAR_1000_S = -30_610_224_000
"""Services' and other buses' events are taken with any time that has four digits for its year."""
_NOT_AUTHORIZED = Refused("NotAuthorizedForSourceException", "Not authorized for the source.")
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_resources = msgspec.json.Decoder(tuple[str, ...]).decode
_check_object = msgspec.json.Decoder(_Empty).decode
_NO_RULES: RuleTable[None] = RuleTable.build([])

_Kept = TypeVar("_Kept", bound=Withheld | Refused)
Authorize = Callable[[Principal, Bus, str | None, str | None], Decision]
"""Whether a caller may put an event of this source and detail type, as far as it has them, on a bus."""


class Intake:
    """See the module."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        find_bus: Callable[[Location, str], Bus | None],
        authorize: Authorize,
        trails: Callable[[Location], Sequence[cloudtrail.Trail]],
        world: World,
        metrics: Metrics,
        put_events_bytes_max: int,
    ) -> None:
        self._pipeline = pipeline
        self._find_bus = find_bus
        self._authorize = authorize
        self._trails = trails
        self._world = world
        self._metrics = metrics
        self._bytes_max = put_events_bytes_max

    # customers

    async def put_entries(
        self,
        caller: Location,
        entries: Sequence[Entry],
        *,
        sender: Principal | None = None,
        default_bus: str = "default",
        trace_header: str | None = None,
    ) -> list[Taken | Refused]:
        """PutEvents: one outcome for each entry. Raises ValidationException (too large) and AccessDeniedException (one
        entry's bus does not let the caller in, however bad the entry is), both for the request as a whole.

        `sender` is the caller as policies know them, by default the whole account; `default_bus` is for entries that
        name none, `trace_header` for those that have none."""
        size = sum(map(_size, entries))
        if size >= self._bytes_max:
            raise ValidationException("Total size of the entries in the request is over the limit.")
        doors = self._doors(caller, entries, default_bus)
        self._authorize_all(sender or Principal(caller.account), caller, entries, doors)
        ids = self._world.uuids(len(entries))
        checked = self._checked(caller, entries, ids, doors=doors, trace_header=trace_header)
        if any(not isinstance(door, _Door) or door.bus is None for door in doors.values()):
            checked = [self._read_for_nobody(item) for item in checked]
        outcomes = await self._accept(checked)
        refused: list[str] = []
        for entry, outcome in zip(entries, outcomes, strict=True):
            if isinstance(outcome, Refused):
                refused.append(outcome.code)
                self._metrics.bus(caller, self._counted_bus(caller, entry, default_bus)).refused += 1
        self._metrics.put("PutEvents", caller).took(len(entries), refused)
        return outcomes

    def _doors(self, caller: Location, entries: Sequence[Entry], default_bus: str) -> _Doors:
        """Where each of the names that the entries have for their bus leads; nearly always there is one."""
        doors: _Doors = {}
        for entry in entries:
            name = entry.event_bus_name
            if name not in doors:
                where = _where(caller, name or default_bus)
                doors[name] = where if isinstance(where, Refused) else _Door(*where, self._find_bus(*where))
        return doors

    def _read_for_nobody(self, item: Incoming | Refused) -> Incoming | Refused:
        """A detail is checked where it is matched; one for a bus that does not exist is checked here."""
        if (
            isinstance(item, Incoming)
            and self._find_bus(item.location, item.bus) is None
            and not _is_taken_by_tables(item.event)
        ):
            return MALFORMED_DETAIL
        return item

    def _counted_bus(self, caller: Location, entry: Entry, default_bus: str) -> str:
        """The bus that a refused entry counts under: only buses that there are, so that the label stays bounded."""
        name = (entry.event_bus_name or default_bus).rpartition("/")[2]
        return name if self._find_bus(caller, name) is not None else "default"

    def _checked(
        self,
        caller: Location,
        entries: Sequence[Entry],
        ids: Sequence[str],
        *,
        doors: _Doors,
        trace_header: str | None = None,
    ) -> list[Incoming | Refused]:
        now = iso_seconds(self._world.now_ms())
        return [
            _checked(caller, entry, event_id, now, doors[entry.event_bus_name], trace_header)
            for entry, event_id in zip(entries, ids, strict=True)
        ]

    def _authorize_all(self, sender: Principal, caller: Location, entries: Sequence[Entry], doors: _Doors) -> None:
        # An own bus is open where it has no policy; where there is none, the pipeline drops or refuses the event.
        guarded = {
            name: door
            for name, door in doors.items()
            if isinstance(door, _Door)
            and (door.location.account != caller.account or (door.bus is not None and door.bus.policy is not None))
        }
        if not guarded:
            return
        allowed: set[tuple[str | None, str | None, str | None]] = set()
        for entry in entries:
            door = guarded.get(entry.event_bus_name)
            alike = entry.event_bus_name, entry.source, entry.detail_type
            if door is None or alike in allowed:
                continue
            decision = Decision.NOT_ALLOWED
            if door.bus is not None:
                decision = self._authorize(sender, door.bus, entry.source, entry.detail_type)
            if decision is not Decision.ALLOW:
                raise refusal(sender, "events:PutEvents", bus_arn(door.location, door.name), decision)
            allowed.add(alike)

    async def _accept(self, read: Sequence[Incoming | _Kept]) -> list[Taken | Refused | _Kept]:
        good = [item for item in read if isinstance(item, Incoming)]
        if len(good) == len(read):
            return [*await self._pipeline.accept(good)] if good else []
        taken = iter(await self._pipeline.accept(good)) if good else iter(())
        return [next(taken) if isinstance(item, Incoming) else item for item in read]

    # services

    async def put_service_events(self, location: Location, bodies: Sequence[bytes]) -> list[Taken | Withheld | Refused]:
        """Service events in EventBridge's envelope and raw CloudTrail records, for the location's default bus. The
        envelope's account and region become the location's; an id that is given is kept."""
        ids = self._world.uuids(len(bodies))
        read = [
            self._service_event(location, body, event_id, bus="default", keep_origin=False)
            for body, event_id in zip(bodies, ids, strict=True)
        ]
        outcomes = await self._accept(read)
        counters = self._metrics.bus(location, "default")
        counters.withheld += sum(isinstance(outcome, Withheld) for outcome in outcomes)
        counters.refused += sum(isinstance(outcome, Refused) for outcome in outcomes)
        return outcomes

    def _service_event(
        self, location: Location, body: bytes, event_id: str, *, bus: str, keep_origin: bool
    ) -> Incoming | Withheld | Refused:
        try:
            envelope = _decode_envelope(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Refused("InvalidArgument", f"The event is not a service event or a CloudTrail record: {error}")
        if envelope.detail_type is None:
            try:
                event = cloudtrail.wrap(body, location=location, event_id=event_id, now_ms=self._world.now_ms())
            except cloudtrail.InvalidRecord as error:
                return Refused("InvalidArgument", str(error))
        else:
            wrapped = self._wrapped(location, envelope, event_id, keep_origin=keep_origin)
            if isinstance(wrapped, Refused):
                return wrapped
            event = wrapped
        if not _is_taken_by_tables(event):
            return MALFORMED_DETAIL
        if cloudtrail.is_cloudtrail(event.detail_type) and not cloudtrail.selected(
            self._trails(location), cloudtrail.record(event.detail), event.detail_type
        ):
            return Withheld(f"no trail of {location} logs this record")
        return Incoming(event, location, bus)

    def _wrapped(self, location: Location, envelope: _Envelope, event_id: str, *, keep_origin: bool) -> Event | Refused:
        if not envelope.source or not envelope.detail_type or not bytes(envelope.detail):
            missing = "source" if not envelope.source else "detail" if not bytes(envelope.detail) else "detail-type"
            return Refused("InvalidArgument", f"Parameter {missing} is not valid. Reason: {missing} is required.")
        try:
            detail = compact(bytes(envelope.detail).decode())
        except (msgspec.DecodeError, UnicodeDecodeError):
            return MALFORMED_DETAIL
        try:
            resources = _decode_resources(envelope.resources)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Refused("InvalidArgument", f"Parameter resources is not valid. Reason: {error}.")
        time = envelope.time
        if time is None:
            time = iso_seconds(self._world.now_ms())
        elif (seconds := _parse_time(time, earliest_s=_YEAR_1000_S)) is None:
            return Refused("InvalidArgument", f"Parameter time is not valid. Reason: expected ISO 8601, got {time!r}.")
        else:
            time = seconds
        return Event(
            envelope.id or event_id,
            envelope.detail_type,
            envelope.source,
            envelope.account if keep_origin and envelope.account else location.account,
            time,
            envelope.region if keep_origin and envelope.region else location.region,
            resources,
            detail,
        )

    # queues

    async def put_messages(
        self, location: Location, bus: str, *, trusted: bool, messages: Sequence[Sequence[tuple[bytes, str]]]
    ) -> list[Taken | Refused]:
        """The events of a queue's messages: for each message its (JSON text, id) pairs. A message is taken whole, or
        refused whole with the first thing that is wrong with it; one outcome for each message."""
        doors: _Doors = {}
        read = [self._message(location, bus, message, trusted=trusted, doors=doors) for message in messages]
        flat = [item for items in read if not isinstance(items, Refused) for item in items]
        taken = iter(await self._pipeline.accept(flat)) if flat else iter(())
        outcomes: list[Taken | Refused] = []
        for message, items in zip(messages, read, strict=True):
            if isinstance(items, Refused):
                outcomes.append(items)
                continue
            of_message = [next(taken) for _ in items]
            refused = next((outcome for outcome in of_message if isinstance(outcome, Refused)), None)
            if refused is None:
                self._metrics.bus(location, bus).withheld += len(message) - len(items)
            outcomes.append(refused or Taken(message[0][1] if message else ""))
        return outcomes

    def _message(
        self, location: Location, bus: str, message: Sequence[tuple[bytes, str]], *, trusted: bool, doors: _Doors
    ) -> list[Incoming] | Refused:
        items: list[Incoming] = []
        for body, event_id in message:
            item = (
                self._service_event(location, body, event_id, bus=bus, keep_origin=True)
                if trusted
                else self._message_entry(location, bus, body, event_id, alone=len(message) == 1, doors=doors)
            )
            if isinstance(item, Refused):
                return item
            if isinstance(item, Incoming):
                refused = self._pipeline.planner.refusal(item)
                if refused is None and len(message) > 1:
                    refused = self._pipeline.planner.too_costly(item)
                if refused is not None:
                    return refused
                items.append(item)
        return items

    def _message_entry(
        self, location: Location, bus: str, body: bytes, event_id: str, *, alone: bool, doors: _Doors
    ) -> Incoming | Refused:
        """`alone`: the message has no other event, and its detail may be checked where it is matched. `doors` are those
        of all messages that are read together."""
        try:
            entry = _decode_entry(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Refused("InvalidArgument", f"The message's entry is not a PutEvents entry: {error}")
        if _size(entry) >= self._bytes_max:
            return Refused("InvalidArgument", "Total size of the entries in the request is over the limit.")
        name = entry.event_bus_name
        if name not in doors:
            doors |= self._doors(location, [entry], bus)
        door = doors[name]
        item = _checked(location, entry, event_id, iso_seconds(self._world.now_ms()), door, None)
        if isinstance(item, Refused):
            return item
        assert isinstance(door, _Door), "nothing gets past a door that refuses"
        if alone:
            checked = item if door.bus is not None else self._read_for_nobody(item)
            if isinstance(checked, Refused):
                return checked
        elif not _is_taken_by_tables(item.event):
            return MALFORMED_DETAIL
        try:
            self._authorize_all(Principal(location.account), location, [entry], {name: door})
        except AccessDeniedException as error:
            return Refused(error.code, error.message)
        return item


def _is_taken_by_tables(event: Event) -> bool:
    """Whether every rule table takes the event's detail. What must be taken whole is checked before any of it is."""
    try:
        _NO_RULES.match(event)
    except MalformedDetail:
        return False
    return True


def _size(entry: Entry) -> int:
    return entry_size(
        has_time=entry.time is not None,
        source=entry.source or "",
        detail_type=entry.detail_type or "",
        detail=entry.detail or "",
        resources=entry.resources or (),
    )


def _where(caller: Location, bus: str) -> tuple[Location, str] | Refused:
    """The location and name of a bus that an entry names; another region's cannot be named in PutEvents."""
    if not bus.startswith("arn:"):
        return caller, bus
    try:
        found, bus = bus_name(bus)
    except InvalidArn as error:
        return Refused("InvalidArgument", f"Parameter EventBusName is not valid. Reason: {error}")
    location = found or caller
    if location.region != caller.region:
        return Refused(
            "InvalidArgument",
            f"Parameter EventBusName is not valid. Reason: the bus is in {location.region}, the request is for "
            f"{caller.region}.",
        )
    return location, bus


def _checked(
    caller: Location, entry: Entry, event_id: str, now: str, door: "_Door | Refused", trace: str | None
) -> Incoming | Refused:
    """The entry as an event at its bus, or AWS's reason why not; its detail is checked when it is matched."""
    if not entry.source or not entry.detail_type or not entry.detail:
        name = "Source" if not entry.source else "DetailType" if not entry.detail_type else "Detail"
        return Refused("InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument.")
    if entry.source.startswith("aws."):
        return _NOT_AUTHORIZED
    if isinstance(door, Refused):
        return door
    time: str | None = now
    if entry.time is not None:
        time = _parse_time(entry.time)
        if time is None:
            return Refused(
                "InvalidArgument", f"Parameter Time is not valid. Reason: expected a timestamp, got {entry.time!r}."
            )
    if has_long_integer(entry.detail):
        return MALFORMED_DETAIL
    try:
        detail = compact(entry.detail)
    except msgspec.DecodeError:
        return MALFORMED_DETAIL
    assert time is not None
    if entry.trace_header is not None:  # it counts even where it is nothing, and is dropped then
        trace = entry.trace_header
    return Incoming(
        Event(
            event_id,
            entry.detail_type,
            entry.source,
            caller.account,
            time,
            caller.region,
            tuple(entry.resources or ()),
            detail,
        ),
        door.location,
        door.name,
        trace_header=well_formed(trace) if trace else None,
    )


def _parse_time(value: float | str, *, earliest_s: int = 0) -> str | None:
    """Epoch seconds or ISO 8601 as the envelope's time; None where it is neither, or too early to be one."""
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        moment = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        value = moment.timestamp()
    if not earliest_s <= value < 253_402_300_800:
        return None
    return iso_seconds(int(value) * 1000)


def split_records(body: bytes) -> list[bytes]:
    """The events in a request body: one JSON object, a list, CloudTrail's `{"Records": […]}`, or JSON lines.

    Raises ValidationException.
    """
    text = body.strip()
    try:
        if text[:1] == b"[":
            return [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
        lines = text.split(b"\n")
        if len(lines) > 1 and lines[0].rstrip().endswith(b"}") and lines[0].startswith(b"{") and _is_json(lines[0]):
            return [line for line in lines if line.strip()]
        records = msgspec.json.decode(text, type=_Records).records
        return [text] if records is None else [bytes(raw) for raw in records]
    except msgspec.MsgspecError as error:
        raise ValidationException(f"expected a JSON object, a list of them or JSON lines: {error}") from error


class _Records(msgspec.Struct):
    records: list[msgspec.Raw] | None = msgspec.field(default=None, name="Records")


def _is_json(line: bytes) -> bool:
    try:
        _check_object(line)
    except msgspec.MsgspecError:
        return False
    return True
