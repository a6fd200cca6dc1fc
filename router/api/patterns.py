"""TestEventPattern."""

from typing import Any

import msgspec

from router.api.access import Access
from router.aws.service import Caller
from router.core.pattern import InvalidPattern, parse
from router.core.ruletable import MalformedEvent, matches
from router.errors import InvalidEventPatternException, ValidationException

_NEEDED = ("id", "account", "source", "time", "region", "detail-type")
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


async def test_event_pattern(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """The event must have an envelope, but for resources, detail and version (recorded)."""
    try:
        pattern = parse(request["EventPattern"])
    except InvalidPattern as error:
        raise InvalidEventPatternException(str(error)) from error
    malformed = ValidationException("Parameter Event is not valid.")
    try:
        members = _read_members(request["Event"])
        if not all(name in members for name in _NEEDED):
            raise malformed
        return {"Result": matches(pattern, request["Event"])}
    except (msgspec.DecodeError, UnicodeEncodeError, MalformedEvent):
        raise malformed from None
