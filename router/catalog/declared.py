"""The hub file's declared buses, rules, targets and policies: what must change so that they are as declared.

A pure plan over the catalog's state; the catalog commits it. Declared things go through the same checks as the API's,
and a refusal says where in the hub file it stands.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from router.catalog import buses, permissions, rules, tags, targets
from router.catalog.model import Bus, Rule
from router.catalog.quotas import Quotas
from router.catalog.state import CatalogState, Changes
from router.config import ConfigError, DeclaredBus, DeclaredRule, Resources
from router.core.arn import bus_arn, rule_arn
from router.core.event import Location
from router.core.pattern import Pattern
from router.core.schedule import InvalidSchedule
from router.errors import ApiError, ResourceAlreadyExistsException

_BusKey = tuple[Location, str]
_RuleKey = tuple[Location, str, str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What declaring changed, as ARNs. `kept`: buses that are no longer declared but have rules made by the API."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    changes: Changes
    report: Report


class _Wanted:
    """What the hub file declares."""

    def __init__(self) -> None:
        self.buses: dict[_BusKey, Bus] = {}
        self.rules: dict[_RuleKey, tuple[Rule, Pattern | None]] = {}


def plan(
    resources: Sequence[Resources],
    state: CatalogState,
    *,
    quotas: Quotas,
    target_rules: targets.Rules,
    logs_leave: Callable[[Location], bool] = lambda location: False,
    now_ms: int,
) -> Plan:
    """Raises ConfigError."""
    wanted = _Wanted()
    for index, declared in enumerate(resources):
        location = Location(declared.account, declared.region)
        path = f"$.resources[{index}]"
        for number, bus in enumerate(declared.buses):
            with _at(f"{path}.buses[{number}]"):
                _check_new(bus.name, (location, bus.name) in wanted.buses)
                attributes = _attributes(bus, location, logs_leave=logs_leave(location))
                wanted.buses[location, bus.name] = _bus(bus, attributes, location, state, now_ms=now_ms)
        for number, rule in enumerate(declared.rules):
            with _at(f"{path}.rules[{number}]"):
                _want_rule(wanted, rule, location, state, quotas, target_rules)
    _check_quotas(wanted, state, quotas)
    return _difference(wanted, state, now_ms)


@contextmanager
def _at(path: str) -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        reason = f" Reason: {error.__cause__}" if isinstance(error.__cause__, InvalidSchedule) else ""
        raise ConfigError(f"{error.message}{reason} - at `{path}`") from error


def _check_new(name: str, known: bool) -> None:
    if known:
        raise ResourceAlreadyExistsException(f"{name} is declared twice for this account and region")


def _text(value: dict[str, Any] | str) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _attributes(declared: DeclaredBus, location: Location, *, logs_leave: bool) -> dict[str, Any]:
    given = msgspec.to_builtins(declared)
    names = ("KmsKeyIdentifier", "DeadLetterConfig", "LogConfig")
    return buses.checked_attributes(
        {name: given[name] for name in names if given[name] is not None}, location, logs_leave=logs_leave
    )


def _bus(
    declared: DeclaredBus, attributes: dict[str, Any], location: Location, state: CatalogState, *, now_ms: int
) -> Bus:
    buses.check_name(declared.name)
    entry = state.entry(location, declared.name)
    old = entry.bus if entry else None
    bus = Bus(
        name=declared.name,
        location=location,
        arn=bus_arn(location, declared.name),
        description=declared.description or None,
        created_ms=old.created_ms if old else now_ms,
        modified_ms=old.modified_ms if old else now_ms,
        tags=tags.merged({}, declared.tags),
        attributes=attributes,
        declared=True,
    )
    if declared.policy is not None:
        bus = msgspec.structs.replace(bus, policy=permissions.checked(bus, _text(declared.policy)))
    return bus if old is None or bus == old else msgspec.structs.replace(bus, modified_ms=now_ms)


def _want_rule(
    wanted: _Wanted,
    declared: DeclaredRule,
    location: Location,
    state: CatalogState,
    quotas: Quotas,
    target_rules: targets.Rules,
) -> None:
    bus = declared.event_bus_name
    _check_new(declared.name, (location, bus, declared.name) in wanted.rules)
    if (location, bus) not in wanted.buses and state.entry(location, bus) is None:
        raise buses.not_found(bus)
    text = None if declared.event_pattern is None else _text(declared.event_pattern)
    rules.check_trigger(bus, text, declared.schedule_expression, declared.state)
    pattern = rules.check_pattern(declared.name, text, quotas.pattern_chars) if text else None
    if declared.role_arn is not None:
        targets.check_role(declared.role_arn)
    rule = Rule(
        name=declared.name,
        bus=bus,
        location=location,
        arn=rule_arn(location, bus, declared.name),
        state=declared.state,
        event_pattern=text or None,
        schedule_expression=declared.schedule_expression or None,
        description=declared.description,
        role_arn=declared.role_arn,
        created_by=location.account,
        tags=tags.merged({}, declared.tags),
        declared=True,
    )
    rule = msgspec.structs.replace(rule, targets=targets.put(rule, declared.targets, target_rules))
    wanted.rules[location, bus, declared.name] = (rule, pattern)


def _check_quotas(wanted: _Wanted, state: CatalogState, quotas: Quotas) -> None:
    """Counts what there will be: what is declared, and what the API made beside it."""
    rules_on: dict[_BusKey, int] = {}
    wildcards_on: dict[_BusKey, int] = {}
    for (location, bus, _), (_, pattern) in wanted.rules.items():
        rules_on[location, bus] = rules_on.get((location, bus), 0) + 1
        wildcards_on[location, bus] = wildcards_on.get((location, bus), 0) + bool(pattern and pattern.wildcards)
    for (location, bus), count in rules_on.items():
        entry = state.entry(location, bus)
        others = [
            name
            for name, rule in (entry.rules.items() if entry else ())
            if not rule.declared and (location, bus, name) not in wanted.rules
        ]
        _check_quota("rules", bus_arn(location, bus), count + len(others), quotas.rules_per_bus)
        wildcards = wildcards_on[location, bus] + sum(
            entry.patterns[name].wildcards for name in others if entry and name in entry.patterns
        )
        _check_quota("rules with wildcards", bus_arn(location, bus), wildcards, quotas.wildcard_rules_per_bus)
    for location in {location for location, _ in wanted.buses}:
        names = {name for where, name in wanted.buses if where == location}
        for name in state.bus_names(location):
            entry = state.entry(location, name)
            if entry is not None and not entry.bus.declared:
                names.add(name)
        _check_quota("event buses", str(location), len(names), quotas.buses_per_location)


def _check_quota(what: str, where: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise ConfigError(f"expected at most {count_max} {what}, got {count} - on {where}")


def _difference(wanted: _Wanted, state: CatalogState, now_ms: int) -> Plan:
    created: list[str] = []
    updated: list[str] = []
    put_buses: list[Bus] = []
    put_rules: list[tuple[Rule, Pattern | None]] = []
    for (location, name), bus in wanted.buses.items():
        entry = state.entry(location, name)
        if entry is None or entry.bus != bus:
            put_buses.append(bus)
            (created if entry is None else updated).append(bus.arn)
    for (location, bus_name, name), (rule, pattern) in wanted.rules.items():
        entry = state.entry(location, bus_name)
        old = entry.rules.get(name) if entry else None
        rule = rules.anchored(old, rule, now_ms)
        if old != rule:
            put_rules.append((rule, pattern))
            (created if old is None else updated).append(rule.arn)
    gone_buses: list[Bus] = []
    gone_rules: list[Rule] = []
    kept: list[Bus] = []
    for entry in state.entries():
        where = entry.bus.location
        stale = [
            rule
            for name, rule in entry.rules.items()
            if rule.declared and (where, entry.bus.name, name) not in wanted.rules
        ]
        gone_rules += stale
        if entry.bus.declared and (where, entry.bus.name) not in wanted.buses:
            used = len(entry.rules) > len(stale) and entry.bus.name != buses.DEFAULT
            (kept if used else gone_buses).append(entry.bus)
    put_buses += [msgspec.structs.replace(bus, declared=False) for bus in kept]
    return Plan(
        Changes(
            buses=tuple(put_buses),
            rules=tuple(put_rules),
            gone_buses=tuple(gone_buses),
            gone_rules=tuple(gone_rules),
        ),
        Report(
            created=tuple(created),
            updated=tuple(updated),
            removed=tuple([rule.arn for rule in gone_rules] + [bus.arn for bus in gone_buses]),
            kept=tuple(bus.arn for bus in kept),
        ),
    )
