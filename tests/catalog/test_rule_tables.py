"""Rule tables of buses: changes are live when they return, on top of the table, and are folded into it beside other
work."""

from pathlib import Path

import anyio
import pytest

from router.catalog import catalog as catalog_module
from router.catalog.catalog import Catalog
from router.catalog.model import Target
from router.catalog.routes import RoutedRule
from router.catalog.state import merge_pause_s
from router.core.ruletable import RuleTable
from tests.catalog.hub import HERE, QUEUE, Clock, matched, put_rule, put_targets, running


def table(catalog: Catalog) -> RuleTable[RoutedRule]:
    route = catalog.route(HERE, "default")
    assert route is not None
    return route.table


async def merged(catalog: Catalog) -> None:
    """Wait until no change is left beside the table."""
    with anyio.fail_after(10):
        while table(catalog).changes:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.005)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "MERGE_DELAY_S", 0.0)


async def test_a_change_costs_an_overlay_and_not_a_new_table(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        assert matched(catalog) == []
        await put_rule(catalog, "a")
        await put_rule(catalog, "b", '{"source":["bills"]}')
        await catalog.set_rule_state(HERE, "default", "a", "DISABLED")
        await catalog.delete_rule(HERE, "default", "b")
        await put_rule(catalog, "c")
        assert (matched(catalog), matched(catalog, "bills"), table(catalog).changes) == (["c"], [], 1)


async def test_changes_are_folded_in_while_the_hub_runs(tmp_path: Path, at_once: None) -> None:
    async with running(tmp_path) as catalog, anyio.create_task_group() as tasks:
        tasks.start_soon(catalog.keep_merged)
        for number in range(40):
            await put_rule(catalog, f"rule-{number:02}")
            assert len(matched(catalog)) == number + 1
        await merged(catalog)
        assert len(matched(catalog)) == 40
        await catalog.delete_rule(HERE, "default", "rule-07")
        assert "rule-07" not in matched(catalog)
        await merged(catalog)
        assert len(matched(catalog)) == 39
        tasks.cancel_scope.cancel()


async def test_a_target_put_while_tables_are_merged_is_seen(tmp_path: Path, at_once: None) -> None:
    async with running(tmp_path) as catalog, anyio.create_task_group() as tasks:
        await put_rule(catalog, "a")
        assert matched(catalog) == ["a"]
        tasks.start_soon(catalog.keep_merged)
        await put_targets(catalog, "a", Target(id="1", arn=QUEUE))
        await merged(catalog)
        (rule,) = table(catalog).match_json('{"source":"orders"}')
        assert [target.target.id for target in rule.targets] == ["1"]
        tasks.cancel_scope.cancel()


async def test_tables_are_built_before_the_first_event_when_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as catalog:
        await put_rule(catalog, "a")
    async with running(tmp_path) as catalog:
        catalog.prepare()
        assert list(table(catalog).prepare()) == []
        assert matched(catalog) == ["a"]


class _Watch(Clock):
    """Each look at it is a millisecond later."""

    def __init__(self) -> None:
        super().__init__()
        self.s = 0.0

    def monotonic(self) -> float:
        self.s += 0.001
        return self.s


async def test_between_the_steps_of_a_merge_other_work_comes_first(
    tmp_path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, clock=_Watch()) as catalog, anyio.create_task_group() as tasks:
        assert matched(catalog) == []
        for number in range(40):
            await put_rule(catalog, f"rule-{number:02}")
        slept: list[float] = []
        sleep = anyio.sleep

        async def noted(seconds: float) -> None:
            slept.append(seconds)
            await sleep(0)

        with monkeypatch.context() as patch:
            patch.setattr(anyio, "sleep", noted)
            tasks.start_soon(catalog.keep_merged)
            while table(catalog).changes:
                await sleep(0.005)
        between = slept[1:]
        assert between
        assert {round(seconds, 6) for seconds in between} == {0.019}, "19 ms for others after each millisecond"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("changes", "pause_s"),
    [(0, 19.0), (1, 19.0), (100, 19.0), (200, 9.0), (500, 3.0), (1000, 1.0), (100_000, 1.0)],
)
def test_a_merge_takes_a_twentieth_of_the_time_and_more_where_changes_pile_up(changes: int, pause_s: float) -> None:
    assert merge_pause_s(1.0, changes) == pytest.approx(pause_s)
