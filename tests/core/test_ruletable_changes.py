"""Changes of a rule table: live at once, at the cost of the change, and folded into the base a step at a time."""

from collections.abc import Generator
from functools import lru_cache

import pytest

from router.core import ruletable_code
from router.core.pattern import Pattern, parse
from router.core.ruletable import RuleTable
from router.core.ruletable_bucket import STEP_RULES

SHOP = '{"source":"shop","detail":{"kind":"a"}}'
BANK = '{"source":"bank","detail":{"kind":"a"}}'


def pattern(text: str) -> Pattern:
    return parse(text)


def of(source: str, kind: str = "a") -> Pattern:
    return parse(f'{{"source":["{source}"],"detail":{{"kind":["{kind}"]}}}}')


def finished(merging: Generator[None, None, RuleTable[str]]) -> tuple[RuleTable[str], int]:
    """The table that merging ends with, and how often it paused."""
    pauses = 0
    while True:
        try:
            next(merging)
        except StopIteration as done:
            table: RuleTable[str] = done.value
            return table, pauses
        pauses += 1


def test_a_change_makes_a_new_table_and_leaves_the_old_one_as_it_is() -> None:
    before = RuleTable.build([("a", of("shop"))])
    after = before.with_rules([("b", of("shop"))]).without(["a"])
    assert before.match_json(SHOP) == ("a",)
    assert after.match_json(SHOP) == ("b",)
    assert (len(before), len(after), before.changes, after.changes) == (1, 1, 0, 2)


def test_a_rule_put_again_counts_as_it_was_put_last() -> None:
    table = RuleTable.build([("a", of("shop")), ("b", of("shop"))]).with_rules([("a", of("bank"))])
    assert (table.match_json(SHOP), table.match_json(BANK)) == (("b",), ("a",))
    again = table.with_rules([("a", of("shop"))])
    assert (sorted(again.match_json(SHOP)), again.match_json(BANK), len(again)) == (["a", "b"], (), 2)
    merged = again.merged()
    assert (sorted(merged.match_json(SHOP)), merged.match_json(BANK), len(merged)) == (["a", "b"], (), 2)


def test_removing_what_is_not_there_does_no_harm() -> None:
    table = RuleTable.build([("a", of("shop"))]).without(["x"])
    assert (table.match_json(SHOP), table.changes) == (("a",), 0)


def test_a_rule_that_names_its_source_in_one_branch_only_is_found_once() -> None:
    either = pattern('{"$or":[{"source":["shop"]},{"detail":{"kind":["a"]}}]}')
    table = RuleTable.build([("a", either)])
    assert (table.match_json(SHOP), table.match_json(BANK)) == (("a",), ("a",))
    overlaid = RuleTable.build([("b", of("shop"))]).with_rules([("a", either)])
    assert sorted(overlaid.match_json(SHOP)) == ["a", "b"]
    assert overlaid.without(["a"]).merged().match_json(SHOP) == ("b",)


def test_a_change_leaves_what_is_compiled_for_other_sources() -> None:
    table = RuleTable.build([("a", of("shop")), ("b", of("bank"))])
    table.match_json(SHOP)
    table.match_json(BANK)
    compiled = dict(table._readers)
    changed = table.with_rules([("c", of("shop"))])
    assert changed._readers == {"bank": compiled["bank"]}
    assert changed.with_rules([("d", pattern('{"account":["1"]}'))])._readers == {}


def test_merging_keeps_what_other_buckets_have_learned() -> None:
    table = RuleTable.build([("a", of("shop")), ("b", of("bank"))]).with_rules([("c", of("shop"))])
    merged = table.merged()
    assert merged._base.by_source["bank"] is table._base.by_source["bank"]
    assert merged._base.by_source["shop"] is not table._base.by_source["shop"]
    assert (merged.changes, sorted(merged.match_json(SHOP))) == (0, ["a", "c"])


def test_merging_pauses_often_however_many_rules_one_bucket_has() -> None:
    count = 4 * STEP_RULES
    rules = [(f"r{n}", pattern(f'{{"detail":{{"kind":["k{n}",{{"numeric":[">",{n}]}}]}}}}')) for n in range(count)]
    table = RuleTable.build(rules).with_rules([("new", pattern('{"detail":{"kind":["a"]}}'))])
    merged, pauses = finished(table.merging())
    assert pauses >= count // STEP_RULES + count // 512
    assert (merged.match_json(SHOP), merged.match_json('{"detail":{"kind":1.5}}')) == (("new",), ("r0", "r1"))


def test_what_changes_while_a_table_is_merged_stays_on_top() -> None:
    start = RuleTable.build([("a", of("shop")), ("b", of("shop"))]).with_rules([("c", of("shop")), ("d", of("shop"))])
    merging = start.merging()
    next(merging)
    now = start.without(["a", "c"]).with_rules([("e", of("shop")), ("d", of("bank"))])
    merged, _ = finished(merging)
    table = now.rebased(merged, start)
    assert (sorted(table.match_json(SHOP)), table.match_json(BANK)) == (["b", "e"], ("d",))
    assert sorted(table.merged().match_json(SHOP)) == ["b", "e"]
    assert start.rebased(merged, start) is merged


def test_buckets_are_prepared_a_step_at_a_time_and_only_once() -> None:
    table = RuleTable.build([(f"r{n}", of(f"s{n % 3}")) for n in range(10)])
    assert len(list(table.prepare())) > 3
    assert list(table.prepare()) == []
    assert table.match_json('{"source":"s1","detail":{"kind":"a"}}') == ("r1", "r4", "r7")


def test_a_bucket_that_is_half_prepared_is_ready_when_an_event_wants_it() -> None:
    table = RuleTable.build([("a", of("shop"))])
    next(table.prepare())
    assert table.match_json(SHOP) == ("a",)


def test_structs_that_belong_together_stay_together_when_the_cache_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruletable_code, "_structs", lru_cache(maxsize=1)(ruletable_code._structs.__wrapped__))
    for names in ("aaaa", "abcd"):
        opened = "".join(f'{{"{name}":' for name in names)
        table = RuleTable.build([("a", pattern(opened + "[true]" + "}" * 4))])
        for _ in range(2):
            assert table.match_json(opened + "true" + "}" * 4) == ("a",)
            assert table.match_json(opened + "false" + "}" * 4) == ()
