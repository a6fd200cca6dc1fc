"""PutEvents: bytes in, bytes out, because it is the hot operation; a request that this decoder does not take is shown
to the model's validator, which words the refusal as AWS does."""

import re
from collections.abc import Callable

import msgspec

from router import limits
from router.aws.service import Caller
from router.aws.validate import TIMESTAMP_S_MAX, TIMESTAMP_S_MIN
from router.catalog.endpoints import Endpoint
from router.core.event import Location
from router.errors import SerializationException, ValidationException
from router.sources.intake import Entry, Intake
from router.sources.outcome import Taken


class _Entry(Entry, rename="pascal", gc=False):
    """On the wire a time is a number; SDKs and the AWS CLI turn ISO texts into one."""

    time: float | None = None


class _Request(msgspec.Struct, rename="pascal"):
    entries: list[_Entry]
    endpoint_id: str | None = None


class _Success(msgspec.Struct, rename="pascal", gc=False):
    event_id: str


class _Failure(msgspec.Struct, rename="pascal"):
    error_code: str
    error_message: str


class _Response(msgspec.Struct, rename="pascal"):
    entries: list[_Success | _Failure]
    failed_entry_count: int


_BUS = re.compile(r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]+", re.ASCII)
FindEndpoint = Callable[[str, str], Endpoint | None]
"""An account's global endpoint by its id; None where it has no such one."""

_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class PutEvents:
    """`validate` raises AWS's refusal for a body that breaks the operation's model.

    Through an endpoint, events are put in the region of the endpoint's bus, which entries need not name.
    """

    def __init__(
        self,
        intake: Intake,
        validate: Callable[[bytes], object],
        find_endpoint: FindEndpoint = lambda account, endpoint_id: None,
    ) -> None:
        self._intake = intake
        self._validate = validate
        self._find_endpoint = find_endpoint

    async def __call__(self, caller: Caller, body: bytes) -> bytes:
        try:
            request = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._validate(body)
            raise SerializationException(str(error)) from error
        if not 1 <= len(request.entries) <= limits.ENTRIES_PER_REQUEST_MAX or any(map(_breaks_model, request.entries)):
            self._validate(body)
        location, entries, default_bus = Location(caller.account, caller.region), request.entries, "default"
        if request.endpoint_id is not None:
            self._validate(body)
            endpoint = self._find_endpoint(caller.account, request.endpoint_id)
            if endpoint is None:
                raise ValidationException(
                    f"Parameter EndpointId is not valid. Reason: Endpoint {request.endpoint_id} does not exist."
                )
            location, default_bus = endpoint.takes, endpoint.bus
            entries = [_through(endpoint, entry) for entry in entries]
        outcomes = await self._intake.put_entries(
            location,
            entries,
            sender=caller.principal,
            default_bus=default_bus,
            trace_header=caller.trace_header,
        )
        answers: list[_Success | _Failure] = []
        failed = 0
        for outcome in outcomes:
            if isinstance(outcome, Taken):
                answers.append(_Success(outcome.event_id))
            else:
                answers.append(_Failure(outcome.code, outcome.message))
                failed += 1
        return _encode(_Response(answers, failed))


def _through(endpoint: Endpoint, entry: _Entry) -> _Entry:
    """The entry with the endpoint's ARN among its resources, and without the name of the endpoint's bus, which may be
    that of its twin in the other region."""
    account, _, name = (entry.event_bus_name or "").rpartition(":event-bus/")
    is_its_bus = name == endpoint.bus and account.rpartition(":")[2] in ("", endpoint.location.account)
    return msgspec.structs.replace(
        entry,
        event_bus_name=None if is_its_bus else entry.event_bus_name,
        resources=[*(entry.resources or ()), endpoint.arn],
    )


def _breaks_model(entry: _Entry) -> bool:
    """Whether a member breaks a constraint of the API's model, so that the validator must word the refusal."""
    bus, time, trace, resources = entry.event_bus_name, entry.time, entry.trace_header, entry.resources
    if bus is None and time is None and trace is None and resources is None:
        return False
    if bus is not None and (len(bus) > 1600 or _BUS.fullmatch(bus) is None):
        return True
    return (
        (time is not None and not TIMESTAMP_S_MIN <= time <= TIMESTAMP_S_MAX)
        or (trace is not None and len(trace) > 500)
        or any(len(name) > 2048 for name in entry.resources or ())
    )
