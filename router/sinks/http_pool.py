"""The HTTP client's connections: which call goes over which, who waits, and when a call has taken too long.

    a call is  waiting → connecting → sent → done       waiting: its host, or the pool, has all connections that it may
               idle connection → sent → done            anything → done: by its deadline, or cancelled
               sent → connecting                        once, where a kept connection turns out to be closed

Promises: every call is done once, by its deadline, and never from within `start`; the longest waiting call is the next
to be served; a call that is cancelled or late takes its connection with it, because the answer is still to come there.
A kept connection that the other side closed before any byte of the answer is the one case in which a request is sent
again, with or without the 408 that some servers then say (RFC 9110, section 15.5.9): servers close idle connections,
and nothing tells that from a request that was lost. It may so arrive twice; that is what at-least-once delivery, and
each of the hub's other calls, allows. It is sent again once, over a new connection, within the same time.

One timer is for all deadlines and for connections that were idle for too long: it is set for the first of what there
was when it last ran, so that a call that ends in time costs none.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from router.sinks.http_answer import Heads
from router.sinks.http_connection import Connection
from router.sinks.http_dial import Dialer
from router.sinks.http_messages import HttpFault, Origin, Request, Response

IDLE_S_MAX = 15.0  # ours: most servers keep an idle connection for longer
_IDLE_FOR_TOO_LONG = 408
_SWEEP_S_MIN = 0.02  # ours: how often the timer may run

Done = Callable[[Response | HttpFault], None]


class Started(Protocol):
    """A call that was started."""

    def cancel(self) -> object:
        """Nobody waits for it any more: `done` is not called after this."""
        ...


class _Host:
    """One origin's connections and calls."""

    __slots__ = ("count", "idle", "origin", "waiting")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.count = 0
        """Connections, with those that are being made."""
        self.idle: list[Connection] = []
        """The last one was used last."""
        self.waiting: OrderedDict[Call, None] = OrderedDict()


class Call:
    """See the module's life cycle."""

    __slots__ = ("_pool", "connecting", "connection", "deadline", "done", "host", "number", "repeated", "request")

    def __init__(self, pool: "Pool", host: _Host, request: Request, done: Done) -> None:
        self._pool = pool
        self.host = host
        self.request = request
        self.done: Done | None = done
        self.deadline = 0.0
        self.number = 0
        """Of those that wait, the lowest is served first."""
        self.connection: Connection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.repeated = False

    def cancel(self) -> None:
        if self.done is not None:
            self.done = None
            self._pool.give_up(self)


