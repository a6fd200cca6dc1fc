import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.catalog.catalog import Catalog
from router.catalog.declared import Report
from router.catalog.model import Target
from router.catalog.permissions import Permission
from router.catalog.quotas import Quotas
from router.config import ConfigError, Resources
from tests.catalog.hub import HERE, OTHER, QUEUE, matched, put_rule, put_targets, running

PREFIX = "arn:aws:events:us-east-1:111111111111:"
RULE: dict[str, Any] = {
    "Name": "declared",
    "EventBusName": "orders",
    "EventPattern": {"source": ["orders"]},
    "Targets": [{"Id": "t", "Arn": QUEUE}],
}
ON_DEFAULT: dict[str, Any] = {**RULE, "EventBusName": "default"}
BUS: dict[str, Any] = {"Name": "orders", "Description": "d", "Tags": {"k": "v"}}


async def declare(catalog: Catalog, *, buses: list[Any] | None = None, rules: list[Any] | None = None) -> Report:
    resources = {"account": HERE.account, "region": HERE.region, "buses": buses or [], "rules": rules or []}
    return await catalog.declare([msgspec.convert(resources, Resources)])


async def test_declared_things_are_there_and_marked(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        report = await declare(catalog, buses=[BUS], rules=[RULE])
        assert report.created == (PREFIX + "event-bus/orders", PREFIX + "rule/orders/declared")
        bus = catalog.bus(HERE, "orders")
        rule = catalog.rules(HERE, "orders")["declared"]
        assert bus
        assert (bus.declared, bus.description, bus.tags) == (True, "d", {"k": "v"})
        assert (rule.declared, rule.created_by, [target.id for target in rule.targets]) == (True, HERE.account, ["t"])
        assert matched(catalog, bus="orders") == ["declared"]


async def test_declaring_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        bus = catalog.bus(HERE, "orders")
    async with running(tmp_path) as catalog:
        assert await declare(catalog, buses=[BUS], rules=[RULE]) == Report()
        assert catalog.bus(HERE, "orders") == bus


async def test_what_the_api_created_stays(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        await put_rule(catalog, "mine", bus="orders")
        await catalog.create_bus(HERE, "own")
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        assert (catalog.rule_names(HERE, "orders"), catalog.bus_names(HERE)) == (
            ["declared", "mine"],
            ["default", "orders", "own"],
        )


async def test_an_api_change_to_a_declared_rule_lasts_until_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        with caplog.at_level(logging.WARNING, "crossbus"):
            await put_rule(catalog, "declared", '{"source":["bills"]}', bus="orders")
            await put_targets(catalog, "declared", Target(id="u", arn=QUEUE), bus="orders")
        assert [record.getMessage() for record in caplog.records] == ["catalog.declared_changed"]
        assert matched(catalog, "bills", bus="orders") == ["declared"]
    async with running(tmp_path) as catalog:
        assert matched(catalog, "bills", bus="orders") == ["declared"]
        report = await declare(catalog, buses=[BUS], rules=[RULE])
        assert report.updated == (PREFIX + "rule/orders/declared",)
        assert matched(catalog, bus="orders") == ["declared"]
        assert [target.id for target in catalog.rules(HERE, "orders")["declared"].targets] == ["t"]


async def test_a_declared_rule_that_the_api_deleted_is_back_at_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[{**RULE, "Targets": []}])
        await catalog.delete_rule(HERE, "orders", "declared")
        await catalog.delete_bus(HERE, "orders")
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        assert matched(catalog, bus="orders") == ["declared"]


async def test_a_rule_that_the_api_made_becomes_the_hub_files(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await catalog.create_bus(HERE, "orders")
        await put_rule(catalog, "declared", '{"source":["bills"]}', bus="orders")
        await declare(catalog, buses=[BUS], rules=[RULE])
        assert (matched(catalog, bus="orders"), matched(catalog, "bills", bus="orders")) == (["declared"], [])


async def test_what_is_no_longer_declared_goes_with_its_targets(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
    async with running(tmp_path) as catalog:
        report = await declare(catalog)
        assert report.removed == (PREFIX + "rule/orders/declared", PREFIX + "event-bus/orders")
        assert catalog.bus_names(HERE) == ["default"]
    async with running(tmp_path) as catalog:
        assert catalog.bus_names(HERE) == ["default"]
        assert catalog.compiled_target(PREFIX + "rule/orders/declared", "t") is None


async def test_a_bus_that_is_no_longer_declared_stays_while_the_api_has_rules_on_it(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS], rules=[RULE])
        await put_rule(catalog, "mine", bus="orders")
    async with running(tmp_path) as catalog:
        report = await declare(catalog)
        assert (report.kept, report.removed) == ((PREFIX + "event-bus/orders",), (PREFIX + "rule/orders/declared",))
        bus = catalog.bus(HERE, "orders")
        assert bus
        assert not bus.declared
        assert matched(catalog, bus="orders") == ["mine"]


async def test_the_default_bus_can_have_a_declared_policy_and_loses_it_again(tmp_path: Path) -> None:
    policy = {
        "Statement": {"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": "*"},
    }
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[{"Name": "default", "Policy": policy}], rules=[ON_DEFAULT])
        bus = catalog.bus(HERE, "default")
        assert bus
        assert bus.policy
        assert msgspec.json.decode(bus.policy) == policy
    async with running(tmp_path) as catalog:
        await declare(catalog, rules=[ON_DEFAULT])
        bus = catalog.bus(HERE, "default")
        assert bus
        assert bus.policy is None
        assert matched(catalog) == ["declared"]


async def test_declaring_is_one_commit_or_none(tmp_path: Path) -> None:
    bad = {**RULE, "Name": "bad", "Targets": [{"Id": "t", "Arn": "arn:aws:dynamodb:us-east-1:111111111111:table/t"}]}
    async with running(tmp_path) as catalog:
        with pytest.raises(
            ConfigError, match=r"service dynamodb are not supported.*at `\$\.resources\[0\]\.rules\[1\]`"
        ):
            await declare(catalog, buses=[BUS], rules=[RULE, bad])
        assert (catalog.bus_names(HERE), dict(catalog.rules(HERE, "orders"))) == (["default"], {})


@pytest.mark.parametrize(
    ("buses", "rules", "text"),
    [
        ([], [RULE], r"Event bus orders does not exist. - at `\$\.resources\[0\]\.rules\[0\]`"),
        ([BUS], [{**RULE, "EventPattern": {"a": []}}], r"Empty arrays are not allowed"),
        ([{**BUS, "Policy": "{"}], [], r"Policy is not valid.*buses\[0\]"),
        ([BUS], [{**RULE, "Name": name} for name in "abc"], "expected at most 2 rules, got 3"),
        ([BUS, {"Name": "b"}, {"Name": "c"}], [], "expected at most 3 event buses, got 4"),
        (
            [BUS],
            [{**RULE, "Name": name, "EventPattern": {"source": [{"wildcard": "*"}]}} for name in "ab"],
            "expected at most 1 rules with wildcards, got 2",
        ),
    ],
)
async def test_a_bad_declaration_says_where(tmp_path: Path, buses: list[Any], rules: list[Any], text: str) -> None:
    small = Quotas(rules_per_bus=2, wildcard_rules_per_bus=1, buses_per_location=3, pattern_chars=100)
    async with running(tmp_path, limits=small) as catalog:
        with pytest.raises(ConfigError, match=text):
            await declare(catalog, buses=buses, rules=rules)


async def test_a_rule_declared_in_two_places_says_where(tmp_path: Path) -> None:
    part = msgspec.convert({"account": HERE.account, "region": HERE.region, "rules": [ON_DEFAULT]}, Resources)
    async with running(tmp_path) as catalog:
        with pytest.raises(ConfigError, match=r"declared is declared twice .* - at `\$\.resources\[1\]\.rules\[0\]`"):
            await catalog.declare([part, part])


async def test_a_policy_change_to_a_declared_bus_is_undone_at_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS])
        permission = Permission(statement_id="s", action="events:PutEvents", principal=OTHER.account)
        await catalog.put_permission(HERE, "orders", permission)
    async with running(tmp_path) as catalog:
        await declare(catalog, buses=[BUS])
        bus = catalog.bus(HERE, "orders")
        assert bus
        assert bus.policy is None
