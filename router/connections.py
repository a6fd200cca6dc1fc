"""Connections and API destinations at work: every change of them, and their credentials in the clear, in memory.

Each change is checked and computed under the catalog's lock and durable before it is true. Secrets are opened when
they are first needed and are in no repr, log line, answer or error. What a change means for a connection's state is
`catalog.connections`' matter, tokens are `tokens`'.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio

from router import limits, log
from router.addresses import Policy
from router.catalog import api_destinations, connections, declared_connections
from router.catalog.api_destinations import Action, ApiDestination
from router.catalog.auth_parameters import AuthParameters
from router.catalog.catalog import Catalog
from router.catalog.connections import Connection, Fresh, New, Update
from router.catalog.declared import Report
from router.catalog.model import Thing
from router.catalog.state import Changes
from router.catalog.tags import LIMIT_EXCEEDED
from router.catalog.things import Things
from router.config import Resources
from router.core.arn import api_destination_arn
from router.core.event import Location
from router.errors import ApiError, LimitExceededException, ServiceUnavailable, ValidationException
from router.secrets import Secrets, SecretsError
from router.world import World

_SUFFIX = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Connections:
    """See the module's contract. `policy` is that for what the API's callers name."""

    def __init__(self, catalog: Catalog, secrets: Secrets, world: World, *, policy: Policy) -> None:
        self._catalog = catalog
        self._secrets = secrets
        self._world = world
        self._policy = policy
        self._opened: dict[str, tuple[dict[str, str], AuthParameters]] = {}
        self._marked: dict[str, float] = {}
        self.changed = anyio.Event()
        """Set, and replaced, when connections have changed."""

    @property
    def things(self) -> Things:
        return self._catalog.things

    # reading

    def exists(self, arn: str) -> bool:
        return self.destination(arn) is not None

    def destination(self, arn: str) -> ApiDestination | None:
        """The API destination that a target's ARN names."""
        return api_destinations.find(self.things, arn)

    def connection(self, arn: str) -> Connection | None:
        return self.things.by_arn(Connection, arn)

    def opened(self, connection: Connection) -> AuthParameters:
        """The connection's parameters in the clear. Raises SecretsError."""
        known = self._opened.get(connection.arn)
        if known is None or known[0] != connection.sealed:
            known = (connection.sealed, connections.opened(connection, self._secrets))
            self._opened[connection.arn] = known
        return known[1]

    # starting

    async def load(self) -> None:
        """Open every secret once, so that a key that is missing is told at the start, and seal anew what an old key
        sealed. Raises SecretsError."""
        old = []
        for connection in self.things.all(Connection):
            try:
                connections.opened(connection, self._secrets)
            except SecretsError as error:
                raise SecretsError(f"the secret of {connection.arn} cannot be opened: {error}") from error
            if not all(self._secrets.is_current(sealed) for sealed in connection.sealed.values()):
                old.append(connections.resealed(connection, self._secrets))
        if old:
            async with self._catalog.changing() as change:
                await change.commit(Changes(things=tuple(old)))
            log.info("secrets.sealed_anew", connections=len(old))

    async def declare(self, resources: Sequence[Resources]) -> Report:
        """Apply the hub file's connections and API destinations in one commit. Raises ConfigError, SecretsError."""
        if any(declared.connections for declared in resources):
            await self._secrets.ready()
        async with self._catalog.changing() as change:
            changes, report = declared_connections.plan(
                resources,
                self.things,
                quotas=self._catalog.quotas,
                sealing=self._secrets,
                now_ms=self._world.now_ms(),
            )
            await change.commit(changes)
        self._tell()
        return report

    # connections

    async def create(self, new: New) -> Connection:
        self._check_authorization_endpoint(new.auth, "create")
        await self._ready()
        async with self._catalog.changing() as change:
            if self.things.get(Connection, new.location, new.name) is not None:
                raise connections.already_exists(new.name)
            self._check_quota(Connection, new.location, self._catalog.quotas.connections_per_location)
            made = connections.created(new, self._fresh(), self._secrets)
            await change.commit(Changes(things=(made,)))
        self._tell()
        return made

    async def update(self, location: Location, name: str, update: Update) -> Connection:
        self._check_authorization_endpoint(update.auth or {}, "update")
        await self._ready()
        return await self._replace(
            location, name, lambda old: connections.updated(old, update, self._fresh(), self._secrets)
        )

    async def deauthorize(self, location: Location, name: str) -> tuple[Connection, Connection]:
        """The connection before and after."""
        old = self._connection(location, name)
        return old, await self._replace(location, name, lambda old: connections.deauthorized(old, self._world.now_ms()))

    async def delete(self, location: Location, name: str) -> Connection:
        """The connection as it was. Destinations that use it become INACTIVE."""
        async with self._catalog.changing() as change:
            old = self._connection(location, name)
            change.note(old)
            await change.commit(Changes(gone_things=(old,)))
        self._tell()
        return old

    async def mark(
        self, connection: Connection, what: Literal["authorized", "refused"], reason: str | None = None
    ) -> None:
        """The connection's credentials were taken or refused; nothing happens if they are no longer the same ones, or
        the store fails."""
        try:
            async with self._catalog.changing() as change:
                now = self.connection(connection.arn)
                if now is None or now.sealed != connection.sealed:
                    return
                new = connections.happened(now, what, reason, self._world.now_ms())
                if new is now:
                    return
                await change.commit(Changes(things=(new,)))
        except ApiError as error:
            log.warning("connection.not_marked", connection=connection.arn, error=error.message)
            return
        if new.state != now.state:
            log.info("connection.state", connection=new.arn, state=new.state, reason=new.state_reason)

    def follows(self, connection: Connection, status: int) -> bool:
        """Whether `answered` has anything to do."""
        refused = status in (401, 407)
        if refused == (connection.state == "DEAUTHORIZED") or not (refused or 200 <= status <= 299):
            return False
        since_s = self._world.monotonic() - self._marked.get(connection.arn, float("-inf"))
        return since_s >= limits.CONNECTION_STATE_S_MIN

    async def answered(self, connection: Connection, status: int) -> None:
        """A destination took or refused credentials that are no token ("eb-target-connection-deauthorize")."""
        if not self.follows(connection, status):
            return
        self._marked[connection.arn] = self._world.monotonic()
        if status in (401, 407):
            await self.mark(connection, "refused", f"A destination answered with status {status}.")
        else:
            await self.mark(connection, "authorized")

    def _connection(self, location: Location, name: str) -> Connection:
        found = self.things.get(Connection, location, name)
        if found is None:
            raise connections.not_found(name)
        return found

    async def _replace(self, location: Location, name: str, changed: Callable[[Connection], Connection]) -> Connection:
        async with self._catalog.changing() as change:
            old = self._connection(location, name)
            new = changed(old)
            if new is not old:
                change.note(old)
                await change.commit(Changes(things=(new,)))
        self._tell()
        return new

    # API destinations

    async def create_destination(
        self,
        location: Location,
        name: str,
        *,
        connection_arn: str,
        endpoint: str,
        method: api_destinations.HttpMethod,
        rate: int | None,
        description: str | None,
    ) -> ApiDestination:
        async with self._catalog.changing() as change:
            now_ms = self._world.now_ms()
            made = ApiDestination(
                name=name,
                location=location,
                arn=api_destination_arn(location, name, self._world.uuids(1)[0]),
                created_ms=now_ms,
                modified_ms=now_ms,
                connection_arn=connection_arn,
                invocation_endpoint=endpoint,
                http_method=method,
                invocation_rate_limit_per_second=rate or limits.INVOCATIONS_PER_S_DEFAULT,
                description=description or None,
            )
            self._check_destination(made, "create")
            if self.things.get(ApiDestination, location, name) is not None:
                raise api_destinations.already_exists(name)
            self._check_quota(ApiDestination, location, self._catalog.quotas.api_destinations_per_location)
            await change.commit(Changes(things=(made,)))
            return made

    async def update_destination(self, location: Location, name: str, **given: Any) -> ApiDestination:
        """`given` are members of an ApiDestination; one that is None stays."""
        async with self._catalog.changing() as change:
            old = self._destination(location, name, "update")
            new = api_destinations.updated(old, self._world.now_ms(), **given)
            self._check_destination(new, "update", connection=given.get("connection_arn") is not None)
            change.note(old)
            await change.commit(Changes(things=(new,)))
            return new

    async def delete_destination(self, location: Location, name: str) -> None:
        async with self._catalog.changing() as change:
            old = self._destination(location, name, "delete")
            change.note(old)
            await change.commit(Changes(gone_things=(old,)))

    def _destination(self, location: Location, name: str, action: Action) -> ApiDestination:
        found = self.things.get(ApiDestination, location, name)
        if found is None:
            raise api_destinations.not_found(name, action)
        return found

    # checks

    def _check_destination(self, destination: ApiDestination, action: Action, *, connection: bool = True) -> None:
        api_destinations.check(destination, action, self._catalog.quotas.invocations_per_s)
        refusal = None if destination.named else self._refusal(destination.invocation_endpoint)
        if refusal is not None:
            raise api_destinations.bad_endpoint(destination.invocation_endpoint, action, refusal)
        if connection:
            api_destinations.connection_of(self.things, destination.connection_arn, destination.location, action)

    def _check_authorization_endpoint(self, auth: Any, action: str) -> None:
        url = (auth.get("OAuthParameters") or {}).get("AuthorizationEndpoint")
        refusal = self._refusal(url) if url is not None and connections.is_endpoint(url) else None
        if refusal is not None:
            raise ValidationException(
                f"Failed to {action} the connection(s). Parameter AuthorizationEndpoint is not valid. Reason: Endpoint "
                f"'{url}' is invalid, {refusal}."
            )

    def _refusal(self, url: str) -> str | None:
        parts = urlsplit(url)
        refusal = self._policy.refusal_of_url(parts.scheme, parts.hostname or "")
        return "please provide a valid HTTPS endpoint URL" if refusal == "http is for loopback only" else refusal

    def _check_quota(self, kind: type[Thing], location: Location, count_max: int) -> None:
        if len(self.things.names(kind, location)) >= count_max:
            raise LimitExceededException(LIMIT_EXCEEDED)

    async def _ready(self) -> None:
        """There is a key to seal with. Raises ServiceUnavailable."""
        try:
            await self._secrets.ready()
        except SecretsError as error:
            log.warning("secrets.no_key", error=str(error))
            raise ServiceUnavailable("The hub has no key to encrypt secrets with, and could not make one.") from error

    def _fresh(self) -> Fresh:
        uuid, secret_uuid = self._world.uuids(2)
        suffix = "".join(_SUFFIX[byte % len(_SUFFIX)] for byte in self._world.token(6))
        return Fresh(self._world.now_ms(), uuid, secret_uuid, suffix)

    def _tell(self) -> None:
        """Connections have changed: forget those that are gone, wake who waits."""
        gone = {arn for arn in (*self._opened, *self._marked) if self.connection(arn) is None}
        for arn in gone:
            self._opened.pop(arn, None)
            self._marked.pop(arn, None)
        self.changed.set()
        self.changed = anyio.Event()
