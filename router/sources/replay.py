"""Replays: the events of an archive, put on their bus again, between live traffic.

A replay is a task that reads its archive a page at a time, in the order of event times, and hands each page to the
pipeline as events with `replay-name` and ids of their own. How far it has come is written in the very batch that
accepts them, so a restart goes on exactly there: nothing is lost and nothing is put twice; an id is made of the replay
and the archive's row, so a page that is tried again has the same events. They go to the rules of their bus as those are
now, or to those of them that the replay names, and into no archive.

Rules.
- One page at a time in the whole hub, whoever's it is, with a commit waited for: replays take turns, and all of them
  together hold up live events no more than one does. A page is bounded in events and in bytes.
- With many deliveries pending in the hub, or a store that takes nothing now, a replay pauses before its next page. It
  never stands still for a target that is down: then it goes a page a pause.
- STARTING and CANCELLING last at least a moment, so that who asks can see them and cancel in time.

It knows archives as rows, and nothing of targets.
"""

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec

from router import archive_rows, limits, log
from router.archive_rows import Archived, ArchiveRows
from router.catalog import buses, replays
from router.catalog.archives import Archive
from router.catalog.catalog import Catalog
from router.catalog.replays import ACTIVE, Progress, Replay, State
from router.catalog.state import Changes
from router.catalog.tags import LIMIT_EXCEEDED
from router.core.event import Location
from router.errors import (
    IllegalStatusException,
    LimitExceededException,
    ResourceAlreadyExistsException,
    ServiceUnavailable,
)
from router.metrics import Metrics
from router.planning import Incoming
from router.sources.outcome import Refused, Taken
from router.store.base import Batch, Store, Table
from router.world import World, uuid5

_PAUSE_S = 1.0
_PRUNE_S = 3600.0

Accept = Callable[[Sequence[Incoming], Batch], Awaitable[list[Taken | Refused]]]
"""The pipeline's: what the batch already holds becomes durable with the events."""


class _Failed(Exception):
    """The replay cannot go on; the text is its StateReason."""


