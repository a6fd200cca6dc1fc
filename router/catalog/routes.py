"""What the data path needs of the catalog: for each bus its rules in a rule table, for each target its compiled input.

Everything here is immutable and compared by identity; a change to a rule makes a new `RoutedRule`, a change to a bus or
its rules a new `Route`. Nothing here knows how any of it is stored or who may change it.
"""

import msgspec

from router.catalog import targets
from router.catalog.kinds import kind_of
from router.catalog.model import Bus, Rule, Target
from router.core.event import Event, envelope
from router.core.ruletable import RuleTable
from router.core.transform import Transform, render


class RoutedTarget(msgspec.Struct, frozen=True, eq=False):
    """A target with its input compiled; `transform` None means the whole event, `kind` is the sink's."""

    target: Target
    transform: Transform | None
    kind: str
    rule_arn: str
    rule_name: str


class RoutedRule(msgspec.Struct, frozen=True, eq=False):
    """A rule as the data path sees it. `all_cloudtrail`: it sees read-only management events too. `archive`: the number
    of the archive that gets its events; there is no other target then."""

    rule: Rule
    arn: str
    name: str
    all_cloudtrail: bool
    targets: tuple[RoutedTarget, ...]
    archive: int | None = None


class Route(msgspec.Struct, frozen=True, eq=False):
    """One bus: the table holds its enabled rules that have an event pattern."""

    bus: Bus
    table: RuleTable[RoutedRule]


def routed(rule: Rule) -> RoutedRule:
    """Compile a rule's targets, which `targets.check` has let pass."""
    return RoutedRule(
        rule=rule,
        arn=rule.arn,
        name=rule.name,
        all_cloudtrail=rule.state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
        targets=tuple(_routed_target(rule, target) for target in rule.targets) if rule.archive is None else (),
        archive=rule.archive if rule.targets else None,
    )


def in_table(rule: Rule) -> bool:
    return rule.state != "DISABLED" and rule.event_pattern is not None


def _routed_target(rule: Rule, target: Target) -> RoutedTarget:
    kind = kind_of(target.arn)
    assert kind is not None, f"{target.arn} was accepted as a target"
    return RoutedTarget(
        target=target, transform=targets.compiled(target), kind=kind, rule_arn=rule.arn, rule_name=rule.name
    )


def payload(target: RoutedTarget, event: Event, *, ingested_ms: int) -> bytes:
    """What the target gets of the event. Raises InvalidInput, msgspec.DecodeError."""
    if target.transform is None:
        return envelope(event)
    return render(
        target.transform, event, rule_arn=target.rule_arn, rule_name=target.rule_name, ingested_ms=ingested_ms
    )
