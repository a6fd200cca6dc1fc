"""The rule table: which rules an event picks, in which order, and what it refuses to look at."""

import pytest

from router.core.event import Event, envelope
from router.core.pattern import parse
from router.core.ruletable import MalformedDetail, MalformedEvent, RuleTable, matches


def event(
    detail: str = "{}", *, source: str = "shop", resources: tuple[str, ...] = (), replay: str | None = None
) -> Event:
    return Event(
        id="e-1",
        detail_type="Order placed",
        source=source,
        account="111111111111",
        time="2026-11-23T10:00:00Z",
        region="us-east-1",
        resources=resources,
        detail=detail,
        replay_name=replay,
    )


def table(*patterns: str) -> RuleTable[int]:
    return RuleTable.build([(number, parse(pattern)) for number, pattern in enumerate(patterns)])


def test_keys_come_each_once_and_in_an_order_that_only_the_rules_decide() -> None:
    rules = table(
        '{"source": ["shop"]}', '{"source": ["x"]}', '{"$or": [{"source": ["shop"]}, {"account": [{"exists": true}]}]}'
    )
    assert list(rules.match(event())) == [0, 2]
    assert list(rules.match_json(envelope(event()))) == [0, 2]


def test_every_envelope_field_is_matched() -> None:
    fields = ["version", "id", "detail-type", "source", "account", "time", "region"]
    rules = table(*(f'{{"{field}": [{{"exists": true}}]}}' for field in fields), '{"version": ["0"]}')
    assert list(rules.match(event())) == list(range(len(fields) + 1))


def test_resources_match_by_any_of_them_and_no_resources_are_absent() -> None:
    rules = table(
        '{"resources": ["b"]}', '{"resources": [{"exists": false}]}', '{"resources": [{"anything-but": "a"}]}'
    )
    assert list(rules.match(event(resources=("a", "b")))) == [0, 2]
    assert list(rules.match(event())) == [1]
    assert list(rules.match(event(resources=("a",)))) == []


def test_only_a_replayed_event_has_a_replay_name() -> None:
    rules = table('{"replay-name": [{"exists": true}]}', '{"replay-name": [{"exists": false}]}')
    assert list(rules.match(event(replay="monday"))) == [0]
    assert list(rules.match(event())) == [1]
    assert list(rules.match(event('{"a.b": [{"c": 1}]}'))) == [1]


def test_fields_that_no_event_has_are_absent() -> None:
    rules = table(
        '{"other": [{"exists": false}]}',
        '{"source": {"x": [{"exists": false}]}}',
        '{"other": [1]}',
        '{"detail": ["x"]}',
    )
    assert list(rules.match(event())) == [0, 1]


@pytest.mark.parametrize(
    "detail",
    ['{"a": {"b": "x"}}', '{"a.b": "x"}', '{"a": [{"b": "x"}]}',
     '{"a": [{"b": "y"}, {"b": ["x"]}]}', '{"a\\u002Eb": "x"}',
     '{"z": "\\ud800", "a": {"b": "x"}}', '{"a": {"b": "x"}, "z": ' + "[" * 990 + "]" * 990 + "}"],
)  # fmt: skip
def test_a_field_is_found_however_the_detail_is_shaped(detail: str) -> None:
    rules = table(
        '{"detail": {"a": {"b": ["x"]}}}',
        '{"detail": {"a": {"b": ["n"]}}}',
        '{"detail": {"a": {"b": [{"exists": true}]}}}',
    )
    assert list(rules.match(event(detail))) == [0, 2]
    assert list(rules.match_json(envelope(event('{"a": {"b": "x"}}')))) == [0, 2]


def test_a_field_can_be_a_leaf_for_one_rule_and_an_object_for_another() -> None:
    rules = table(
        '{"detail": {"a": ["x"]}}',
        '{"detail": {"a": {"b": ["x"]}}}',
        '{"detail": {"a": [1.5]}}',
        '{"detail": {"a": {"b": [{"exists": false}]}}}',
    )
    assert list(rules.match(event('{"a": "x"}'))) == [0, 3]
    assert list(rules.match(event('{"a": ["x", {"b": "x"}]}'))) == [0, 1]
    assert list(rules.match(event('{"a": {"b": "x"}}'))) == [1]
    assert list(rules.match(event('{"a": 1.5}'))) == [2, 3]
    assert list(rules.match(event('{"a": [["x"]]}'))) == [0, 3]


def test_array_consistency_reaches_from_detail_to_its_arrays() -> None:
    rules = table('{"source": ["shop"], "detail": {"p": {"x": [1], "y": [2]}}}', '{"detail": {"p": {"x": [1]}}}')
    assert list(rules.match(event('{"p": [{"x": 1, "y": 9}, {"x": 9, "y": 2}]}'))) == [1]
    assert list(rules.match(event('{"p": [{"x": 1, "y": 2}]}'))) == [0, 1]