class Replays:
    """See the module. `run` until cancelled; it goes on with what an earlier run left."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: Store,
        rows: ArchiveRows,
        accept: Accept,
        pending: Callable[[], int],
        world: World,
        metrics: Metrics,
        pending_max: int = limits.REPLAY_PENDING_MAX,
        state_s_min: float = limits.REPLAY_STATE_S_MIN,
        pause_s: float = _PAUSE_S,
    ) -> None:
        """`pending` says how many deliveries of the hub are not settled."""
        self._catalog = catalog
        self._store = store
        self._rows = rows
        self._accept = accept
        self._pending = pending
        self._world = world
        self._metrics = metrics
        self._pending_max = pending_max
        self._state_s_min = state_s_min
        self._pause_s = pause_s
        self._tasks: anyio.abc.TaskGroup | None = None
        self._turn = anyio.Lock()
        self.running = 0
        """How many have not ended and have their task."""

    # what people do with them

    def get(self, location: Location, name: str) -> Replay:
        """Raises ResourceNotFoundException."""
        found = self._catalog.things.get(Replay, location, name)
        if found is None:
            raise replays.not_found(name)
        return found

    def names(self, location: Location) -> Sequence[str]:
        """Sorted. Do not keep it."""
        return self._catalog.things.names(Replay, location)

    def last_ms(self, replay: Replay) -> int | None:
        """The time of the event that it has put last."""
        return replay.last_ms if replay.ended_ms is not None else self._progress(replay).last_ms

    def active(self, location: Location) -> int:
        """How many have not ended."""
        return sum(replay.state in ACTIVE for replay in self._catalog.things.here(Replay, location))

    async def start(
        self,
        location: Location,
        name: str,
        *,
        archive_arn: str,
        destination: str,
        filter_arns: Sequence[str] = (),
        start_ms: int,
        end_ms: int,
        description: str | None = None,
    ) -> Replay:
        """Raises ApiError."""
        async with self._catalog.changing() as change:
            bus = replays.check_destination(destination, location)
            if self._catalog.bus(location, bus) is None:
                raise buses.not_found(bus)
            archive_name = replays.archive_name(archive_arn, location)
            archive = self._catalog.things.get(Archive, location, archive_name)
            if archive is None:
                raise replays.no_archive(archive_name)
            replays.check_same_bus(archive, bus)
            replays.check_times(start_ms, end_ms)
            replays.check_filters(filter_arns, location, bus, self._catalog.rule_by_arn)
            if self._catalog.things.get(Replay, location, name) is not None:
                raise ResourceAlreadyExistsException(f"Replay {name} already exists.")
            if self.active(location) >= limits.REPLAYS_ACTIVE_MAX:
                raise LimitExceededException(LIMIT_EXCEEDED)
            now_ms = self._world.now_ms()
            replay = Replay(
                name=name,
                location=location,
                arn=replays.replay_arn(location, name),
                created_ms=now_ms,
                modified_ms=now_ms,
                description=description,
                archive_arn=archive_arn,
                archive=archive.number,
                bus=bus,
                bus_arn=destination,
                filter_arns=tuple(filter_arns),
                start_ms=start_ms,
                end_ms=end_ms,
            )
            batch = Batch()
            batch.then(lambda: self._begin(replay))  # also where the caller does not wait for it any more
            await change.commit(Changes(things=(replay,)), batch)
            return replay

    async def cancel(self, location: Location, name: str) -> Replay:
        """It ends soon; what it has put stays put. Raises ResourceNotFoundException, IllegalStatusException."""
        async with self._catalog.changing() as change:
            replay = self.get(location, name)
            if replay.state not in ("STARTING", "RUNNING"):
                raise IllegalStatusException(f"Replay {name} is not in a valid state for this operation.")
            replay = self._changed(replay, "CANCELLING")
            await change.commit(Changes(things=(replay,)))
            return replay

    # running

    async def run(self) -> None:
        """Own the tasks of replays until cancelled, and forget those that ended long ago."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for replay in list(self._catalog.things.all(Replay)):
                if replay.state in ACTIVE:
                    self._begin(replay)
            try:
                while True:
                    try:
                        await self.prune()
                    except ServiceUnavailable as error:
                        log.warning("replays.prune_failed", error=str(error))
                    await anyio.sleep(_PRUNE_S)
            finally:
                self._tasks = None

    def _begin(self, replay: Replay) -> None:
        """Start its task; where `run` is not under way, the next one does."""
        if self._tasks is not None:
            self._tasks.start_soon(self._run_one, replay)

    async def prune(self) -> None:
        """Forget replays that ended too long ago: their names can be used again."""
        oldest_ms = self._world.now_ms() - limits.REPLAY_HISTORY_S * 1000
        async with self._catalog.changing() as change:
            old = [
                replay
                for replay in self._catalog.things.all(Replay)
                if replay.ended_ms is not None and replay.ended_ms < oldest_ms
            ]
            if old:
                await change.commit(Changes(gone_things=tuple(old)))

    async def _run_one(self, replay: Replay) -> None:
        """From its state to its end."""
        self.running += 1
        try:
            await anyio.sleep(self._state_s_min)
            if self._now(replay).state == "STARTING":
                await self._become(replay, "RUNNING")
            while await self._step(replay):
                await anyio.lowlevel.checkpoint()
            await self._become(replay, "COMPLETED")
            if self._now(replay).state == "CANCELLING":
                await anyio.sleep(self._state_s_min)
                await self._become(replay, "CANCELLED")
        except _Failed as failed:
            log.warning("replay.failed", replay=replay.arn, reason=str(failed))
            await self._become(replay, "FAILED", str(failed))
        finally:
            self.running -= 1

    async def _step(self, replay: Replay) -> bool:
        """Put one page; whether there may be more."""
        async with self._turn:
            if self._pending() > self._pending_max:
                await anyio.sleep(self._pause_s)
            if self._now(replay).state != "RUNNING":
                return False
            self._check(replay)
            progress = self._progress(replay)
            page = self._page(replay, progress)
            if not page:
                return False
            batch = Batch()
            progress = Progress(page[-1].key, page[-1].time_ms, progress.replayed + len(page))
            batch.put(
                Table.CATALOG,
                replays.progress_key(replay.location, replay.name),
                replays.progress_row(progress),
            )
            durable: list[bool] = []
            batch.then(lambda: durable.append(True))
            outcomes = await self._accept([_incoming(replay, archived) for archived in page], batch)
        if durable:
            self._metrics.replayed += len(page)
            self._tell_refused(replay, page, outcomes)
        else:
            await anyio.sleep(self._pause_s)
        return True

    def _check(self, replay: Replay) -> None:
        """Whether what it reads and where it puts are still there."""
        archive = self._catalog.things.by_arn(Archive, replay.archive_arn)
        if archive is None or archive.number != replay.archive:
            raise _Failed(f"Archive {replay.archive_arn.rpartition('/')[2]} does not exist.")
        if self._catalog.bus(replay.location, replay.bus) is None:
            raise _Failed(f"Event bus {replay.bus} does not exist.")

    def _page(self, replay: Replay, progress: Progress) -> list[Archived]:
        rows = self._rows.page(
            replay.archive,
            after=progress.after,
            start_ms=replay.start_ms,
            end_ms=replay.end_ms,
            limit=limits.REPLAY_EVENTS_PER_COMMIT_MAX,
            bytes_max=limits.REPLAY_BYTES_PER_COMMIT_MAX,
        )
        try:
            return [archive_rows.read(key, value) for key, value in rows]
        except msgspec.DecodeError as error:
            raise _Failed(f"An event of the archive cannot be read: {error}") from error

    @staticmethod
    def _tell_refused(replay: Replay, page: Sequence[Archived], outcomes: Sequence[Taken | Refused]) -> None:
        """Its bus would refuse such an event from anybody: it is passed over, and said."""
        for archived, outcome in zip(page, outcomes, strict=True):
            if isinstance(outcome, Refused):
                log.warning(
                    "replay.refused",
                    replay=replay.arn,
                    archived_event_id=archived.event.id,
                    code=outcome.code,
                    message=outcome.message,
                )

    # states

    def _now(self, replay: Replay) -> Replay:
        return self.get(replay.location, replay.name)

    def _progress(self, replay: Replay) -> Progress:
        return replays.progress(self._store.get(Table.CATALOG, replays.progress_key(replay.location, replay.name)))

    def _changed(self, replay: Replay, state: State, reason: str | None = None) -> Replay:
        return msgspec.structs.replace(replay, state=state, state_reason=reason, modified_ms=self._world.now_ms())

    async def _become(self, replay: Replay, state: State, reason: str | None = None) -> None:
        """Change its state, unless it was cancelled meanwhile, as soon as the store takes it; with an end its progress
        goes into it."""
        while True:
            try:
                async with self._catalog.changing() as change:
                    now = self._now(replay)
                    if now.state == "CANCELLING" and state in ("RUNNING", "COMPLETED"):
                        return
                    batch = Batch(essential=True)
                    new = self._changed(now, state, reason)
                    if state not in ACTIVE:
                        progress = self._progress(replay)
                        new = msgspec.structs.replace(
                            new, ended_ms=new.modified_ms, last_ms=progress.last_ms, replayed=progress.replayed
                        )
                        batch.delete(Table.CATALOG, replays.progress_key(replay.location, replay.name))
                    await change.commit(Changes(things=(new,)), batch)
                    return
            except ServiceUnavailable:
                await anyio.sleep(self._pause_s)


def _incoming(replay: Replay, archived: Archived) -> Incoming:
    event = msgspec.structs.replace(
        archived.event,
        id=uuid5("replay", f"{replay.arn}\n{replay.created_ms}\n{archived.key.hex()}"),
        replay_name=replay.name,
    )
    only = frozenset(replay.filter_arns) or None
    return Incoming(event, replay.location, replay.bus, only_rules=only)
