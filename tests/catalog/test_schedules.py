"""Rules with a schedule in the catalog: from when a schedule counts, and what the hub file may declare."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.catalog.catalog import Catalog
from router.catalog.declared import Report
from router.catalog.model import Rule, RuleState
from router.catalog.state import Changes
from router.config import ConfigError, Resources
from tests.catalog.hub import HERE, PATTERN, QUEUE, Clock, matched, put_targets, running
from tests.pipeline.hub import target

FIVE = "rate(5 minutes)"
NOON = "cron(0 12 * * ? *)"
DECLARED: dict[str, Any] = {"Name": "declared", "ScheduleExpression": FIVE, "Targets": [{"Id": "t", "Arn": QUEUE}]}


async def put(
    catalog: Catalog, expression: str | None, *, pattern: str | None = None, state: RuleState = "ENABLED"
) -> Rule:
    return await catalog.put_rule(
        HERE,
        "default",
        "r",
        created_by=HERE.account,
        event_pattern=pattern,
        schedule_expression=expression,
        state=state,
    )


async def declare(catalog: Catalog, *rules: dict[str, Any]) -> Report:
    resources = {"account": HERE.account, "region": HERE.region, "rules": rules}
    return await catalog.declare([msgspec.convert(resources, Resources)])


def anchor(catalog: Catalog, name: str = "r") -> int:
    return catalog.rules(HERE, "default")[name].anchor_ms


async def test_a_schedule_counts_from_the_rules_creation_and_putting_the_rule_again_keeps_it(tmp_path: Path) -> None:
    clock = Clock()
    created = clock.ms
    async with running(tmp_path, clock=clock) as catalog:
        await put(catalog, FIVE)
        clock.ms += 1000
        await put(catalog, FIVE, pattern=PATTERN)
        await put_targets(catalog, "r", target())
        assert anchor(catalog) == created
    async with running(tmp_path, clock=clock) as catalog:
        assert anchor(catalog) == created


async def test_another_expression_begins_a_schedule_anew(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as catalog:
        await put(catalog, FIVE)
        clock.ms += 1000
        await put(catalog, NOON)
        assert anchor(catalog) == clock.ms
        await put(catalog, None, pattern=PATTERN)
        assert anchor(catalog) == 0
        clock.ms += 1000
        await put(catalog, NOON)
        assert anchor(catalog) == clock.ms


@pytest.mark.parametrize("again", ["EnableRule", "PutRule"])
async def test_enabling_a_disabled_rule_begins_its_schedule_anew(tmp_path: Path, again: str) -> None:
    clock = Clock()
    created = clock.ms
    async with running(tmp_path, clock=clock) as catalog:
        await put(catalog, FIVE)
        clock.ms += 1000
        await catalog.set_rule_state(HERE, "default", "r", "ENABLED")
        await catalog.set_rule_state(HERE, "default", "r", "DISABLED")
        assert anchor(catalog) == created
        if again == "PutRule":
            await put(catalog, FIVE)
        else:
            await catalog.set_rule_state(HERE, "default", "r", "ENABLED")
        assert anchor(catalog) == clock.ms


async def test_a_declared_schedule_keeps_its_cadence_over_restarts(tmp_path: Path) -> None:
    clock = Clock()
    created = clock.ms
    async with running(tmp_path, clock=clock) as catalog:
        await declare(catalog, DECLARED)
        assert anchor(catalog, "declared") == created
    clock.ms += 1000
    async with running(tmp_path, clock=clock) as catalog:
        assert await declare(catalog, DECLARED) == Report()
        assert anchor(catalog, "declared") == created
        changed = await declare(catalog, {**DECLARED, "ScheduleExpression": NOON})
        assert changed.updated == ("arn:aws:events:us-east-1:111111111111:rule/declared",)
        assert anchor(catalog, "declared") == clock.ms


async def test_a_declared_rule_may_have_both(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, {**DECLARED, "EventPattern": PATTERN})
        assert matched(catalog) == ["declared"]
        assert [rule.schedule_expression for rule in catalog.scheduled_rules()] == [FIVE]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ScheduleExpression": None}, "Parameter(s) EventPattern or ScheduleExpression must be specified."),
        (
            {"ScheduleExpression": "cron(71 8 1 * ? *)"},
            "Parameter ScheduleExpression is not valid. Reason: expected 0 to 59 as minute, got 71",
        ),
        (
            {"State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"},
            "State ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS is not supported for a rule with a "
            "ScheduleExpression.",
        ),
    ],
)
async def test_a_declared_schedule_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    async with running(tmp_path) as catalog:
        with pytest.raises(ConfigError) as refused:
            await declare(catalog, {**DECLARED, **changed})
        assert str(refused.value) == f"{reason} - at `$.resources[0].rules[0]`"


async def test_who_watches_is_told_of_changes_when_they_are_true(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        seen: list[tuple[list[str], list[str]]] = []

        def watcher(changes: Changes) -> None:
            assert [catalog.rule_by_arn(rule.arn) for rule, _ in changes.rules] == [rule for rule, _ in changes.rules]
            assert not any(catalog.rule_by_arn(rule.arn) for rule in changes.gone_rules)
            seen.append(([rule.name for rule, _ in changes.rules], [rule.name for rule in changes.gone_rules]))

        catalog.watch(watcher)
        await put(catalog, FIVE)
        await catalog.delete_rule(HERE, "default", "r")
        assert seen == [(["r"], []), ([], ["r"])]
