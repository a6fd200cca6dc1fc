"""The catalog in memory: what is durable, indexed for the data path and for listing.

`apply` takes over changes that are already on disk; nothing else changes what is configured. What follows from it
(routes, compiled targets) is built when it is first asked for and forgotten when a change touches it. A bus's rule
table takes a change as an overlay, which costs what the change costs; `merge` folds overlays in, a step at a time.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec

from router import limits
from router.catalog import buses
from router.catalog.model import Bus, Rule, Target, Thing
from router.catalog.routes import Route, RoutedRule, RoutedTarget, in_table, routed
from router.catalog.things import Things
from router.core.bus_log import Logging
from router.core.event import Location
from router.core.pattern import Pattern
from router.core.ruletable import RuleTable


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit changes. A rule comes with its parsed pattern; rules of a bus that goes must go too."""

    buses: tuple[Bus, ...] = ()
    rules: tuple[tuple[Rule, Pattern | None], ...] = ()
    gone_buses: tuple[Bus, ...] = ()
    gone_rules: tuple[Rule, ...] = ()
    things: tuple[Thing, ...] = ()
    gone_things: tuple[Thing, ...] = ()


class BusEntry:
    """One bus with its rules. `rule_names` is sorted, and so are the names of the rules that have a target, which
    `by_target` has by the target's ARN; `wildcard_rules` counts the patterns that have a wildcard."""

    __slots__ = ("bus", "by_target", "patterns", "route", "rule_names", "rules", "table", "wildcard_rules")

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.rules: dict[str, Rule] = {}
        self.rule_names: list[str] = []
        self.by_target: dict[str, list[str]] = {}
        self.patterns: dict[str, Pattern] = {}
        self.wildcard_rules = 0
        self.table: RuleTable[RoutedRule] | None = None
        self.route: Route | None = None


class _Place:
    """One location. `bus_names` is sorted."""

    __slots__ = ("bus_names", "buses")

    def __init__(self) -> None:
        self.buses: dict[str, BusEntry] = {}
        self.bus_names: list[str] = []


