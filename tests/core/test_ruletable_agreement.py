"""The table, each rule alone and the complete matcher give one answer, on rules that share fields and events that
almost match."""

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from router.core.event import Event, envelope
from router.core.pattern import Pattern, parse
from router.core.ruletable import RuleTable
from router.core.ruletable_values import Paths, decode_object, pattern_matches

NAMES = st.sampled_from(["a", "b", "c", "a.b", "b.c"])
STRINGS = st.sampled_from(
    ["", "a", "A", "ab", "AB", "abc", "ba", "é", "É", "10.0.0.1", "10.0.0.9", "::1", "1", "\ud800"]
)
NUMBERS = st.sampled_from(
    ["0", "1", "1.0", "-1", "2.5", "1e1", "10", "1e400", "12345678901234567890", "0.12345678901234567890"]
)
PLAIN_NUMBERS = st.sampled_from(["0", "1", "1.0", "-1", "2.5", "1e1", "10"])


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isascii() else "".join(f"\\u{u:04x}" for u in [ord(c)]) for c in text) + '"'


def listed(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


def keyed(items: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in items) + "}"


SCALARS = st.one_of(STRINGS.map(quoted), NUMBERS, st.sampled_from(["true", "false", "null"]))
RANGES = st.sampled_from(
    [
        '["=",1]',
        '["<",2.5]',
        '["<=",1]',
        '[">",0]',
        '[">=",1]',
        '[">",0,"<",10]',
        '[">=",-1,"<=",1]',
        '[">=",1,"<",2.5]',
    ]
)
WILDCARDS = st.sampled_from(["*", "a*", "*b", "a*c", "*a*", "*b*c", "ab", "A*"]).map(quoted)
NON_EMPTY = STRINGS.filter(bool).map(quoted)
SUB_FORMS = st.one_of(
    st.tuples(st.sampled_from(["prefix", "suffix", "equals-ignore-case"]), st.lists(NON_EMPTY, min_size=1, max_size=2)),
    st.tuples(st.just("wildcard"), st.lists(WILDCARDS, min_size=1, max_size=2)),
)
OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["prefix", "suffix", "equals-ignore-case", "exactly"]), STRINGS.map(quoted)),
    st.tuples(
        st.sampled_from(["prefix", "suffix"]), STRINGS.map(lambda text: f'{{"equals-ignore-case":{quoted(text)}}}')
    ),
    st.tuples(st.just("wildcard"), WILDCARDS),
    st.tuples(st.just("numeric"), RANGES),
    st.tuples(st.just("cidr"), st.sampled_from(['"10.0.0.0/29"', '"10.0.0.0/8"', '"::/64"'])),
    st.tuples(st.just("exists"), st.sampled_from(["true", "false"])),
    st.tuples(
        st.just("anything-but"),
        st.one_of(
            STRINGS.map(quoted),
            PLAIN_NUMBERS,
            st.lists(STRINGS.map(quoted), min_size=1, max_size=3).map(listed),
            st.lists(PLAIN_NUMBERS, min_size=1, max_size=3).map(listed),
            SUB_FORMS.map(lambda form: f'{{"{form[0]}":{listed(form[1])}}}'),
        ),
    ),
).map(lambda operator: f'{{"{operator[0]}":{operator[1]}}}')
LEAVES = st.lists(st.one_of(SCALARS, OPERATORS), min_size=1, max_size=3).map(listed)


def objects(values: st.SearchStrategy[str], at_least: int) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(NAMES, values), min_size=at_least, max_size=3).map(keyed)


FIELDS = objects(st.one_of(LEAVES, objects(st.one_of(LEAVES, objects(LEAVES, 1)), 1)), 1)
ALTERNATIVES = st.lists(FIELDS, min_size=2, max_size=3).map(lambda branches: f'{{"$or":{listed(branches)}}}')
PATTERNS = st.one_of(
    FIELDS,
    ALTERNATIVES,
    st.tuples(FIELDS, ALTERNATIVES).map(lambda two: f"{two[0][:-1]},{two[1][1:]}"),
    st.one_of(FIELDS, ALTERNATIVES).map(lambda fields: f'{{"a":{fields}}}'),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3).map(listed), objects(inner, 0)), max_leaves=8
)
EVENTS = objects(VALUES, 1)

SETTINGS = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def complete_answer(patterns: list[Pattern], event: dict[str, Any]) -> list[int]:
    values = Paths({field.path for one in patterns for branch in one.branches for field in branch}).values(event)
    return [number for number, pattern in enumerate(patterns) if pattern_matches(pattern, values)]


@SETTINGS
@given(st.lists(PATTERNS, min_size=1, max_size=6), st.lists(EVENTS, min_size=1, max_size=4))
@example(['{"a":{"b":["a"],"c":[{"exists":false}]}}'], ['{"a":[{"b":"a"},{"c":"a"}]}'])
@example(['{"a":{"c":["a"],"b":[{"exists":false}]}}'], ['{"a":[{"b":"a"},{"c":"a"}]}'])
def test_the_table_agrees_with_the_complete_matcher_and_with_each_rule_alone(
    texts: list[str], events: list[str]
) -> None:
    patterns = [parse(text) for text in texts]
    table = RuleTable.build(enumerate(patterns))
    again = RuleTable.build(reversed(list(enumerate(patterns))))
    alone = [RuleTable.build([(number, pattern)]) for number, pattern in enumerate(patterns)]
    for event in events:
        expected = complete_answer(patterns, decode_object(event))
        assert table.match_json(event) == expected
        assert again.match_json(event) == expected[::-1]
        assert [number for rule in alone for number in rule.match_json(event)] == expected


@settings(SETTINGS, max_examples=150)
@given(st.lists(PATTERNS, min_size=1, max_size=5), EVENTS, STRINGS.filter(str.isascii))
def test_an_event_of_the_hub_matches_as_its_envelope_does(texts: list[str], detail: str, source: str) -> None:
    patterns = [parse(f'{{"detail":{text}}}') for text in texts]
    patterns.append(parse(f'{{"source":[{quoted(source)}],"detail":{texts[0]}}}'))
    table = RuleTable.build(enumerate(patterns))
    event = Event("e-1", "t", source, "111111111111", "2026-11-23T10:00:00Z", "us-east-1", ("r",), detail)
    assert table.match(event) == table.match_json(envelope(event))
