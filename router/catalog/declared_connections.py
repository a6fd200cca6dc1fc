"""The hub file's connections and API destinations: what must change so that they are as declared.

A pure plan over what there is, as for buses and rules (`declared`); they go through the same checks as the API's. The
ARNs of declared ones end in a UUID made from account, region and name: they are the same on every hub and known
beforehand. What has not changed keeps its sealed secrets, so that a start writes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from router.catalog import api_destinations, connections
from router.catalog.api_destinations import ApiDestination
from router.catalog.connections import Connection, Fresh, New, Sealing
from router.catalog.declared import Report
from router.catalog.model import Thing
from router.catalog.quotas import Quotas
from router.catalog.state import Changes
from router.catalog.things import Things
from router.config import ConfigError, DeclaredApiDestination, DeclaredConnection, Resources
from router.core.arn import api_destination_arn, connection_arn
from router.core.event import Location
from router.errors import ApiError
from router.world import uuid5


def destination_arn(location: Location, name: str) -> str:
    """The ARN of a destination that the hub file declares."""
    return api_destination_arn(location, name, uuid5("api-destination", f"{location}/{name}"))


def plan(
    resources: Sequence[Resources], things: Things, *, quotas: Quotas, sealing: Sealing, now_ms: int
) -> tuple[Changes, Report]:
    """Raises ConfigError."""
    wanted: list[Thing] = []
    for index, declared in enumerate(resources):
        location = Location(declared.account, declared.region)
        path = f"$.resources[{index}]"
        for number, connection in enumerate(declared.connections):
            with _at(f"{path}.connections[{number}]"):
                wanted.append(_connection(connection, location, things, sealing, now_ms))
        for number, destination in enumerate(declared.api_destinations):
            with _at(f"{path}.api_destinations[{number}]"):
                one = _destination(destination, location, things, now_ms)
                api_destinations.check(one, "create", quotas.invocations_per_s)
                wanted.append(one)
    places = {(one.kind, one.location, one.name) for one in wanted}
    known: list[Thing] = [*things.all(Connection), *things.all(ApiDestination)]
    gone = [one for one in known if one.declared and (one.kind, one.location, one.name) not in places]
    _check_quotas(wanted, things, quotas)
    put = [(one, things.get(type(one), one.location, one.name)) for one in wanted]
    changed = [(one, old) for one, old in put if one != old]
    return (
        Changes(things=tuple(one for one, _ in changed), gone_things=tuple(gone)),
        Report(
            created=tuple(one.arn for one, old in changed if old is None),
            updated=tuple(one.arn for one, old in changed if old is not None),
            removed=tuple(thing.arn for thing in gone),
        ),
    )


@contextmanager
def _at(path: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise ConfigError(f"{error.message} - at `{path}`") from error


def _connection(
    declared: DeclaredConnection, location: Location, things: Things, sealing: Sealing, now_ms: int
) -> Connection:
    where = f"{location}/{declared.name}"
    new = New(
        location=location,
        name=declared.name,
        authorization_type=declared.authorization_type,
        auth=msgspec.to_builtins(declared.auth_parameters),
        description=declared.description,
    )
    secret = uuid5("secret", where)
    fresh = Fresh(now_ms, uuid5("connection", where), secret, uuid5("secret suffix", where)[-6:])
    arn = connection_arn(location, declared.name, fresh.uuid)
    old = things.get(Connection, location, declared.name)
    if (
        old is not None
        and old.arn == arn
        and old.authorization_type == new.authorization_type
        and connections.has_same(old, new.auth, sealing)
    ):
        kept = msgspec.structs.replace(
            old, description=new.description or None, kms_key_identifier=None, declared=True, named=True
        )
        if kept.state == "DEAUTHORIZED":  # tried again, as at the first start
            again = connections.created(new, fresh, sealing)
            kept = msgspec.structs.replace(kept, state=again.state, state_reason=None)
        return kept
    made = connections.created(new, fresh, sealing)
    return msgspec.structs.replace(
        made, created_ms=old.created_ms if old is not None else now_ms, declared=True, named=True
    )


def _destination(declared: DeclaredApiDestination, location: Location, things: Things, now_ms: int) -> ApiDestination:
    old = things.get(ApiDestination, location, declared.name)
    made = ApiDestination(
        name=declared.name,
        location=location,
        arn=destination_arn(location, declared.name),
        created_ms=old.created_ms if old is not None else now_ms,
        modified_ms=old.modified_ms if old is not None else now_ms,
        connection_arn=connection_arn(
            location, declared.connection_name, uuid5("connection", f"{location}/{declared.connection_name}")
        ),
        invocation_endpoint=declared.invocation_endpoint,
        http_method=declared.http_method,
        invocation_rate_limit_per_second=declared.invocation_rate_limit_per_second,
        description=declared.description or None,
        declared=True,
        named=True,
    )
    return made if made == old else msgspec.structs.replace(made, modified_ms=now_ms)


def _check_quotas(wanted: Sequence[Thing], things: Things, quotas: Quotas) -> None:
    """Counts what there will be: what is declared, and what the API made beside it."""
    bounds: tuple[tuple[type[Thing], str, int], ...] = (
        (Connection, "connections", quotas.connections_per_location),
        (ApiDestination, "API destinations", quotas.api_destinations_per_location),
    )
    for kind, words, count_max in bounds:
        for location in {one.location for one in wanted}:
            names = {one.name for one in wanted if one.location == location and isinstance(one, kind)}
            names |= {thing.name for thing in things.here(kind, location) if not thing.declared}
            if len(names) > count_max:
                raise ConfigError(f"expected at most {count_max} {words}, got {len(names)} - on {location}")
