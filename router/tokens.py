"""OAuth tokens: fetched when they are needed, kept in memory only, one request for a connection at a time.

Promises: a token is fetched anew when it is about to end, when its connection has changed, and once after a destination
refused it; whoever comes while it is fetched waits for that one request; every wait is bounded. A new connection is
authorized in the background (`run`), and every outcome is told to the connection. No token is in a repr, a log line or
a reason.
"""

import anyio
import msgspec

from router import limits
from router.catalog.connections import Connection
from router.connections import Connections
from router.sinks import oauth
from router.sinks.http_client import Clients, HttpFault
from router.sinks.oauth import Granted, Refused
from router.world import World


class Token(msgspec.Struct, frozen=True):
    """Times are on the world's monotonic clock."""

    value: str
    fetched_s: float
    refresh_s: float
    """From then on it is fetched anew."""

    def __repr__(self) -> str:
        return "<token>"


class _Entry:
    """What is known of one connection."""

    __slots__ = ("lock", "refused", "refused_s", "sealed", "token")

    def __init__(self, sealed: dict[str, str]) -> None:
        self.sealed = sealed
        self.lock = anyio.Lock()
        self.token: Token | None = None
        self.refused: Refused | None = None
        self.refused_s = float("-inf")

    def __repr__(self) -> str:
        return "<entry>"


class Tokens:
    """See the module's contract."""

    def __init__(self, connections: Connections, clients: Clients, world: World) -> None:
        self._connections = connections
        self._clients = clients
        self._world = world
        self._entries: dict[str, _Entry] = {}
        self._authorizing: set[str] = set()
        self._places = anyio.Semaphore(limits.AUTHORIZING_MAX)

    def current(self, connection: Connection) -> Token | None:
        """A token that is good for now and of which nothing has to be told; None: `get` says what there is."""
        entry = self._entries.get(connection.arn)
        if entry is None or entry.sealed != connection.sealed or connection.state != "AUTHORIZED":
            return None
        token = entry.token
        return token if token is not None and self._world.monotonic() < token.refresh_s else None

    async def get(self, connection: Connection) -> Token | Refused:
        """A token that is good for now, or why there is none."""
        entry = self._entry(connection)
        async with entry.lock:
            outcome = await self._renew(entry, connection)
        if isinstance(outcome, Token):
            if connection.state != "AUTHORIZED":
                await self._connections.mark(connection, "authorized")
        elif outcome.final:
            await self._connections.mark(connection, "refused", outcome.reason)
        return outcome

    async def _renew(self, entry: _Entry, connection: Connection) -> Token | Refused:
        """What the entry has, or what comes of asking for it, with the entry's lock held."""
        now_s = self._world.monotonic()
        if entry.token is not None and now_s < entry.token.refresh_s:
            return entry.token
        if entry.refused is not None and now_s - entry.refused_s < limits.OAUTH_REFRESH_S_MIN:
            return entry.refused
        outcome = await self._fetch(connection)
        now_s = self._world.monotonic()
        if isinstance(outcome, Refused):
            entry.token, entry.refused, entry.refused_s = None, outcome, now_s
            return outcome
        entry.token, entry.refused = _token(outcome, now_s), None
        return entry.token

    def refused(self, connection: Connection, token: Token) -> None:
        """A destination refused the token: the next one who needs one fetches it, unless this one is new."""
        entry = self._entry(connection)
        if entry.token is token and self._world.monotonic() - token.fetched_s >= limits.OAUTH_REFRESH_S_MIN:
            entry.token = None

    def _entry(self, connection: Connection) -> _Entry:
        entry = self._entries.get(connection.arn)
        if entry is None or entry.sealed != connection.sealed:
            entry = self._entries[connection.arn] = _Entry(connection.sealed)
        return entry

    async def _fetch(self, connection: Connection) -> Granted | Refused:
        parameters = self._connections.opened(connection).oauth_parameters
        assert parameters is not None, "connections are checked to have what their type needs"
        request = oauth.request(parameters)
        try:
            response = await self._clients.of(connection.named).request(
                request.method,
                request.url,
                headers=request.headers,
                body=request.body,
                timeout_s=limits.OAUTH_TIMEOUT_S,
            )
        except HttpFault as fault:
            return Refused(
                f"The authorization endpoint cannot be reached: {fault.reason}.", fault.kind in ("forbidden", "invalid")
            )
        return oauth.granted(response)

    async def run(self) -> None:
        """Authorize the connections that are AUTHORIZING, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:  # until cancelled
                changed = self._connections.changed
                known = {one.arn: one for one in self._connections.things.all(Connection)}
                self._entries = {arn: entry for arn, entry in self._entries.items() if arn in known}
                for arn, one in known.items():
                    if one.state == "AUTHORIZING" and arn not in self._authorizing:
                        self._authorizing.add(arn)
                        tasks.start_soon(self._authorize, arn)
                await changed.wait()

    async def _authorize(self, arn: str) -> None:
        """Until the connection is authorized, or is not to be any more; a refusal, or as many failures as that, ends
        it too."""
        failures, tried = 0, None
        try:
            while (now := self._connections.connection(arn)) is not None and now.state == "AUTHORIZING":
                if tried is not None:
                    await anyio.sleep(limits.AUTHORIZE_DELAY_S * 2 ** max(failures - 1, 0))
                if tried != now.sealed:
                    failures, tried = 0, now.sealed
                async with self._places:
                    outcome = await self.get(now)
                if isinstance(outcome, Refused):
                    failures += 1
                    if failures >= limits.AUTHORIZE_ATTEMPTS_MAX:
                        failures = 0
                        await self._connections.mark(now, "refused", outcome.reason)
        finally:
            self._authorizing.discard(arn)


def _token(granted: Granted, now_s: float) -> Token:
    if granted.expires_s is None:
        return Token(granted.token, now_s, float("inf"))
    # A token that lives for less than two margins is used for half of its life.
    margin_s = min(limits.OAUTH_EXPIRES_WITHIN_S, granted.expires_s / 2)
    return Token(granted.token, now_s, now_s + granted.expires_s - margin_s)
