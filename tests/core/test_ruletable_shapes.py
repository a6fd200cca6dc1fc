"""Events and rules whose shape the compiled way has to leave to the complete one, or learns late."""

import sys
from collections.abc import Iterator

import pytest

from router.core.event import Event, envelope
from router.core.pattern import Pattern, parse
from router.core.ruletable import TAGGED_SOURCES_MAX, MalformedDetail, MalformedEvent, RuleTable
from router.core.ruletable_code import FIELDS_MAX
from router.core.ruletable_index import MEMO_ENTRIES_MAX, FieldIndex, Steps
from router.core.ruletable_values import NotAnObject, decode_object


def table(*patterns: str) -> RuleTable[int]:
    return RuleTable.build([(number, parse(pattern)) for number, pattern in enumerate(patterns)])


def event(detail: str, *, source: str = "shop", replay: str | None = None) -> Event:
    return Event("e-1", "t", source, "111111111111", "2026-11-23T10:00:00Z", "us-east-1", ("r",), detail, replay)


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """An interpreter that recurses further than events may be nested."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


# more fields than a Struct should have


@pytest.mark.parametrize("dotted", [False, True])
def test_rules_may_look_at_any_number_of_fields_of_one_object(dotted: bool) -> None:
    beyond = '{"y":["x"]}' if dotted else '["x"]'
    rules = table(*(f'{{"source":["shop"],"detail":{{"f{n}":{beyond}}}}}' for n in range(FIELDS_MAX + 1)))
    detail = '{"f7":{"y":"x"},"f512":{"y":"x"}}' if dotted else '{"f7":"x","f512":"x"}'
    assert rules.match(event(detail)) == (7, 512)
    assert rules.match_json(envelope(event(detail))) == (7, 512)
    assert rules.match_json(envelope(event(detail, source="bank"))) == ()
    with pytest.raises(MalformedDetail):
        rules.match(event("[]"))


def test_rules_of_any_source_may_look_at_any_number_of_fields() -> None:
    rules = table(*(f'{{"f{n}":["x"]}}' for n in range(FIELDS_MAX + 1)))
    assert rules.match_json('{"f7":"x","f512":"x"}') == (7, 512)
    assert rules.match(event('{"f7":"x"}')) == ()
    with pytest.raises(MalformedEvent):
        rules.match_json("[]")


def test_whole_events_may_have_more_fields_in_use_than_their_details() -> None:
    many = [f'{{"f{n}":["x"],"source":["shop"]}}' for n in range(FIELDS_MAX + 1)]
    rules = table('{"detail":{"a":["x"]}}', *many)
    assert rules.match(event('{"a":"x"}')) == (0,)
    assert rules.match_json('{"source":"shop","f7":"x","detail":{"a":"x"}}') == (8, 0)
    assert rules.match_json('{"source":"bank","f7":"x","detail":{"a":"x"}}') == (0,)


# sources


def test_any_number_of_sources_is_told_apart() -> None:
    count = TAGGED_SOURCES_MAX + 20
    rules = table(*(f'{{"source":["s{n}"],"detail":{{"a":["x"]}}}}' for n in range(count)), '{"detail":{"a":["x"]}}')
    for n in (*range(count), 0, count - 1):
        assert rules.match_json(f'{{"source":"s{n}","detail":{{"a":"x"}}}}') == (n, count)
        assert rules.match_json(f'{{"source":"t{n}","detail":{{"a":"x"}}}}') == (count,)
    assert rules.match_json('{"detail":{"a":"x"}}') == (count,)


@pytest.mark.parametrize("source", ["\ue000 nobody", "\ue000 nobody else", "", "ключ", 'q"\\'])
def test_every_text_can_be_a_source(source: str) -> None:
    quoted = '"' + source.replace("\\", "\\\\").replace('"', '\\"') + '"'
    rules = table(f'{{"source":[{quoted}]}}', '{"source":["shop"]}')
    for _ in range(2):
        assert rules.match_json(f'{{"source":{quoted}}}') == (0,)
        assert rules.match_json('{"source":"shop"}') == (1,)


def test_a_source_that_is_no_text_is_matched_like_any_field() -> None:
    rules = table('{"source":["shop"]}', '{"source":["bank"]}', '{"source":[1]}', '{"source":{"x":[1]}}')
    assert sorted(rules.match_json('{"source":["bank",["shop"]]}')) == [0, 1]
    assert rules.match_json('{"source":1}') == (2,)
    assert rules.match_json('{"source":{"x":1}}') == (3,)
    assert rules.match_json('{"source":"shop","source.x":1}') == (0, 3)


def test_rules_with_many_literal_sources_are_found_by_each() -> None:
    sources = ",".join(f'"s{n}"' for n in range(40))
    rules = table(f'{{"source":[{sources}],"detail":{{"a":[1]}}}}', '{"source":["s7",{"prefix":"t"}]}')
    assert rules.match(event('{"a":1}', source="s39")) == (0,)
    assert rules.match(event('{"a":1}', source="s7")) == (0, 1)
    assert rules.match_json('{"source":"t1","detail":{"a":1}}') == (1,)


# nesting


@pytest.mark.parametrize("levels", [999, 1000, 1001, 3000])
@pytest.mark.parametrize("shape", ["[", '{"a":'])
def test_nesting_is_bounded_however_far_the_interpreter_recurses(deep_stack: None, levels: int, shape: str) -> None:
    inside = "1" if shape == "[" else "{}"
    close = "]" if shape == "[" else "}"
    around = levels - 1 if shape == "[" else levels - 2
    text = '{"b":"x","a":' + shape * around + inside + close * around + "}"
    rules = table('{"detail":{"b":["x"]}}', '{"b":["x"]}')
    if levels <= 1000:
        assert rules.match(event(text)) == (0,)
        assert rules.match_json(text) == (1,)
        return
    with pytest.raises(MalformedDetail, match="nesting up to 1000"):
        rules.match(event(text))
    with pytest.raises(MalformedEvent, match="nesting up to 1000"):
        rules.match_json(text)


@pytest.mark.parametrize(
    "text", ["[" * 1200 + "]" * 1200, '{"a":' * 1100 + "1" + "}" * 1100, '{"a":' + "[" * 1200, '{"a":"\\x' + "[" * 1200]
)
def test_what_is_nested_too_deep_is_refused_without_recursion(text: str) -> None:
    with pytest.raises(NotAnObject):
        decode_object(text)


def test_an_object_nested_as_deep_as_may_be_is_read_with_all_kinds_of_values() -> None:
    inner = '{"b":[1,1.5,"x",true,false,null,1e400]}'
    decoded = decode_object('{"a":' + "[" * 997 + inner + "]" * 997 + "}")
    value = decoded["a"]
    for _ in range(997):
        (value,) = value
    assert [repr(one) for one in value["b"][:6]] == ["1.0", "1.5", "'x'", "True", "False", "None"]
    with pytest.raises(NotAnObject, match="more behind it"):
        decode_object('{"a":' + "[" * 990 + "]" * 990 + "} {}")
    with pytest.raises(NotAnObject, match="strict JSON"):
        decode_object('{"a":' + "[" * 998 + "x" + "]" * 998 + "}")


# values


def test_a_replayed_event_that_is_read_completely_has_its_replay_name() -> None:
    rules = table('{"replay-name":["monday"],"detail":{"a":{"b":[1]}}}', '{"replay-name":[{"exists":false}]}')
    replayed = event('{"a.b":1}', replay="monday")
    assert rules.match(replayed) == rules.match_json(envelope(replayed)) == (0,)
    assert rules.match(event('{"a.b":1}')) == (1,)


def test_a_rule_for_one_replay_does_not_see_what_is_no_replay() -> None:
    rules = table('{"source":["shop"],"replay-name":["monday"]}', '{"source":["shop"]}')
    for name, expected in (("monday", (0, 1)), ("tuesday", (1,)), (None, (1,))):
        one = event("{}", replay=name)
        assert rules.match(one) == rules.match_json(envelope(one)) == expected
    only = table('{"source":["shop"],"replay-name":["monday"]}')
    assert [only.match(event("{}", replay=name)) for name in ("monday", "tuesday", None)] == [(0,), (), ()]


def test_only_known_envelope_fields_are_there_in_the_hub() -> None:
    fields = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "replay-name", "x")
    present = table(*(f'{{"{name}":[{{"exists":true}}]}}' for name in fields))
    only = table(*(f'{{"source":["shop"],"{name}":["no"]}}' for name in fields if name != "source"))
    for replay in (None, "monday"):
        one = event("{}", replay=replay)
        assert present.match(one) == present.match_json(envelope(one))
        assert only.match(one) == only.match_json(envelope(one)) == ()


NUMBERS = (
    '{"detail":{"p":{"x":[{"numeric":["<",2]}]}}}',
    '{"detail":{"p":{"x":[{"numeric":["=",2.5]}]}}}',
    '{"detail":{"p":{"x":[{"numeric":[">",9,"<=",10.5]}]}}}',
    '{"detail":{"p":{"x":[1e400]}}}',
    '{"detail":{"p":{"x":[{"anything-but":[2.5]},{"anything-but":["y"]}]}}}',
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["3.5", "2.5", "4.5"], (1, 4)),
        (["10.5", "9.5", "9.25", "9.0"], (2, 4)),
        (["1.5", "10.50", "2.500"], (0, 1, 2, 4)),
        (["1e400", "3.5", "4.5"], (3, 4)),
        (["0.12345678901234567890", "3.5", "2.5"], (1, 4)),
        (["-1e400", "3.5", "4.5"], (4,)),
        (["3.5", "2", "4.5", '"y"'], (4,)),
    ],
)
def test_numbers_in_arrays_count_by_their_texts(values: list[str], expected: tuple[int, ...]) -> None:
    objects = ",".join(f'{{"x":{value}}}' for value in values)
    assert table(*NUMBERS).match(event(f'{{"p":[{objects}]}}')) == expected
    assert table(*NUMBERS).match(event(f'{{"p":{{"x":[{",".join(values)}]}}}}')) == expected
    assert table(*NUMBERS).match(event(f'{{"p.x":[{",".join(values)}]}}')) == expected


def test_numbers_in_arrays_are_held_against_what_is_excluded() -> None:
    rules = table(
        '{"detail":{"p":{"x":[{"anything-but":[2.5,3.5,4.5]}]}}}', '{"detail":{"p":{"x":[{"exists":false}]}}}'
    )
    assert rules.match(event('{"p":[{"x":2.5},{"x":3.5},{"x":4.5}]}')) == ()
    assert rules.match(event('{"p":[{"x":2.5},{"x":3.5},{"x":5.5}]}')) == (0,)
    assert rules.match(event('{"p":[{"y":2.5}]}')) == (1,)


def test_an_endless_exponent_is_a_number_of_its_own() -> None:
    text = "1e-" + "9" * 30
    rules = table(f'{{"a":[{text}]}}', '{"a":[0]}')
    assert rules.match_json(f'{{"a":{text}}}') == (0,)
    assert rules.match_json('{"a":0.0}') == (1,)


def test_a_value_for_one_rule_and_an_object_for_another_source_do_not_get_in_each_other_s_way() -> None:
    rules = table(
        '{"detail":{"b":{"c":["x"]}}}',
        '{"source":["shop"],"detail":{"b":["x"]}}',
        '{"source":["shop"],"detail":{"p":{"b":["x"]}}}',
        '{"detail":{"p":{"b":{"c":["x"]}}}}',
    )
    assert rules.match(event('{"b":{"c":"x"}}')) == (0,)
    assert rules.match(event('{"b":"x"}')) == (1,)
    assert sorted(rules.match(event('{"b":["x",{"c":"x"}]}'))) == [0, 1]
    assert rules.match(event('{"b":[1.5]}')) == ()
    assert sorted(rules.match(event('{"p":[{"b":"x"},{"b":{"c":"x"}}]}'))) == [2, 3]
    assert rules.match(event('{"p":[{"b":1.5}]}')) == ()


# memory


def test_a_memo_forgets_and_still_answers() -> None:
    rules = table('{"a":[{"prefix":"v1"}]}')
    for n in range(MEMO_ENTRIES_MAX + 100):
        for _ in range(2):
            assert rules.match_json(f'{{"a":"v{n}"}}') == ((0,) if str(n).startswith("1") else ())
    node = rules._base.any_source
    assert node is not None
    index = node.root.children["a"].index
    assert index is not None
    assert 0 < len(index.memo) <= MEMO_ENTRIES_MAX


def index_of(steps: Steps, *patterns: str) -> FieldIndex:
    parsed: list[Pattern] = [parse(pattern) for pattern in patterns]
    index = FieldIndex(steps)
    everything = (1 << len(parsed)) - 1
    for _ in index.fill([(row, one.branches[0][0].tests) for row, one in enumerate(parsed)], everything):
        pass
    return index


def test_all_memos_start_anew_when_they_have_taken_too_much() -> None:
    steps = Steps()
    steps.left = 100
    first, second = (index_of(steps, '{"a":[{"prefix":"v"}]}') for _ in range(2))
    assert (first.memo["v"], first.memo["v"], first.memo["v"]) == (1, 1, 1)
    assert "v" in first.memo
    steps.memo_bytes_left = 0
    assert (second.memo["v"], second.memo["v"]) == (1, 1)
    assert "v" not in first.memo


def test_memos_of_tables_that_are_gone_are_not_kept() -> None:
    steps = Steps()
    kept = [index_of(steps, '{"a":[{"prefix":"v"}]}') for _ in range(3)]
    for _ in range(500):
        index_of(steps, '{"a":[{"prefix":"v"}]}')
    assert len(steps._memos) < 100
    alive = {id(watched()) for watched in steps._memos}
    assert all(id(index.memo) in alive for index in kept)


def test_results_are_forgotten_and_found_again() -> None:
    rules = table(*(f'{{"a":["v{n}"]}}' for n in range(12)))
    for number in range(3000):
        wanted = tuple(n for n in range(12) if number >> n & 1)
        values = ",".join(f'"v{n}"' for n in wanted)
        assert rules.match_json(f'{{"a":[{values}]}}') == wanted


# each way to look a value up


def test_ignoring_case_goes_character_by_character_also_beyond_ascii() -> None:
    rules = table(
        '{"a":[{"equals-ignore-case":"Ab😀É"}]}',
        '{"a":[{"prefix":{"equals-ignore-case":"aB"}}]}',
        '{"a":[{"suffix":{"equals-ignore-case":"Yz"}}]}',
        '{"a":[{"prefix":{"equals-ignore-case":"é"}}]}',
    )
    assert rules.match_json('{"a":"aB😀é"}') == (0, 1)
    assert rules.match_json('{"a":"ABéyZ"}') == (1, 2)
    assert rules.match_json('{"a":"ÉÉyZ"}') == (2, 3)
    assert rules.match_json('{"a":"éYéZ"}') == (3,)
    assert rules.match_json('{"a":"AByz"}') == (1, 2)


def test_ranges_of_one_rule_may_lie_within_each_other() -> None:
    rules = table('{"a":[{"numeric":[">",1,"<",10]},{"numeric":[">",2,"<",5]},{"numeric":[">=",10,"<",11]}]}')
    assert [len(rules.match_json(f'{{"a":{number}}}')) for number in (1, 1.5, 3, 7, 10, 11)] == [0, 1, 1, 1, 1, 0]


def test_a_value_that_a_few_of_very_many_rules_ask_for_is_found_for_each() -> None:
    rules = table(*(f'{{"a":["v{n // 3}",{{"prefix":"p{n // 3}-"}}]}}' for n in range(1500)))
    assert rules.match_json('{"a":"v400"}') == (1200, 1201, 1202)
    assert rules.match_json('{"a":"p400-x"}') == (1200, 1201, 1202)


def test_arrays_among_objects_are_read_completely() -> None:
    rules = table('{"detail":{"p":{"x":[1],"y":[2]}}}', '{"source":["shop",{"prefix":"z"}]}')
    assert rules.match(event('{"p":[{"x":1},[{"x":1,"y":2}]]}')) == (0, 1)
    assert rules.match_json('{"source":[1,"shop"],"detail":{"p":[{"x":1},[{"y":2}]]}}') == (1,)
    excluding = table('{"detail":{"p":{"x":[{"anything-but":[2.5,3.5,4.5]}]}}}')
    assert excluding.match(event('{"p":[{"x":2.5},{"x":3.5},{"x":4.5}]}')) == ()
    assert excluding.match(event('{"p":[{"x":2.5},{"x":3.5},{"x":5.5}]}')) == (0,)
