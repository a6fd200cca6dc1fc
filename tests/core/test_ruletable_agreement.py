"""The rule table gives the oracle's answer: for all rules at once, for each alone, and after any changes, on rules that
share fields and events that almost match."""

import os
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, example, given, settings

from router.core.event import Event, envelope
from router.core.pattern import Pattern, parse
from router.core.ruletable import RuleTable
from tests.core.generated import Change, Parts, changes_and_events, rules_and_events, rules_and_parts_of_events
from tests.oracle import matches

EXAMPLES = {"table": 3500, "each alone": 300, "hub": 700, "changes": 600}
"""In all at least 5,000 for `make test`; `make test-deep` takes ten turns, so that no turn needs much memory."""
TURNS = 10 if os.environ.get("CROSSBUS_TEST_DEEP") else 1


def examples(name: str) -> settings:
    """The same in every `make test`, which so says the same of the same code; others in every `make test-deep`."""
    return settings(
        max_examples=EXAMPLES[name],
        derandomize=TURNS == 1,
        print_blob=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


in_turns = pytest.mark.parametrize("turn", range(TURNS))

LONG = '{"x":' * 40 + '["a"]' + "}" * 40
"""A longer path than a table may want to compile."""

parsed = lru_cache(maxsize=10_000)(parse)


def matching(patterns: list[str], event: str) -> list[int]:
    """The oracle's answer."""
    return [number for number, pattern in enumerate(patterns) if matches(pattern, event)]


def numbered(patterns: list[str]) -> list[tuple[int, Pattern]]:
    return [(number, parsed(pattern)) for number, pattern in enumerate(patterns)]


@in_turns
@examples("table")
@given(case=rules_and_events())
@example(case=(['{"a":{"b":["a"],"c":[{"exists":false}]}}'], ['{"a":[{"b":"a"},{"c":"a"}]}']))
@example(case=(['{"a":{"c":["a"],"b":[{"exists":false}]}}'], ['{"a":[{"b":"a"},{"c":"a"}]}']))
@example(case=(['{"a":{"\uff61":["a"],"😀":[{"exists":false}]}}'], ['{"a":[{"\uff61":"a"},{"😀":"a"}]}']))
@example(case=(['{"a":[true]}', '{"a":[1]}', '{"a":[false,0]}'], ['{"a":1}', '{"a":[true]}', '{"a":0}', '{"a":false}']))
@example(case=(['{"a":[{"prefix":{"equals-ignore-case":"k"}}]}'], ['{"a":"\u212ax"}', '{"a":"Kx"}']))
@example(case=(['{"d":{"q\\"":["a"]}}'], ['{"d.q\\"":"a"}', '{"d":{"q\\u0022":"a"}}']))
@example(
    case=([LONG], [LONG.replace('["a"]', '"a"'), '{"x.x":' * 20 + '"a"' + "}" * 20, '{"x":[' * 40 + '"a"' + "]}" * 40])
)
def test_the_table_agrees_with_the_oracle(turn: int, case: tuple[list[str], list[str]]) -> None:
    patterns, events = case
    table = RuleTable.build(numbered(patterns))
    for event in events:
        expected = matching(patterns, event)
        assert sorted(table.match_json(event)) == expected
        assert sorted(table.match_json(event.encode())) == expected


@in_turns
@examples("each alone")
@given(case=rules_and_events())
def test_rules_match_alone_and_in_any_order_as_they_do_together(turn: int, case: tuple[list[str], list[str]]) -> None:
    patterns, events = case
    rules = numbered(patterns)
    backwards = RuleTable.build(reversed(rules))
    alone = [RuleTable.build([rule]) for rule in rules]
    for event in events:
        expected = matching(patterns, event)
        assert sorted(backwards.match_json(event)) == expected
        assert [number for rule in alone for number in rule.match_json(event)] == expected


@in_turns
@examples("hub")
@given(case=rules_and_parts_of_events())
def test_an_event_of_the_hub_matches_as_its_envelope_does(turn: int, case: tuple[list[str], list[Parts]]) -> None:
    patterns, events = case
    rules = numbered(patterns)
    table = RuleTable.build(rules)
    changed = RuleTable.build(rules[:2]).with_rules(rules[2:]).without([0])
    for parts in events:
        source, detail_type, account, resources, detail = parts
        event = Event(
            "e-1", detail_type, source, account, "2026-11-23T10:00:00Z", "us-east-1", tuple(resources), detail
        )
        expected = matching(patterns, envelope(event).decode())
        assert sorted(table.match(event)) == expected
        assert sorted(table.match_json(envelope(event))) == expected
        assert sorted(changed.match(event)) == [number for number in expected if number != 0]


@in_turns
@examples("changes")
@given(case=changes_and_events())
def test_rules_added_and_removed_one_by_one_equal_a_table_built_fresh(
    turn: int, case: tuple[list[Change], list[str]]
) -> None:
    changes, events = case
    table: RuleTable[int] = RuleTable.build([])
    rules: dict[int, str] = {}
    seen: list[tuple[RuleTable[int], list[list[int]]]] = []
    for put, removed in changes:
        if put:
            table = table.with_rules([(key, parsed(pattern)) for key, pattern in put])
        elif removed:
            table = table.without(removed)
        else:
            table = table.merged()
        for key in [*removed, *dict(put)]:
            rules.pop(key, None)
        rules |= put
        expected = [sorted(key for key, text in rules.items() if matches(text, event)) for event in events]
        assert [sorted(table.match_json(event)) for event in events] == expected
        seen.append((table, expected))
    fresh = RuleTable.build([(key, parsed(pattern)) for key, pattern in rules.items()])
    for event in events:
        assert sorted(table.match_json(event)) == sorted(fresh.match_json(event))
    for before, answers in seen:
        assert [sorted(before.match_json(event)) for event in events] == answers


def test_a_run_draws_as_many_examples_as_it_should() -> None:
    assert sum(EXAMPLES.values()) * TURNS >= (50_000 if TURNS > 1 else 5_000)
