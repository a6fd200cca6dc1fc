import asyncio
from pathlib import Path

import pytest

from router.catalog.catalog import Catalog
from router.catalog.model import InputTransformer, Target
from router.catalog.permissions import Permission
from router.catalog.quotas import Quotas
from router.core.event import Location
from router.errors import (
    LimitExceededException,
    ManagedRuleException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from router.store.base import Batch, Store, StoreError, Table
from router.store.lmdb import LmdbStore
from tests.catalog.hub import (
    HERE,
    LOCATIONS,
    OTHER,
    PATTERN,
    QUEUE,
    ROLE,
    Clock,
    event,
    matched,
    put_rule,
    put_targets,
    running,
)

LIMIT = r"^The requested resource exceeds the maximum number allowed\.$"


async def test_every_existing_location_has_a_default_bus(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        assert [catalog.bus_names(location) for location in (HERE, OTHER)] == [["default"], ["default"]]


async def test_a_location_that_does_not_exist_has_no_bus(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        nowhere = Location("999999999999", "us-east-1")
        assert (catalog.bus(nowhere, "default"), catalog.route(nowhere, "default")) == (None, None)
        with pytest.raises(ValidationException, match="has no region"):
            await catalog.create_bus(nowhere, "orders")


async def test_a_location_is_asked_for_once(tmp_path: Path) -> None:
    asked: list[Location] = []

    def exists(location: Location) -> bool:
        asked.append(location)
        return True

    async with running(tmp_path, exists=exists) as catalog:
        catalog.bus(HERE, "default")
        catalog.route(HERE, "default")
        assert asked == [HERE]


async def test_everything_configured_survives_a_restart(tmp_path: Path) -> None:
    target = Target(
        id="t", arn=QUEUE, input_transformer=InputTransformer(input_template="<a>", input_paths_map={"a": "$.id"})
    )
    async with running(tmp_path) as catalog:
        await catalog.create_bus(HERE, "orders", description="d", tags_given={"k": "v"})
        await catalog.put_permission(
            HERE, "orders", Permission(statement_id="s", action="events:PutEvents", principal=OTHER.account)
        )
        arn = await put_rule(catalog, "r", bus="orders", tags_given={"a": "b"}, description="x")
        await put_targets(catalog, "r", target, bus="orders")
        await put_rule(catalog, "other")
        before = (catalog.bus(HERE, "orders"), dict(catalog.rules(HERE, "orders")), catalog.bus(HERE, "default"))
    async with running(tmp_path) as catalog:
        after = (catalog.bus(HERE, "orders"), dict(catalog.rules(HERE, "orders")), catalog.bus(HERE, "default"))
        assert after == before
        assert catalog.target(arn, "t") == target
        assert catalog.rule_by_arn(arn) == after[1]["r"]
        assert (matched(catalog, bus="orders"), matched(catalog)) == (["r"], ["other"])


async def test_more_rules_than_one_scan_holds_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await asyncio.gather(*[put_rule(catalog, f"r{number}") for number in range(1100)])
    async with running(tmp_path) as catalog:
        assert len(catalog.rules(HERE, "default")) == 1100


async def test_default_buses_keep_their_creation_time_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as catalog:
        await put_rule(catalog, "r")
        first = catalog.bus(HERE, "default")
    clock.ms += 60_000
    async with running(tmp_path, clock=clock) as catalog:
        assert catalog.bus(HERE, "default") == first


async def test_an_unreadable_row_is_refused_with_its_key(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "r")
    store = LmdbStore(tmp_path, map_bytes_max=1 << 28, reserve_bytes=1 << 24, monotonic=Clock().monotonic)
    batch = Batch()
    batch.put(Table.CATALOG, b"rule\x00111111111111\0us-east-1\0default\0r", b"{}")
    await store.commit(batch)
    await store.close()
    with pytest.raises(StoreError, match="default"):
        async with running(tmp_path):
            pass


async def test_a_rule_is_live_when_put_rule_returns(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        assert matched(catalog) == []
        await put_rule(catalog, "a")
        assert matched(catalog) == ["a"]
        await put_rule(catalog, "b")
        assert matched(catalog) == ["a", "b"]


async def test_a_replaced_pattern_no_longer_matches_as_before(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
        assert matched(catalog) == ["a"]
        await put_rule(catalog, "a", '{"source":["bills"]}')
        assert (matched(catalog), matched(catalog, "bills")) == ([], ["a"])


async def test_a_disabled_rule_is_not_in_the_table(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
        await catalog.set_rule_state(HERE, "default", "a", "DISABLED")
        assert matched(catalog) == []
        await catalog.set_rule_state(HERE, "default", "a", "ENABLED")
        assert matched(catalog) == ["a"]


async def test_a_deleted_rule_is_not_in_the_table(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        arn = await put_rule(catalog, "a")
        assert matched(catalog) == ["a"]
        await catalog.delete_rule(HERE, "default", "a")
        assert (matched(catalog), catalog.rule_by_arn(arn)) == ([], None)


async def test_a_route_is_the_same_until_a_change_touches_its_bus(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await catalog.create_bus(HERE, "orders")
        route = catalog.route(HERE, "orders")
        await put_rule(catalog, "elsewhere")
        assert catalog.route(HERE, "orders") is route
        await put_rule(catalog, "here", bus="orders")
        assert catalog.route(HERE, "orders") is not route


async def test_a_policy_change_keeps_the_compiled_table(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
        before = catalog.route(HERE, "default")
        await catalog.put_permission(
            HERE, "default", Permission(statement_id="s", action="events:PutEvents", principal="*")
        )
        after = catalog.route(HERE, "default")
        assert before
        assert after
        assert after.table is before.table
        assert after.bus.policy is not None


async def test_a_routed_rule_says_what_the_data_path_needs(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        arn = await put_rule(catalog, "a", state="ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")
        await put_targets(catalog, "a", Target(id="t", arn=QUEUE, input='"x"'), Target(id="u", arn=QUEUE))
        route = catalog.route(HERE, "default")
        assert route is not None
        (rule,) = route.table.match(event())
        assert (rule.arn, rule.name, rule.all_cloudtrail, rule.rule.arn) == (arn, "a", True, arn)
        assert [(target.target.id, target.kind, target.rule_arn, target.rule_name) for target in rule.targets] == [
            ("t", "sqs", arn, "a"),
            ("u", "sqs", arn, "a"),
        ]
        assert [target.transform is None for target in rule.targets] == [False, True]


async def test_a_compiled_target_is_as_configured_now(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        arn = await put_rule(catalog, "a")
        await put_targets(catalog, "a", Target(id="t", arn=QUEUE))
        first = catalog.compiled_target(arn, "t")
        assert first is not None
        assert first.target.arn == QUEUE
        await put_targets(catalog, "a", Target(id="t", arn=QUEUE + "2"))
        second = catalog.compiled_target(arn, "t")
        assert second is not None
        assert second.target.arn == QUEUE + "2"
        await catalog.remove_targets(HERE, "default", "a", ["t"])
        assert catalog.compiled_target(arn, "t") is None


async def test_a_disabled_rule_still_has_compiled_targets(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        arn = await put_rule(catalog, "a", state="DISABLED")
        await put_targets(catalog, "a", Target(id="t", arn=QUEUE))
        assert catalog.compiled_target(arn, "t") is not None


async def test_put_rule_replaces_all_but_targets_tags_and_creator(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a", description="d", role_arn=ROLE, state="DISABLED", tags_given={"k": "v"})
        await put_targets(catalog, "a", Target(id="t", arn=QUEUE))
        rule = await catalog.put_rule(
            HERE, "default", "a", created_by="999999999999", event_pattern=PATTERN, tags_given={"k": "w"}
        )
        assert (rule.description, rule.role_arn, rule.state) == (None, None, "ENABLED")
        assert ([target.id for target in rule.targets], rule.tags, rule.created_by) == (["t"], {"k": "v"}, HERE.account)


async def test_rules_are_found_by_their_targets_whatever_changed_them(tmp_path: Path) -> None:
    arns = [QUEUE, f"{QUEUE}-2", f"{QUEUE}-3"]

    def looked_through(catalog: Catalog) -> dict[str, list[str]]:
        known = catalog.rules(HERE, "default")
        return {
            arn: sorted(name for name, rule in known.items() if arn in [target.arn for target in rule.targets])
            for arn in arns
        }

    def found(catalog: Catalog) -> dict[str, list[str]]:
        return {arn: list(catalog.rule_names_by_target(HERE, "default", arn)) for arn in arns}

    async with running(tmp_path) as catalog:
        for name in ("c", "a", "b", "d"):
            await put_rule(catalog, name)
            await put_targets(catalog, name, Target(id="1", arn=arns[0]), Target(id="2", arn=arns[0]))
        await put_targets(catalog, "a", Target(id="2", arn=arns[1]))
        await catalog.remove_targets(HERE, "default", "b", ["1"])
        await catalog.remove_targets(HERE, "default", "c", ["1", "2"])
        await put_targets(catalog, "c", Target(id="1", arn=arns[2]))
        await catalog.remove_targets(HERE, "default", "d", ["1", "2"])
        await catalog.delete_rule(HERE, "default", "d")
        await catalog.set_rule_state(HERE, "default", "a", "DISABLED")
        await put_rule(catalog, "b", '{"source":["bills"]}')
        expected = {arns[0]: ["a", "b"], arns[1]: ["a"], arns[2]: ["c"]}
        assert (found(catalog), looked_through(catalog)) == (expected, expected)
        await catalog.remove_targets(HERE, "default", "c", ["1"])
        assert found(catalog) == {**expected, arns[2]: []}
        assert catalog.rule_names_by_target(HERE, "no such bus", arns[0]) == ()
    async with running(tmp_path) as catalog:
        assert found(catalog) == {**expected, arns[2]: []}


async def test_concurrent_changes_to_one_rule_all_count(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
        await asyncio.gather(*[put_targets(catalog, "a", Target(id=f"t{n}", arn=QUEUE)) for n in range(5)])
        assert [target.id for target in catalog.rules(HERE, "default")["a"].targets] == [f"t{n}" for n in range(5)]


async def test_a_cancelled_change_is_durable_before_the_next_one_looks(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
        first = asyncio.create_task(put_targets(catalog, "a", Target(id="t", arn=QUEUE)))
        await asyncio.sleep(0)
        second = asyncio.create_task(put_targets(catalog, "a", Target(id="u", arn=QUEUE)))
        await asyncio.sleep(0)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        assert [target.id for target in catalog.rules(HERE, "default")["a"].targets] == ["t", "u"]


class FailingStore:
    """A store whose next commits fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failing = False

    async def commit(self, batch: Batch) -> None:
        if self.failing:
            raise StoreError("no disk")
        await self._store.commit(batch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_change_that_cannot_be_stored_changes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    store = FailingStore(LmdbStore(tmp_path, map_bytes_max=1 << 28, reserve_bytes=1 << 24, monotonic=clock.monotonic))
    catalog = Catalog(
        store,  # type: ignore[arg-type]
        clock,
        quotas=Quotas(rules_per_bus=9, wildcard_rules_per_bus=9, buses_per_location=9, pattern_chars=99),
        location_exists=LOCATIONS.__contains__,
    )
    store.failing = True
    with pytest.raises(ServiceUnavailable, match="no disk"):
        await put_rule(catalog, "a")
    assert (dict(catalog.rules(HERE, "default")), matched(catalog)) == ({}, [])
    store.failing = False
    await put_rule(catalog, "a")
    assert matched(catalog) == ["a"]
    await store.close()  # type: ignore[operator]


async def test_a_bus_is_created_once(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await catalog.create_bus(HERE, "orders")
        for name in ("orders", "default"):
            with pytest.raises(ResourceAlreadyExistsException, match=f"^Event bus {name} already exists.$"):
                await catalog.create_bus(HERE, name)


async def test_a_bus_with_rules_is_not_deleted(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await catalog.create_bus(HERE, "orders")
        await put_rule(catalog, "a", bus="orders")
        with pytest.raises(ValidationException, match=r"^EventBus can't be deleted since it has rules.$"):
            await catalog.delete_bus(HERE, "orders")
        await catalog.delete_rule(HERE, "orders", "a")
        await catalog.delete_bus(HERE, "orders")
        assert (catalog.bus(HERE, "orders"), catalog.bus_names(HERE)) == (None, ["default"])


async def test_quotas_bound_rules_wildcards_buses_and_patterns(tmp_path: Path) -> None:
    small = Quotas(rules_per_bus=2, wildcard_rules_per_bus=1, buses_per_location=2, pattern_chars=60)
    wildcard = '{"source":[{"wildcard":"a*"}]}'
    async with running(tmp_path, limits=small) as catalog:
        await put_rule(catalog, "a", wildcard)
        await put_rule(catalog, "a", wildcard)
        with pytest.raises(LimitExceededException, match="may have 1 rules with wildcards"):
            await put_rule(catalog, "b", wildcard)
        await put_rule(catalog, "b")
        with pytest.raises(LimitExceededException, match=LIMIT):
            await put_rule(catalog, "c")
        await put_rule(catalog, "a")
        await put_rule(catalog, "b", wildcard)
        with pytest.raises(LimitExceededException, match=r"^Parameter EventPattern for rule a exceeds limit of 60.$"):
            await put_rule(catalog, "a", '{"source":["' + "x" * 60 + '"]}')
        await catalog.create_bus(HERE, "orders")
        with pytest.raises(LimitExceededException):
            await catalog.create_bus(HERE, "more")


async def test_managed_rules_are_changed_only_by_force(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "m", managed_by="archives")
        await put_rule(catalog, "m", managed_by="archives", description="again")
        refused = r"^m is a managed rule. Set 'force' parameter to true to override.$"
        with pytest.raises(ManagedRuleException, match=refused):
            await put_rule(catalog, "m")
        with pytest.raises(ManagedRuleException, match=refused):
            await catalog.set_rule_state(HERE, "default", "m", "DISABLED")
        with pytest.raises(ManagedRuleException, match=refused):
            await put_targets(catalog, "m", Target(id="t", arn=QUEUE))
        with pytest.raises(ManagedRuleException, match=refused):
            await catalog.remove_targets(HERE, "default", "m", ["t"])
        with pytest.raises(ManagedRuleException, match=refused):
            await catalog.tag(HERE, "default", "m", {"a": "b"})
        with pytest.raises(ManagedRuleException, match=refused):
            await catalog.delete_rule(HERE, "default", "m")
        await catalog.remove_targets(HERE, "default", "m", ["t"], force=True)
        await catalog.delete_rule(HERE, "default", "m", force=True)
        assert dict(catalog.rules(HERE, "default")) == {}


async def test_changes_to_what_does_not_exist_name_it(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        with pytest.raises(ResourceNotFoundException, match=r"^Event bus no does not exist.$"):
            await put_rule(catalog, "a", bus="no")
        with pytest.raises(ResourceNotFoundException, match=r"^Rule a does not exist on EventBus default.$"):
            await put_targets(catalog, "a", Target(id="t", arn=QUEUE))
        with pytest.raises(ResourceNotFoundException, match=r"^Rule a does not exist on EventBus default.$"):
            await catalog.set_rule_state(HERE, "default", "a", "ENABLED")
        with pytest.raises(ResourceNotFoundException, match=r"^Event bus no does not exist.$"):
            await catalog.delete_rule(HERE, "no", "a")