class CatalogState:
    """See the module's contract. `exists` says which locations there are, or makes them so."""

    def __init__(self, exists: Callable[[Location], bool], born_ms: int) -> None:
        self._exists = exists
        self.born_ms = born_ms
        self.things = Things()
        self.logs: dict[tuple[Location, str], Logging] = {}
        """The buses that write a log."""
        self._places: dict[Location, _Place] = {}
        self._rules: dict[str, Rule] = {}
        self._routed: dict[str, RoutedRule] = {}
        self._routed_targets: dict[str, dict[str, RoutedTarget]] = {}

    # reading

    def entry(self, location: Location, bus: str) -> BusEntry | None:
        place = self._places.get(location) or self._place(location)
        return place.buses.get(bus) if place is not None else None

    def bus_names(self, location: Location) -> Sequence[str]:
        place = self._places.get(location) or self._place(location)
        return place.bus_names if place is not None else ()

    def rule_by_arn(self, arn: str) -> Rule | None:
        return self._rules.get(arn)

    def entries(self) -> Iterator[BusEntry]:
        """Every bus of every location that was ever used."""
        for place in self._places.values():
            yield from place.buses.values()

    def _place(self, location: Location) -> _Place | None:
        if not self._exists(location):
            return None
        place = self._places[location] = _Place()
        self._put_bus(buses.default(location, self.born_ms))
        return place

    # routes

    def route(self, location: Location, bus: str) -> Route | None:
        entry = self.entry(location, bus)
        if entry is None:
            return None
        if entry.route is None:
            entry.route = Route(entry.bus, self._table(entry))
        return entry.route

    def _table(self, entry: BusEntry) -> RuleTable[RoutedRule]:
        if entry.table is None:
            entry.table = RuleTable.build(
                (self.routed_rule(rule), entry.patterns[name]) for name, rule in entry.rules.items() if in_table(rule)
            )
        return entry.table

    def prepare(self) -> None:
        """Index every bus's rules, so that no event waits for it. Code is compiled with a source's first event."""
        for entry in self.entries():
            if entry.rules:
                for _ in self._table(entry).prepare():
                    pass

    def merge(self) -> Generator[int, None, None]:
        """Fold the changes to rule tables into their bases, in steps of about a millisecond.

        Yields how many changes stand beside the base of the table in work. Tables may change between the steps: what
        has changed meanwhile stays an overlay.
        """
        for entry in list(self.entries()):
            start = entry.table
            if start is None or not start.changes:
                continue
            merging = start.merging()
            merged: RuleTable[RoutedRule] | None = None
            while merged is None:
                try:
                    next(merging)
                except StopIteration as done:
                    merged = done.value
                else:
                    yield self._table(entry).changes
            assert entry.table is not None, "a table is only ever changed"
            entry.table = entry.table.rebased(merged, start)
            entry.route = None

    def routed_target(self, rule_arn: str, target_id: str) -> RoutedTarget | None:
        found = self._routed_targets.get(rule_arn)
        if found is None:
            rule = self._rules.get(rule_arn)
            if rule is None:
                return None
            found = {target.target.id: target for target in self.routed_rule(rule).targets}
            self._routed_targets[rule_arn] = found
        return found.get(target_id)

    def routed_rule(self, rule: Rule) -> RoutedRule:
        found = self._routed.get(rule.arn)
        if found is None:
            found = self._routed[rule.arn] = routed(rule)
        return found

    # changing

    def apply(self, changes: Changes) -> None:
        self.things.apply(changes.things, changes.gone_things)
        overlaid: dict[BusEntry, _Overlay] = {}
        for rule in changes.gone_rules:
            self._delete_rule(rule, overlaid)
        for bus in changes.gone_buses:
            self._delete_bus(bus)
        for bus in changes.buses:
            self._put_bus(bus)
        for rule, pattern in changes.rules:
            self._put_rule(rule, pattern, overlaid)
        for entry, overlay in overlaid.items():
            entry.route = None
            if entry.table is not None:
                entry.table = overlay.over(entry.table)

    def _put_bus(self, bus: Bus) -> None:
        place = self._places.get(bus.location)
        if place is None:
            place = self._places[bus.location] = _Place()
            if bus.name != buses.DEFAULT:
                self._put_bus(buses.default(bus.location, self.born_ms))
        entry = place.buses.get(bus.name)
        if entry is None:
            place.buses[bus.name] = BusEntry(bus)
            insort(place.bus_names, bus.name)
        else:
            entry.bus = bus
            entry.route = None
        logging = buses.logging(bus)
        if logging is not None:
            self.logs[bus.location, bus.name] = logging
        else:
            self.logs.pop((bus.location, bus.name), None)

    def _delete_bus(self, bus: Bus) -> None:
        if bus.name == buses.DEFAULT:
            self._put_bus(buses.default(bus.location, self.born_ms))
            return
        place = self._places[bus.location]
        entry = place.buses.pop(bus.name)
        self.logs.pop((bus.location, bus.name), None)
        assert not entry.rules, f"{bus.arn} goes with {len(entry.rules)} rules on it"
        del place.bus_names[bisect_left(place.bus_names, bus.name)]

    def _put_rule(self, rule: Rule, pattern: Pattern | None, overlaid: "dict[BusEntry, _Overlay]") -> None:
        entry = self._entry_of(rule)
        overlay = self._forget(entry, rule, overlaid)
        old = entry.rules.get(rule.name)
        if old is None:
            insort(entry.rule_names, rule.name)
        _index_targets(entry, rule.name, old.targets if old else (), rule.targets)
        entry.rules[rule.name] = rule
        self._rules[rule.arn] = rule
        if pattern is not None:
            entry.patterns[rule.name] = pattern
            entry.wildcard_rules += pattern.wildcards
            if entry.table is not None and in_table(rule):
                overlay.coming[self.routed_rule(rule)] = pattern

    def _delete_rule(self, rule: Rule, overlaid: "dict[BusEntry, _Overlay]") -> None:
        entry = self._entry_of(rule)
        self._forget(entry, rule, overlaid)
        _index_targets(entry, rule.name, entry.rules.pop(rule.name).targets, ())
        del entry.rule_names[bisect_left(entry.rule_names, rule.name)]
        del self._rules[rule.arn]

    def _entry_of(self, rule: Rule) -> BusEntry:
        place = self._places.get(rule.location)
        if place is None:
            self._put_bus(buses.default(rule.location, self.born_ms))
            place = self._places[rule.location]
        return place.buses[rule.bus]

    def _forget(self, entry: BusEntry, rule: Rule, overlaid: "dict[BusEntry, _Overlay]") -> "_Overlay":
        """Drop what was made from the rule as it was."""
        overlay = overlaid.setdefault(entry, _Overlay())
        routed_rule = self._routed.pop(rule.arn, None)
        if routed_rule is not None:
            overlay.coming.pop(routed_rule, None)
            overlay.leaving.append(routed_rule)
        self._routed_targets.pop(rule.arn, None)
        old = entry.patterns.pop(rule.name, None)
        if old is not None:
            entry.wildcard_rules -= old.wildcards
        return overlay


def _index_targets(entry: BusEntry, rule: str, old: Sequence[Target], new: Sequence[Target]) -> None:
    """Change `by_target` where the rule's targets change."""
    before, after = ({target.arn for target in targets} for targets in (old, new))
    for arn in before - after:
        names = entry.by_target[arn]
        del names[bisect_left(names, rule)]
        if not names:
            del entry.by_target[arn]
    for arn in after - before:
        insort(entry.by_target.setdefault(arn, []), rule)


def merge_pause_s(worked_s: float, changes: int) -> float:
    """How long other work comes first after a step of a merge that took `worked_s`, with so many changes waiting.

    A merge costs what the bus's rules cost, a change beside the base what the changes beside it cost: few may wait long
    for a merge that hardly takes time from deliveries; many are in the way of each other.
    """
    crowd = max(1.0, changes / limits.MERGE_CHANGES_UNHURRIED)
    share = min(limits.MERGE_SHARE_MAX, limits.MERGE_SHARE_MIN * crowd)
    return worked_s * (1 / share - 1)


class _Overlay:
    """What one commit changes in one bus's rule table."""

    __slots__ = ("coming", "leaving")

    def __init__(self) -> None:
        self.leaving: list[RoutedRule] = []
        self.coming: dict[RoutedRule, Pattern] = {}

    def over(self, table: RuleTable[RoutedRule]) -> RuleTable[RoutedRule]:
        """The changed table."""
        return table.changed(list(self.coming.items()), self.leaving)
