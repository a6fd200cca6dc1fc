"""API destinations: what they may be, as pure functions over values.

A destination names its connection by ARN, and keeps naming it when the connection goes: it is INACTIVE then, as it is
while the connection is not AUTHORIZED (recorded). Another connection of the same name is another connection.
"""

from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from router import limits
from router.catalog.connections import Connection, is_endpoint
from router.catalog.model import Thing
from router.catalog.things import Things
from router.core.arn import InvalidArn, parse
from router.core.event import Location
from router.errors import (
    LimitExceededException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ValidationException,
)

HttpMethod = Literal["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
Action = Literal["create", "describe", "update", "delete", "list"]


class ApiDestination(Thing, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "api-destination"
    connection_arn: str
    invocation_endpoint: str
    http_method: HttpMethod
    invocation_rate_limit_per_second: int = limits.INVOCATIONS_PER_S_DEFAULT
    description: str | None = None
    named: bool = False
    """The hub file names the endpoint: it may be in a private network."""


def not_found(name: str, action: Action) -> ResourceNotFoundException:
    return ResourceNotFoundException(
        f"Failed to {action} the api-destination(s). An api-destination '{name}' does not exist."
    )


def already_exists(name: str) -> ResourceAlreadyExistsException:
    return ResourceAlreadyExistsException(f"An api-destination '{name}' already exists.")


def find(things: Things, arn: str) -> ApiDestination | None:
    """The destination that a target's ARN names; its last part, the UUID, may be left out."""
    found = things.by_arn(ApiDestination, arn)
    if found is not None:
        return found
    try:
        where = parse(arn)
    except InvalidArn:
        return None
    kind, _, name = where.resource.partition("/")
    return things.get(ApiDestination, where.location, name) if kind == ApiDestination.kind else None


def connection_of(things: Things, arn: str, location: Location, action: Action) -> Connection:
    """The connection that a destination in `location` may name. Raises ResourceNotFoundException."""
    found = things.by_arn(Connection, arn)
    if found is None or found.location != location:
        raise ResourceNotFoundException(
            f"Failed to {action} the api-destination(s). Connection '{arn}' does not exist."
        )
    return found


def state(things: Things, destination: ApiDestination) -> Literal["ACTIVE", "INACTIVE"]:
    connection = things.by_arn(Connection, destination.connection_arn)
    return "ACTIVE" if connection is not None and connection.state == "AUTHORIZED" else "INACTIVE"


def check(destination: ApiDestination, action: Action, rate_max: int) -> None:
    """Raises ValidationException, LimitExceededException."""
    url = destination.invocation_endpoint
    if not is_endpoint(url):
        raise bad_endpoint(url, action, "please provide a valid HTTPS endpoint URL")
    rate = destination.invocation_rate_limit_per_second
    if rate > rate_max:
        raise LimitExceededException(
            f"Failed to {action} the api-destination(s). Invalid Invocation Rate Limit: Rate specified '{rate}' for "
            f"'{destination.name}' exceeds maximum allowed of '{rate_max}'."
        )


def bad_endpoint(url: str, action: str, why: str) -> ValidationException:
    return ValidationException(
        f"Failed to {action} the api-destination(s). Parameter InvocationEndpoint is not valid. Reason: Endpoint "
        f"'{url}' is invalid, {why}."
    )


def updated(old: ApiDestination, now_ms: int, **given: Any) -> ApiDestination:
    """The destination with the members that are not None."""
    new = msgspec.structs.replace(
        old, modified_ms=now_ms, **{name: value for name, value in given.items() if value is not None}
    )
    same_place = _origin(new.invocation_endpoint) == _origin(old.invocation_endpoint)
    return msgspec.structs.replace(new, named=old.named and same_place, description=new.description or None)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
