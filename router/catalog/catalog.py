"""The catalog: everything configured, changed one step at a time and never ahead of the disk.

Each change is checked and computed under one lock, committed, and then applied in memory, in that order: what the
data path sees is durable, and what is durable is what it sees. Reads never wait. A refusal raises one of
`router.errors` with AWS's text and changes nothing. Decisions are the nouns' own (`buses`, `rules`, `targets`,
`permissions`, `tags`); this module knows no request, no paging and no caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from router import log
from router.catalog import buses, declared, partners, permissions, records, rules, tags, targets
from router.catalog.model import Bus, Rule, RuleState, Target, Thing
from router.catalog.partners import EventSource
from router.catalog.permissions import Permission
from router.catalog.quotas import Quotas
from router.catalog.routes import Route, RoutedRule, RoutedTarget
from router.catalog.state import BusEntry, CatalogState, Changes, merge_pause_s
from router.catalog.tags import LIMIT_EXCEEDED
from router.catalog.things import Things
from router.config import Resources
from router.core.arn import bus_arn, rule_arn
from router.core.bus_log import Logging
from router.core.event import Location
from router.core.pattern import InvalidPattern, Pattern, parse
from router.errors import (
    LimitExceededException,
    ResourceAlreadyExistsException,
    ServiceUnavailable,
    ValidationException,
)
from router.limits import MERGE_DELAY_S
from router.store.base import Batch, Store, StoreError, Table, settled
from router.world import World


class Catalog:
    """See the module's contract. `load` must be called before anything else, `declare` before events are taken."""

    def __init__(
        self,
        store: Store,
        world: World,
        *,
        quotas: Quotas,
        location_exists: Callable[[Location], bool],
        api_destination_exists: Callable[[str], bool] = lambda arn: False,
        cross_region_targets: bool = False,
        logs_leave: Callable[[Location], bool] = lambda location: False,
    ) -> None:
        """`location_exists` is asked once for each location that turns out to exist; it may create it. `logs_leave`:
        whether a location's log groups are at an endpoint."""
        self._store = store
        self.world = world
        """For those who change things of their own (`changing`)."""
        self.quotas = quotas
        self._logs_leave = logs_leave
        self._target_rules = targets.Rules(cross_region_targets, api_destination_exists)
        self._state = CatalogState(location_exists, world.now_ms())
        self._born_stored = False
        self._changing = asyncio.Lock()
        self._overlaid = anyio.Event()
        self._noted: set[str] = set()
        self._watchers: list[Callable[[Changes], None]] = []

    def load(self) -> None:
        """Take over what the store has. Raises StoreError for rows that this version cannot read."""
        born_ms = records.born(self._store)
        if born_ms is not None:
            self._state.born_ms = born_ms
            self._born_stored = True
        self._state.apply(Changes(buses=tuple(records.buses(self._store))))
        self._state.apply(Changes(things=tuple(records.things(self._store))))
        self._state.apply(Changes(rules=tuple((rule, _stored_pattern(rule)) for rule in records.rules(self._store))))

    # reading

    def bus(self, location: Location, name: str) -> Bus | None:
        entry = self._state.entry(location, name)
        return entry.bus if entry else None

    def bus_names(self, location: Location) -> Sequence[str]:
        """Sorted; empty where the location does not exist. Do not change it, do not keep it."""
        return self._state.bus_names(location)

    def rules(self, location: Location, bus: str) -> Mapping[str, Rule]:
        """The bus's rules by name; empty where there is no such bus."""
        entry = self._state.entry(location, bus)
        return entry.rules if entry else {}

    def rule_names(self, location: Location, bus: str) -> Sequence[str]:
        """Sorted. Do not change it, do not keep it."""
        entry = self._state.entry(location, bus)
        return entry.rule_names if entry else ()

    def rule_names_by_target(self, location: Location, bus: str, target_arn: str) -> Sequence[str]:
        """The rules in any state that have the target, sorted. Do not change it, do not keep it."""
        entry = self._state.entry(location, bus)
        return entry.by_target.get(target_arn, ()) if entry else ()

    def rule_by_arn(self, arn: str) -> Rule | None:
        return self._state.rule_by_arn(arn)

    def target(self, rule_arn: str, target_id: str) -> Target | None:
        routed = self._state.routed_target(rule_arn, target_id)
        return routed.target if routed else None

    def route(self, location: Location, bus: str) -> Route | None:
        """What the data path needs of a bus; None for a bus that does not exist."""
        return self._state.route(location, bus)

    @property
    def logs(self) -> Mapping[tuple[Location, str], Logging]:
        """The buses that write a log. Do not change it, do not keep it."""
        return self._state.logs

    def compiled_target(self, rule_arn: str, target_id: str) -> RoutedTarget | None:
        """The target as it is configured now, whatever the state of its rule; None when it is gone."""
        return self._state.routed_target(rule_arn, target_id)

    def routed_rule(self, arn: str) -> RoutedRule | None:
        """The rule as it is configured now, compiled, whatever its state."""
        rule = self._state.rule_by_arn(arn)
        return self._state.routed_rule(rule) if rule else None

    def scheduled_rules(self) -> Iterator[Rule]:
        """All rules with a schedule, of every location that was ever used."""
        for entry in self._state.entries():
            if entry.bus.name == buses.DEFAULT:
                yield from (rule for rule in entry.rules.values() if rule.schedule_expression is not None)

    def watch(self, watcher: Callable[[Changes], None]) -> None:
        """Tell it of all later changes, when they are true; it must not raise."""
        self._watchers.append(watcher)

    def prepare(self) -> None:
        """Index every bus's rules now, so that the first events do not wait for it."""
        self._state.prepare()

    async def keep_merged(self) -> None:
        """Fold changes of rules into their tables, until cancelled, a millisecond at a time with pauses for other work.

        Changes are live without it; with it they cost events nothing after a while.
        """
        while True:  # until cancelled
            await self._overlaid.wait()
            # Changes seldom come alone.
            await anyio.sleep(MERGE_DELAY_S)
            self._overlaid = anyio.Event()
            started = self.world.monotonic()
            for changes in self._state.merge():
                await anyio.sleep(merge_pause_s(self.world.monotonic() - started, changes))
                started = self.world.monotonic()

    # buses

    async def create_bus(
        self,
        location: Location,
        name: str,
        *,
        description: str | None = None,
        tags_given: Mapping[str, str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        event_source: str | None = None,
    ) -> Bus:
        """With `event_source` a partner's bus, which takes the source of its name."""
        async with self._changing:
            beside: tuple[Thing, ...] = ()
            if event_source is None:
                buses.check_name(name)
            else:
                source = self.things.get(EventSource, location, event_source)
                taken = partners.taken_with_bus(source, bus=name, name=event_source, now_ms=self.world.now_ms())
                beside = (taken,)
            if self._state.entry(location, name) is not None:
                raise ResourceAlreadyExistsException(f"Event bus {name} already exists.")
            known = len(self._state.bus_names(location))
            if known == 0:
                raise _no_location(location)
            if known >= self.quotas.buses_per_location:
                raise LimitExceededException(LIMIT_EXCEEDED)
            now_ms = self.world.now_ms()
            bus = Bus(
                name=name,
                location=location,
                arn=bus_arn(location, name),
                description=description or None,
                created_ms=now_ms,
                modified_ms=now_ms,
                tags=tags.merged({}, tags_given or {}),
                attributes=buses.checked_attributes(attributes or {}, location, logs_leave=self._logs_leave(location)),
            )
            await self._commit(Changes(buses=(bus,), things=beside))
            return bus

    async def update_bus(
        self, location: Location, name: str, *, description: str | None, attributes: Mapping[str, Any]
    ) -> Bus:
        """What is None or not among the attributes stays, what is empty goes."""
        async with self._changing:
            old = self._entry(location, name).bus
            return await self._replace_bus(
                old,
                description=old.description if description is None else description or None,
                attributes=buses.merged_attributes(
                    old.attributes, attributes, location, logs_leave=self._logs_leave(location)
                ),
            )

    async def delete_bus(self, location: Location, name: str) -> None:
        """Deleting a bus that does not exist succeeds, as on AWS."""
        async with self._changing:
            if name == buses.DEFAULT:
                raise ValidationException("Cannot delete event bus default.")
            entry = self._state.entry(location, name)
            if entry is None:
                return
            if entry.rules:
                raise ValidationException("EventBus can't be deleted since it has rules.")
            self._note(entry.bus)
            source = self.things.get(EventSource, location, name)
            left = source and source.state == "ACTIVE" and partners.left(source, now_ms=self.world.now_ms())
            gone = (source,) if source and source.state == "DELETED" else ()
            await self._commit(Changes(gone_buses=(entry.bus,), things=(left,) if left else (), gone_things=gone))

    # rules

    async def put_rule(
        self,
        location: Location,
        bus: str,
        name: str,
        *,
        created_by: str,
        event_pattern: str | None = None,
        schedule_expression: str | None = None,
        state: RuleState = "ENABLED",
        description: str | None = None,
        role_arn: str | None = None,
        tags_given: Mapping[str, str] | None = None,
        managed_by: str | None = None,
    ) -> Rule:
        """Create or replace a rule; it is live when this returns. `managed_by` is for rules that the hub makes."""
        async with self._changing:
            entry = self._entry(location, bus)
            old = entry.rules.get(name)
            if managed_by is None:
                rules.check_not_managed(old)
            rules.check_trigger(bus, event_pattern, schedule_expression, state)
            if role_arn:
                targets.check_role(role_arn)
            pattern = rules.check_pattern(name, event_pattern, self.quotas.pattern_chars) if event_pattern else None
            self._check_rule_quotas(entry, name, pattern)
            new = Rule(
                name=name,
                bus=bus,
                location=location,
                arn=rule_arn(location, bus, name),
                state=state,
                event_pattern=event_pattern or None,
                schedule_expression=schedule_expression or None,
                description=description,
                role_arn=role_arn,
                created_by=created_by,
                managed_by=managed_by,
                tags=tags.merged({}, tags_given or {}) if old is None else {},
            )
            rule = rules.anchored(old, rules.updated(old, new), self.world.now_ms())
            self._note(old)
            await self._commit(Changes(rules=((rule, pattern),)))
            return rule

    async def set_rule_state(self, location: Location, bus: str, name: str, state: RuleState) -> None:
        async with self._changing:
            entry, rule = self._rule(location, bus, name)
            rules.check_not_managed(rule)
            new = rules.anchored(rule, msgspec.structs.replace(rule, state=state), self.world.now_ms())
            await self._replace_rule(entry, rule, state=state, anchor_ms=new.anchor_ms)

    async def delete_rule(self, location: Location, bus: str, name: str, *, force: bool = False) -> None:
        """Deleting a rule that does not exist succeeds, as on AWS; its bus must exist."""
        async with self._changing:
            rule = self._entry(location, bus).rules.get(name)
            if rule is None:
                return
            rules.check_not_managed(rule, force=force)
            if rule.targets:
                raise ValidationException("Rule can't be deleted since it has targets.")
            self._note(rule)
            await self._commit(Changes(gone_rules=(rule,)))

    # targets

    async def put_targets(self, location: Location, bus: str, rule: str, given: Sequence[Target]) -> None:
        async with self._changing:
            entry, old = self._rule(location, bus, rule)
            rules.check_not_managed(old)
            await self._replace_rule(entry, old, targets=targets.put(old, given, self._target_rules))

    async def remove_targets(
        self, location: Location, bus: str, rule: str, ids: Sequence[str], *, force: bool = False
    ) -> None:
        async with self._changing:
            entry, old = self._rule(location, bus, rule)
            rules.check_not_managed(old, force=force)
            await self._replace_rule(entry, old, targets=targets.removed(old, ids))

    # permissions

    async def put_policy(self, location: Location, bus: str, policy: str) -> None:
        """Replace the bus's whole policy."""
        async with self._changing:
            old = self._entry(location, bus).bus
            await self._replace_bus(old, policy=permissions.checked(old, policy))

    async def put_permission(self, location: Location, bus: str, permission: Permission) -> None:
        async with self._changing:
            old = self._entry(location, bus).bus
            await self._replace_bus(old, policy=permissions.with_statement(old, permission))

    async def remove_permission(self, location: Location, bus: str, statement_id: str | None) -> None:
        """Without a statement id the whole policy goes."""
        async with self._changing:
            old = self._entry(location, bus).bus
            policy = None if statement_id is None else permissions.without_statement(old, statement_id)
            await self._replace_bus(old, policy=policy)

    # tags

    async def tag(self, location: Location, bus: str, rule: str | None, given: Mapping[str, str]) -> None:
        """Add or change tags of a rule, or of the bus itself."""
        await self._retag(location, bus, rule, lambda old: tags.merged(old, given))

    async def untag(self, location: Location, bus: str, rule: str | None, keys: Sequence[str]) -> None:
        await self._retag(location, bus, rule, lambda old: tags.without(old, keys))

    async def _retag(
        self,
        location: Location,
        bus: str,
        rule: str | None,
        change: Callable[[Mapping[str, str]], dict[str, str]],
    ) -> None:
        async with self._changing:
            if rule is None:
                old_bus = self._entry(location, bus).bus
                await self._replace_bus(old_bus, tags=change(old_bus.tags))
            else:
                entry, old = self._rule(location, bus, rule)
                rules.check_not_managed(old)
                await self._replace_rule(entry, old, tags=change(old.tags))

    # the hub file

    async def declare(self, resources: Sequence[Resources]) -> declared.Report:
        """Apply the hub file's buses, rules, targets and policies, all of them in one commit.

        They are put as declared, also over what the API made of them; what was declared and no longer is goes; what
        the API created stays. Raises ConfigError, which says where, with nothing changed.
        """
        async with self._changing:
            plan = declared.plan(
                resources,
                self._state,
                quotas=self.quotas,
                target_rules=self._target_rules,
                logs_leave=self._logs_leave,
                now_ms=self.world.now_ms(),
            )
            await self._commit(plan.changes)
        for arn in plan.report.kept:
            log.warning("catalog.bus_kept", bus=arn, reason="no longer declared, but the API put rules on it")
        return plan.report

    # inside a change

    def _entry(self, location: Location, bus: str) -> BusEntry:
        entry = self._state.entry(location, bus)
        if entry is None:
            raise buses.not_found(bus)
        return entry

    def _rule(self, location: Location, bus: str, name: str) -> tuple[BusEntry, Rule]:
        entry = self._entry(location, bus)
        rule = entry.rules.get(name)
        if rule is None:
            raise rules.not_found(name, bus)
        return entry, rule

    def check_rule_quotas(self, location: Location, bus: str, name: str, pattern: Pattern) -> None:
        """Whether the bus may have this rule too. Raises ResourceNotFoundException, LimitExceededException."""
        self._check_rule_quotas(self._entry(location, bus), name, pattern)

    def _check_rule_quotas(self, entry: BusEntry, name: str, pattern: Pattern | None) -> None:
        if name not in entry.rules and len(entry.rules) >= self.quotas.rules_per_bus:
            raise LimitExceededException(LIMIT_EXCEEDED)
        old = entry.patterns.get(name)
        others = entry.wildcard_rules - (old is not None and old.wildcards)
        if pattern is not None and pattern.wildcards and others >= self.quotas.wildcard_rules_per_bus:
            raise LimitExceededException(
                f"{LIMIT_EXCEEDED} Event bus {entry.bus.name} may have {self.quotas.wildcard_rules_per_bus} rules with "
                "wildcards."
            )

    async def _replace_rule(self, entry: BusEntry, old: Rule, **changed: Any) -> None:
        new = msgspec.structs.replace(old, **changed)
        if new == old:
            return
        self._note(old)
        await self._commit(Changes(rules=((new, entry.patterns.get(old.name)),)))

    async def _replace_bus(self, old: Bus, **changed: Any) -> Bus:
        if msgspec.structs.replace(old, **changed) == old:
            return old
        self._note(old)
        new = msgspec.structs.replace(old, modified_ms=self.world.now_ms(), **changed)
        await self._commit(Changes(buses=(new,)))
        return new

    def _note(self, thing: Bus | Rule | Thing | None) -> None:
        """Say once that a change to a declared thing does not last."""
        if thing is not None and thing.declared and thing.arn not in self._noted:
            self._noted.add(thing.arn)
            log.warning(
                "catalog.declared_changed", resource=thing.arn, lasts="until the next start: the hub file declares it"
            )

    @property
    def things(self) -> Things:
        """Archives, connections and all else that has a module of its own. For reading."""
        return self._state.things

    @asynccontextmanager
    async def changing(self) -> AsyncIterator["Change"]:
        """Check and change things while nothing else changes; `Change.commit` makes it durable and then true."""
        async with self._changing:
            yield Change(self._commit, self._note)

    async def _commit(self, changes: Changes, batch: Batch | None = None) -> None:
        """Make the changes durable, with what is in `batch` already, then apply them. A cancelled caller is held until
        they are, or have failed."""
        batch = batch or Batch()
        for thing in changes.gone_things:
            batch.delete(Table.CATALOG, records.thing_key(thing))
        for thing in changes.things:
            batch.put(Table.CATALOG, records.thing_key(thing), records.value(thing))
        for rule in changes.gone_rules:
            batch.delete(Table.CATALOG, records.rule_key(rule))
            if rule.schedule_expression is not None:
                batch.delete(Table.CATALOG, records.fired_key(rule))
        for bus in changes.gone_buses:
            batch.delete(Table.CATALOG, records.bus_key(bus))
        for bus in changes.buses:
            batch.put(Table.CATALOG, records.bus_key(bus), records.value(bus))
        for rule, _ in changes.rules:
            batch.put(Table.CATALOG, records.rule_key(rule), records.value(rule))
        if not self._born_stored:
            batch.put(Table.CATALOG, records.BORN, str(self._state.born_ms).encode())
        if not batch.ops:
            return
        batch.then(lambda: self._committed(changes))
        try:
            with anyio.CancelScope(shield=True):
                await self._store.commit(batch)
        except StoreError as error:
            raise ServiceUnavailable(f"The change could not be stored: {error}") from error
        except asyncio.CancelledError:
            await settled(self._store)
            raise

    def _committed(self, changes: Changes) -> None:
        self._born_stored = True
        self._state.apply(changes)
        if changes.rules or changes.gone_rules:
            self._overlaid.set()
        for watcher in self._watchers:
            watcher(changes)


class Change(msgspec.Struct, frozen=True):
    """What the holder of the catalog's lock may do. `commit(changes, batch)` raises ServiceUnavailable with nothing
    changed; `batch` may hold other rows that become durable with them. `note` says once that a change to a declared
    thing does not last."""

    commit: Callable[..., Awaitable[None]]
    note: Callable[[Bus | Rule | Thing | None], None]


def _stored_pattern(rule: Rule) -> Pattern | None:
    if rule.event_pattern is None:
        return None
    try:
        return parse(rule.event_pattern)
    except InvalidPattern as error:
        raise StoreError(f"the event pattern of the stored rule {rule.arn} cannot be read: {error}") from error


def _no_location(location: Location) -> ValidationException:
    return ValidationException(f"Account {location.account} has no region {location.region} in this hub.")
