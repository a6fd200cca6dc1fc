"""PutEvents: bytes in, bytes out, because it is the hot operation; a request that this decoder does not take is shown
to the model's validator, which words the refusal as AWS does."""

import re
from collections.abc import Callable

import msgspec

from router import limits
from router.aws.service import Caller
from router.core.event import Location
from router.errors import SerializationException, ValidationException
from router.sources.intake import Entry, Intake
from router.sources.outcome import Taken


class _Request(msgspec.Struct, rename="pascal"):
    entries: list[Entry]
    endpoint_id: str | None = None


class _Success(msgspec.Struct, rename="pascal"):
    event_id: str


class _Failure(msgspec.Struct, rename="pascal"):
    error_code: str
    error_message: str


class _Response(msgspec.Struct, rename="pascal"):
    entries: list[_Success | _Failure]
    failed_entry_count: int


_BUS = re.compile(r"(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[.\-_A-Za-z0-9]+", re.ASCII)
_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class PutEvents:
    """`validate` raises AWS's refusal for a body that breaks the operation's model."""

    def __init__(self, intake: Intake, validate: Callable[[bytes], object]) -> None:
        self._intake = intake
        self._validate = validate

    async def __call__(self, caller: Caller, body: bytes) -> bytes:
        try:
            request = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._validate(body)
            raise SerializationException(str(error)) from error
        if not 1 <= len(request.entries) <= limits.ENTRIES_PER_REQUEST_MAX or any(map(_breaks_model, request.entries)):
            self._validate(body)
        if request.endpoint_id is not None:
            self._validate(body)
            raise ValidationException(
                f"Parameter EndpointId is not valid. Reason: Endpoint {request.endpoint_id} does not exist."
            )
        outcomes = await self._intake.put_entries(Location(caller.account, caller.region), request.entries)
        entries: list[_Success | _Failure] = [
            _Success(outcome.event_id) if isinstance(outcome, Taken) else _Failure(outcome.code, outcome.message)
            for outcome in outcomes
        ]
        failed = sum(1 for entry in entries if isinstance(entry, _Failure))
        return _encode(_Response(entries, failed))


def _breaks_model(entry: Entry) -> bool:
    """Whether a member breaks a constraint of the API's model, so that the validator must word the refusal."""
    bus = entry.event_bus_name
    if bus is not None and (len(bus) > 1600 or _BUS.fullmatch(bus) is None):
        return True
    trace = entry.trace_header
    return (trace is not None and not 1 <= len(trace) <= 500) or any(len(name) > 2048 for name in entry.resources or ())