class Pool:
    """See the module's contract. A bound of 0 is none."""

    def __init__(self, dialer: Dialer, *, connections_max: int, connections_per_host_max: int) -> None:
        self._dialer = dialer
        self._connections_max = connections_max or float("inf")
        self._connections_per_host_max = connections_per_host_max or float("inf")
        self._heads = Heads()
        self._hosts: dict[Origin, _Host] = {}
        self._calls: dict[Connection, Call] = {}
        self._pending: set[Call] = set()
        self._waiting: dict[_Host, None] = {}
        """The hosts that have waiting calls."""
        self._count = 0
        self._number = 0
        self._open: dict[Connection, _Host] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_gone: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = float("inf")

    def start(self, request: Request, done: Done) -> Call:
        host = self._hosts.get(request.origin)
        if host is None:
            host = self._hosts[request.origin] = _Host(request.origin)
        call = Call(self, host, request, done)
        call.deadline = asyncio.get_running_loop().time() + request.timeout_s
        self._pending.add(call)
        if call.deadline < self._sweep_at:
            self._set_timer(call.deadline)
        if request.timeout_s <= 0:
            return call  # the timer ends it: nobody is called for an answer that nobody waits for
        while host.idle:
            connection = host.idle.pop()
            if connection.usable():
                self._send(call, connection)
                return call
            self._close(host, connection)
        self._wait(call)
        self._serve_waiting()
        return call

    async def close(self) -> None:
        """Close all connections; calls that are under way end as `reset`."""
        for call in list(self._pending):
            self._end_soon(call, HttpFault("reset", "the hub closed the connection"))
        for host in list(self._hosts.values()):
            while host.idle:
                self._close(host, host.idle.pop())
            self._forget(host)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._sweep_at = None, float("inf")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._open:
            self._all_gone = asyncio.Event()
            await self._all_gone.wait()
            self._all_gone = None

    # calls

    def _send(self, call: Call, connection: Connection) -> None:
        call.connection = connection
        self._calls[connection] = call
        connection.call(call.request)

    def _wait(self, call: Call) -> None:
        self._number += 1
        call.number = self._number
        call.host.waiting[call] = None
        self._waiting[call.host] = None

    def _pop_waiting(self, host: _Host) -> Call:
        call, _ = host.waiting.popitem(last=False)
        if not host.waiting:
            del self._waiting[host]
        return call

    def _done(self, call: Call, result: Response | HttpFault) -> None:
        """The last thing to be done for a call: what comes of it may start others."""
        self._pending.discard(call)
        done, call.done = call.done, None
        if done is not None:
            done(result)

    def _end_soon(self, call: Call, fault: HttpFault) -> None:
        """What is under way for a call ends now; it is told when whoever is at work here has finished."""
        self.give_up(call)
        asyncio.get_running_loop().call_soon(self._done, call, fault)

    def give_up(self, call: Call) -> None:
        """Whatever is under way for a call ends."""
        self._pending.discard(call)
        connection, task = call.connection, call.connecting
        if connection is not None:
            call.connection = None
            del self._calls[connection]
            self._close(call.host, connection)
        elif task is not None:
            call.connecting = None
            task.cancel()
            call.host.count -= 1
            self._count -= 1
        elif call in call.host.waiting:
            del call.host.waiting[call]
            if not call.host.waiting:
                del self._waiting[call.host]
        self._serve_waiting()
        self._forget(call.host)

    # connections: an owner's part

    def answered(self, connection: Connection, response: Response, *, reusable: bool) -> None:
        call = self._calls.pop(connection)
        call.connection = None
        if response.status == _IDLE_FOR_TOO_LONG and connection.calls > 1 and not reusable and not call.repeated:
            self._repeat(call)
            return
        if reusable:
            self._free(call.host, connection)
        else:
            self._released(call.host)
        self._done(call, response)

    def failed(self, connection: Connection, fault: HttpFault, *, unanswered: bool) -> None:
        call = self._calls.pop(connection)
        call.connection = None
        if unanswered and connection.calls and not call.repeated:
            self._repeat(call)
            return
        self._released(call.host)
        self._done(call, fault)

    def _repeat(self, call: Call) -> None:
        """Send it again, in the place of the connection that is gone."""
        call.repeated = True
        self._connect(call)

    def left(self, connection: Connection) -> None:
        host = self._open.get(connection)
        if host is not None and connection in host.idle:
            host.idle.remove(connection)
            self._released(host)

    def gone(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        if not self._open and self._all_gone is not None:
            self._all_gone.set()

    # places

    def _free(self, host: _Host, connection: Connection) -> None:
        """A connection can take the next call."""
        if self._waiting and self._next_host(host) is host:
            self._send(self._pop_waiting(host), connection)
            return
        connection.idle_until = asyncio.get_running_loop().time() + IDLE_S_MAX
        host.idle.append(connection)
        if connection.idle_until < self._sweep_at:
            self._set_timer(connection.idle_until)
        if self._waiting:
            self._serve_waiting()

    def _close(self, host: _Host, connection: Connection) -> None:
        """A connection that is not in use is given up, its place at once."""
        connection.abort()
        host.count -= 1
        self._count -= 1

    def _released(self, host: _Host) -> None:
        """A connection is no more."""
        host.count -= 1
        self._count -= 1
        if self._waiting:
            self._serve_waiting()
        self._forget(host)

    def _forget(self, host: _Host) -> None:
        if not host.count and not host.waiting and self._hosts.get(host.origin) is host:
            del self._hosts[host.origin]

    def _next_host(self, free: _Host | None) -> _Host | None:
        """Whose call is the next: of the hosts that may have one more connection, and the one that has a free one,
        that with the longest waiting call."""
        first, number = None, 0
        for host in self._waiting:
            if host is free or host.count < self._connections_per_host_max:
                oldest = next(iter(host.waiting)).number
                if first is None or oldest < number:
                    first, number = host, oldest
        return first

    def _serve_waiting(self) -> None:
        """New connections for those who wait, as far as there may be more."""
        while self._waiting:
            host = self._next_host(None)
            if host is None or (self._count >= self._connections_max and not self._evict()):
                return
            host.count += 1
            self._count += 1
            self._connect(self._pop_waiting(host))

    def _evict(self) -> bool:
        """Close the connection that has been idle for the longest time, if any is."""
        idle = [host for host in self._hosts.values() if host.idle]
        if not idle:
            return False
        host = min(idle, key=lambda one: one.idle[0].idle_until)
        self._close(host, host.idle.pop(0))
        self._forget(host)
        return True

    def _connect(self, call: Call) -> None:
        """A new connection for a call that has a place."""
        call.connecting = task = asyncio.get_running_loop().create_task(self._connecting(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connecting(self, call: Call) -> None:
        connection: Connection | None = None
        outcome: HttpFault | None = None
        try:
            connection = await self._dialer.dial(call.host.origin, self._connection, call.deadline)
        except HttpFault as fault:
            outcome = fault
        finally:
            given_up = call.connecting is None  # and its place with it
            call.connecting = None
            if connection is None and not given_up:
                self._released(call.host)
        if connection is not None and not connection.lost:
            self._open[connection] = call.host
        if given_up:
            if connection is not None:
                connection.abort()
        elif outcome is not None:
            self._done(call, outcome)
        elif connection is not None and connection.usable():
            self._send(call, connection)
        else:
            self._released(call.host)
            self._done(call, HttpFault("reset", "the connection was closed before the answer was complete"))

    def _connection(self) -> Connection:
        return Connection(self, self._heads)

    # time

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._sweep_at = when
        self._timer = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer, self._sweep_at = None, float("inf")
        for call in [call for call in self._pending if call.deadline <= now]:
            self._end_soon(call, HttpFault("timeout", "no complete answer in time"))
        for host in list(self._hosts.values()):
            while host.idle and (host.idle[0].idle_until <= now or not host.idle[0].usable()):
                self._close(host, host.idle.pop(0))
            self._forget(host)
        first = min((call.deadline for call in self._pending), default=float("inf"))
        for host in self._hosts.values():
            if host.idle:
                first = min(first, host.idle[0].idle_until)
        if first < self._sweep_at:
            self._set_timer(max(first, now + _SWEEP_S_MIN))
