"""Pages of a sorted list of names: NamePrefix, Limit and NextToken.

A token holds the name that the last page ended with and a checksum over the listing it belongs to. It opens nothing
that the caller may not list anyway, so the checksum only has to keep a token from being used for another listing, and
tokens outlive a restart. Names that come or go between two pages are seen or missed; no other name is repeated or lost.
"""

import base64
import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from router import limits
from router.errors import ValidationException

_CHECKSUM_BYTES = 12


def page(names: Sequence[str], request: Mapping[str, Any], *listing: str) -> tuple[Sequence[str], dict[str, str]]:
    """The request's page of `names`, which are sorted, and the answer's NextToken, if more follow.

    `listing` says what is listed; a token is good for that listing and the same NamePrefix. Raises ValidationException.
    """
    prefix = request.get("NamePrefix") or ""
    scope = "\0".join((*listing, prefix))
    token = request.get("NextToken")
    limit = request.get("Limit") or limits.PAGE_ITEMS_DEFAULT
    start = bisect_left(names, prefix) if token is None else bisect_right(names, _read(token, scope))
    stop = bisect_left(names, prefix + "\U0010ffff") if prefix else len(names)
    found = names[start : min(start + limit, stop)]
    return found, {"NextToken": _token(found[-1], scope)} if found and start + limit < stop else {}


def only_filter(request: Mapping[str, Any], operation: str) -> str:
    """For listings that take one filter at most: which one it is and its value, for a token's scope, or "". Raises
    ValidationException."""
    given = [f"{name}={request[name]}" for name in ("NamePrefix", "EventSourceArn", "State") if request.get(name)]
    if len(given) > 1:
        raise ValidationException(
            f"At most one filter is allowed for {operation}. Use either : State, EventSourceArn, or NamePrefix."
        )
    return given[0] if given else ""


def _token(name: str, scope: str) -> str:
    return base64.urlsafe_b64encode(_checksum(name, scope) + name.encode()).decode()


def _read(token: str, scope: str) -> str:
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        name = raw[_CHECKSUM_BYTES:].decode()
    except ValueError:
        raw, name = b"", ""
    if raw[:_CHECKSUM_BYTES] != _checksum(name, scope):
        raise ValidationException("Parameter NextToken is not valid.")
    return name


def _checksum(name: str, scope: str) -> bytes:
    return hashlib.blake2b(f"{scope}\0{name}".encode(), digest_size=_CHECKSUM_BYTES, person=b"crossbus-page").digest()
