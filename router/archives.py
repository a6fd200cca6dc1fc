"""The archives of one hub: made, changed, deleted, and kept to their retention.

An archive and its managed rule change in one commit of the catalog; its events are then the pipeline's to write and a
replay's to read. Deleting takes the rule and the archive at once and the events in the background, in small steps: a
number with rows and no archive is all that says so, so that a restart in the middle goes on. What is in an archive is
counted by the store's own counters (`archive_rows`); nothing is counted here.
"""

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from router import limits, log
from router.archive_rows import NUMBER_MAX, ArchiveRows, Tally
from router.catalog import archives, buses
from router.catalog.archives import Archive
from router.catalog.catalog import Catalog
from router.catalog.state import Changes
from router.config import ConfigError, DeclaredArchive, Resources
from router.core.event import Location
from router.errors import ApiError, LimitExceededException, ResourceAlreadyExistsException, ValidationException
from router.store.base import Batch, StoreError
from router.world import World

_AGAIN_S = 10.0
_WATCHED_MS = 60_000
"""How long a deleted archive's number is watched for what was on its way."""
_NOTHING_GIVEN = "At least one of EventPattern, RetentionDays or Description must be provided."


class Archives:
    """See the module. `load` before anything is changed; `run` until cancelled."""

    def __init__(self, catalog: Catalog, rows: ArchiveRows, world: World) -> None:
        self._catalog = catalog
        self._world = world
        self.rows = rows
        self.expired = 0
        """Events that went because they were older than their archive keeps them."""
        self._number = 0
        self._doomed: dict[int, int] = {}
        """Numbers of deleted archives, and when they were; they stay a while, for what was on its way then."""
        self._deleted = anyio.Event()

    def load(self) -> None:
        """Take over what the store has."""
        known = {archive.number for archive in self._catalog.things.all(Archive)}
        now_ms = self._world.now_ms()
        self._doomed = {number: now_ms for number in self.rows.load() if number not in known}
        self._number = max(self.rows.number_max, *known, 0) if known else self.rows.number_max

    # reading

    def get(self, location: Location, name: str) -> Archive:
        """Raises ResourceNotFoundException."""
        found = self._catalog.things.get(Archive, location, name)
        if found is None:
            raise archives.not_found(name)
        return found

    def names(self, location: Location) -> Sequence[str]:
        """Sorted. Do not keep it."""
        return self._catalog.things.names(Archive, location)

    def state(self, archive: Archive) -> archives.State:
        rule = self._catalog.rules(archive.location, archive.bus).get(archive.rule_name)
        return archives.state(archive, rule)

    def totals(self, archive: Archive) -> Tally:
        return self.rows.totals(archive.number)

    # changing

    async def create(
        self,
        location: Location,
        name: str,
        *,
        source_arn: str,
        description: str | None = None,
        event_pattern: str | None = None,
        retention_days: int = 0,
    ) -> Archive:
        """The archive gets every event that is accepted after this returns. Raises ApiError."""
        async with self._catalog.changing() as change:
            bus = archives.source_bus(source_arn, location)
            if self._catalog.bus(location, bus) is None:
                raise buses.not_found(bus)
            if self._catalog.things.get(Archive, location, name) is not None:
                raise ResourceAlreadyExistsException(f"Archive {name} already exists.")
            now_ms = self._world.now_ms()
            archive = Archive(
                name=name,
                location=location,
                arn=archives.archive_arn(location, name),
                created_ms=now_ms,
                modified_ms=now_ms,
                number=self._next_number(),
                bus=bus,
                bus_arn=source_arn,
                description=description,
                event_pattern=event_pattern or None,
                retention_days=retention_days,
            )
            await change.commit(self._put(archive, None))
            return archive

    async def update(
        self,
        location: Location,
        name: str,
        *,
        description: str | None = None,
        event_pattern: str | None = None,
        retention_days: int | None = None,
    ) -> Archive:
        """Change what is given; an empty pattern means every event. Raises ApiError."""
        given: dict[str, Any] = {}
        if description is not None:
            given["description"] = description
        if event_pattern is not None:
            given["event_pattern"] = event_pattern or None
        if retention_days is not None:
            given["retention_days"] = retention_days
        if not given:
            raise ValidationException(_NOTHING_GIVEN)
        async with self._catalog.changing() as change:
            old = self.get(location, name)
            archive = msgspec.structs.replace(old, modified_ms=self._world.now_ms(), **given)
            change.note(old)
            await change.commit(self._put(archive, old))
            return archive

    async def delete(self, location: Location, name: str) -> None:
        """Its events go too, in the background. Raises ResourceNotFoundException."""
        async with self._catalog.changing() as change:
            archive = self.get(location, name)
            rule = self._catalog.rules(location, archive.bus).get(archive.rule_name)
            own = rule is not None and rule.archive == archive.number
            change.note(archive)
            batch = Batch()
            batch.then(lambda: self._doom(archive.number))  # also where the caller does not wait for it any more
            gone = Changes(gone_things=(archive,), gone_rules=(rule,) if rule is not None and own else ())
            await change.commit(gone, batch)

    def _doom(self, number: int) -> None:
        self._doomed[number] = self._world.now_ms()
        self._deleted.set()

    def _next_number(self) -> int:
        if self._number >= NUMBER_MAX:
            raise LimitExceededException(f"This hub has had {NUMBER_MAX} archives, which is as many as it can.")
        self._number += 1
        return self._number

    def _put(self, archive: Archive, old: Archive | None) -> Changes:
        """The archive and its rule as they become. Raises ApiError."""
        if archive.event_pattern is not None and (old is None or old.event_pattern != archive.event_pattern):
            archives.check_pattern(archive.name, archive.event_pattern, self._catalog.quotas.pattern_chars)
        rule, pattern = archives.managed_rule(archive)
        there = self._catalog.rules(archive.location, archive.bus).get(rule.name)
        if there is not None and there.archive is None:
            raise ResourceAlreadyExistsException(
                f"Rule {rule.name}, which an archive of this name needs, already exists on EventBus {archive.bus}."
            )
        self._catalog.check_rule_quotas(archive.location, archive.bus, rule.name, pattern)
        return Changes(things=(archive,), rules=((rule, pattern),) if rule != there else ())

    # the hub file

    async def declare(self, resources: Sequence[Resources]) -> None:
        """Make the hub file's archives as they are declared, all of them in one commit, after its buses and rules.

        An archive that is not declared any more stays, with its events, as one that the API made. Raises ConfigError
        with nothing changed.
        """
        async with self._catalog.changing() as change:
            wanted: dict[str, Changes] = {}
            for index, declared in enumerate(resources):
                here = Location(declared.account, declared.region)
                for number, given in enumerate(declared.archives):
                    path = f"$.resources[{index}].archives[{number}]"
                    try:
                        archive, changes = self._declared(here, given)
                    except ApiError as error:
                        raise ConfigError(f"{error.message} - at `{path}`") from error
                    if archive.arn in wanted:
                        raise ConfigError(f"Archive {archive.name} is declared twice - at `{path}`")
                    wanted[archive.arn] = changes
            kept = [
                archive
                for archive in self._catalog.things.all(Archive)
                if archive.declared and archive.arn not in wanted
            ]
            free = tuple(msgspec.structs.replace(archive, declared=False) for archive in kept)
            changed = wanted.values()
            things = tuple(thing for each in changed for thing in each.things) + free
            if things:
                await change.commit(
                    Changes(things=things, rules=tuple(rule for each in changed for rule in each.rules))
                )
        for archive in kept:
            log.warning("catalog.archive_kept", archive=archive.arn, reason="not declared any more")

    def _declared(self, here: Location, given: DeclaredArchive) -> tuple[Archive, Changes]:
        """The archive, and what must change so that it is as declared. Raises ApiError."""
        name, bus = given.archive_name, given.event_bus_name
        found = self._catalog.bus(here, bus)
        if found is None:
            raise buses.not_found(bus)
        old = self._catalog.things.get(Archive, here, name)
        if old is not None and old.bus != bus:
            raise ValidationException(
                f"Archive {name} has the events of event bus {old.bus}, and an archive's bus cannot be changed: delete "
                f"it first, or declare another one; got {bus}."
            )
        now_ms = self._world.now_ms()
        pattern = given.event_pattern
        archive = Archive(
            name=name,
            location=here,
            arn=archives.archive_arn(here, name),
            created_ms=old.created_ms if old is not None else now_ms,
            modified_ms=old.modified_ms if old is not None else now_ms,
            number=old.number if old is not None else self._next_number(),
            bus=bus,
            bus_arn=old.bus_arn if old is not None else found.arn,
            description=given.description,
            event_pattern=(msgspec.json.encode(pattern).decode() if isinstance(pattern, dict) else pattern) or None,
            retention_days=given.retention_days,
            declared=True,
        )
        changes = self._put(archive, old)
        return archive, changes if archive != old or changes.rules else Changes()

    # in the background

    async def run(self) -> None:
        """Delete what deleted archives left, and what is too old, until cancelled."""
        while True:
            self._deleted = anyio.Event()
            try:
                await self.sweep()
                wait_s = limits.ARCHIVE_SWEEP_S
            except StoreError as error:
                log.warning("archives.sweep_failed", error=str(error))
                wait_s = _AGAIN_S
            with anyio.move_on_after(wait_s):
                await self._deleted.wait()

    async def sweep(self) -> None:
        """One pass over all archives, in small steps with turns for others between them. Raises StoreError."""
        for number, deleted_ms in sorted(self._doomed.items()):
            while await self.rows.clear(number):
                await anyio.lowlevel.checkpoint()
            if deleted_ms + _WATCHED_MS <= self._world.now_ms():
                del self._doomed[number]
            await anyio.lowlevel.checkpoint()
        for archive in list(self._catalog.things.all(Archive)):
            if archive.retention_days:
                await self._expire(archive, self._world.now_ms() - archive.retention_days * 86_400_000)

    async def _expire(self, archive: Archive, oldest_ms: int) -> None:
        after: bytes | None = b""
        while after is not None:
            after, gone = await self.rows.expire(archive.number, max(oldest_ms, 0), after)
            self.expired += gone
            await anyio.lowlevel.checkpoint()