INVALID = [
    "", " ", "x", "[]", "1", "null", '"{}"', "{", "{}x", "{}{}", "{} {}",
    '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}',
    '{"a": 01}', '{"a": 1.}', '{"a": .5}', '{"a": +1}', '{"a": 1e}', '{"a": "\t"}', '{"a": "\\x"}',
    '{"a": tru}', '{"a": 1,}',
    "{'a': 1}", "\ufeff{}", '{"a": 1 /* c */}', '{"a": [1,]}', '{"a" 1}', '{"a": "\\u12g4"}',
    '{"a": ' + "[" * 1000 + "]" * 1000 + "}", '{"a": ' + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("detail", INVALID)
def test_a_detail_that_is_no_strict_json_object_is_malformed_whatever_the_rules_look_at(detail: str) -> None:
    for rules in (table(), table('{"source": ["shop"]}'), table('{"detail": {"a": [1]}}'), table('{"source": ["no"]}')):
        with pytest.raises(MalformedDetail):
            rules.match(event(detail))


@pytest.mark.parametrize("text", INVALID)
def test_an_event_that_is_no_strict_json_object_is_malformed(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(MalformedEvent):
            table('{"a": [1]}').match_json(given)


def test_bytes_that_are_no_utf_8_are_malformed() -> None:
    with pytest.raises(MalformedEvent):
        table('{"b": [1]}').match_json(b'{"a": "\xff"}')


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1E-999", "9" * 400, "9" * 5000, "0.1234567890123456789"])
def test_numbers_beyond_a_double_are_valid_and_match_by_their_text_only(number: str) -> None:
    rules = table(
        '{"detail": {"a": [{"exists": true}]}}',
        '{"detail": {"a": [{"numeric": ["<", 1e300]}]}}',
        f'{{"detail": {{"a": [{number}]}}}}',
    )
    assert list(rules.match(event(f'{{"a": {number}}}'))) == [0, 2]
    assert list(rules.match(event(f'{{"a": {number}1}}'))) == [0]
    assert list(table().match(event(f'{{"z": {number}}}'))) == []


def test_nesting_up_to_a_thousand_is_valid() -> None:
    rules = table('{"detail": {"b": [1]}}')
    assert list(rules.match(event('{"a": ' + "[" * 999 + "]" * 999 + ', "b": 1}'))) == [0]
    assert list(rules.match(event('{"a":' * 999 + "{}" + "}" * 998 + ', "b": 1}'))) == [0]


def test_an_empty_table_matches_nothing() -> None:
    assert list(table().match(event('{"a": 1}'))) == []
    assert list(table().match_json('{"a": 1}')) == []


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", 'q\\"q', "b\\\\b", "\\u0001", "\\ud800", "ключ", "a/b"])
def test_every_name_can_be_a_field(name: str) -> None:
    rules = table(f'{{"{name}": ["x"]}}', f'{{"k": {{"{name}": ["x"]}}}}', '{"k": {"z": ["x"]}}')
    assert list(rules.match_json(f'{{"{name}": "x"}}')) == [0]
    assert list(rules.match_json(f'{{"k": {{"{name}": "x"}}}}')) == [1]
    assert list(rules.match_json('{"k": {"z": "x"}}')) == [2]


def test_a_dotted_key_written_with_escapes_is_seen() -> None:
    assert matches(parse('{"ключ": {"b": [1]}}'), '{"\\u043aлюч.b": 1}')
    assert matches(parse('{"a/b": {"c": [1]}}'), '{"a\\/b.c": 1}')
    assert matches(parse('{"ab": {"c": [1]}}'), '{"\\u0061b.c": 1}')


def test_ten_thousand_rules_on_one_field_pick_the_right_ones() -> None:
    rules = RuleTable.build(
        [(n, parse(f'{{"a": ["v{n}", {{"numeric": [">=", {n}, "<", {n + 2}]}}]}}')) for n in range(10_000)]
    )
    assert list(rules.match_json('{"a": "v777"}')) == [777]
    assert list(rules.match_json('{"a": 5000}')) == [4999, 5000]
    assert list(rules.match_json('{"a": [5000.5, "v3"]}')) == [3, 4999, 5000]


def test_an_index_forgets_and_still_answers() -> None:
    rules = table('{"a": [{"prefix": "v1"}]}', '{"a": [{"anything-but": {"prefix": "v1"}}]}')
    for _ in range(2):
        for n in range(3000):
            assert list(rules.match_json(f'{{"a": "v{n}"}}')) == [0 if str(n).startswith("1") else 1]


def test_many_array_elements_bind_in_reasonable_time() -> None:
    elements = ", ".join(f'{{"x": {n}, "y": {n + 1}}}' for n in range(3000))
    pattern = '{{"p": {{"x": [{{"exists": true}}], "y": [{{"exists": true}}], "z": [{}]}}}}'
    assert matches(parse(pattern.format('{"exists": false}')), f'{{"p": [{elements}]}}')
    assert not matches(parse(pattern.format('{"exists": true}')), f'{{"p": [{elements}, {{"z": 1}}]}}')
