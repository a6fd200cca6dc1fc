"""What one event may cost, whatever it holds and whatever the rules are: counted in steps, not by the clock."""

import pytest

from router.core.event import Event
from router.core.pattern import Pattern, parse
from router.core.ruletable import MalformedEvent, RuleTable, matches
from router.core.ruletable_index import MEMO_BYTES_MAX, MEMO_ENTRIES_MAX, Steps
from router.core.ruletable_lookup import STEPS_MAX, TooManySteps
from router.core.ruletable_values import Paths, branch_matches, decode_object

RULE = """{"detail":{"$or":[
    {"a":{"b":[{"wildcard":"*%d*y*"}]}},
    {"a":{"c":["v%d"],"e":{"f":[{"prefix":"p%d"}]}}},
    {"a":{"c":["w%d"],"d":[{"exists":false}]}}
]}}"""
MEGABYTE = 1_000_000


def rules(count: int) -> list[tuple[int, Pattern]]:
    return [(n, parse(RULE % (n, n, n, n))) for n in range(count)]


@pytest.fixture(scope="module")
def table() -> RuleTable[int]:
    """A thousand rules with wildcards and `$or`."""
    return RuleTable.build(rules(1000))


def event(detail: str) -> Event:
    return Event("e-1", "t", "s", "111111111111", "2026-11-23T10:00:00Z", "us-east-1", (), detail)


def steps(table: RuleTable[int]) -> int:
    return STEPS_MAX - table._steps.left


def filled(start: str, element: str, end: str) -> str:
    """An array of numbered elements, a megabyte of them."""
    parts: list[str] = []
    size = 0
    while size < MEGABYTE:
        parts.append(element.replace("#", str(len(parts))))
        size += len(parts[-1]) + 1
    return start + ",".join(parts) + end


HOSTILE = {
    "one value many times": filled('{"a":[', '{"b":"zz"}', "]}"),
    "many values": filled('{"a":[', '{"c":"u#"}', "]}"),
    "arrays in arrays": filled('{"a":[', '[{"c":"v#"}]', "]}"),
    "deep arrays": filled('{"a":' + "[" * 900, '{"c":"v#"}', "]" * 900 + "}"),
    "arrays in objects in arrays": filled('{"a":[', '{"c":"v#","e":[{"f":"p#"},{"f":"x"}]}', "]}"),
    "what must not be there": filled('{"a":[', '{"c":"w#","d":#}', "]}"),
    "what must not be there and is not": filled('{"a":[', '{"c":"w#"}', "]}"),
    "keys with dots": filled('{"a":{', '"k#.x":1', "}}"),
    "one long string": '{"a":{"c":"' + "w" * MEGABYTE + '"}}',
    "scalars beside objects": filled('{"a":[', '1,{"c":"v#"}', "]}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_arrays_is_matched_in_fewer_steps_than_it_has_bytes(table: RuleTable[int], name: str) -> None:
    found = table.match(event(HOSTILE[name]))
    assert steps(table) < MEGABYTE
    alike = {"arrays in objects in arrays": 1000, "what must not be there and is not": 1000}
    assert len(found) == alike.get(name, 0)


def test_an_event_that_takes_more_steps_is_refused_with_what_was_expected(table: RuleTable[int]) -> None:
    many = filled('{"a":[', '{"b":"q#"}', "]}")
    with pytest.raises(TooManySteps, match=r"^expected an event that is matched in 1000000 steps, got one"):
        table.match(event(many))
    assert steps(table) < STEPS_MAX + 2000
    whole = f'{{"detail":{many}}}'
    with pytest.raises(MalformedEvent, match="expected an event that is matched in"):
        table.match_json(whole)
    assert table.match(event('{"a":{"c":"w7"}}')) == (7,)


def test_an_event_read_the_compiled_way_is_refused_too() -> None:
    wildcards = RuleTable.build(
        [(n, parse(f'{{"detail":{{"a":{{"b":[{{"wildcard":"*{n}*y*"}}]}}}}}}')) for n in range(100)]
    )
    detail = filled('{"a":[', '{"b":"q#"}', "]}")
    whole = f'{{"detail":{detail}}}'
    for _ in range(2):  # the first event of its kind, and one that is known
        with pytest.raises(MalformedEvent, match="expected an event that is matched in"):
            wildcards.match_json(whole)


def test_an_event_read_the_complete_way_is_refused_too(table: RuleTable[int]) -> None:
    many = filled('{"a.b":"x","a":[', '{"b":"q#"}', "]}")
    with pytest.raises(TooManySteps):
        table.match(event(many))
    with pytest.raises(MalformedEvent, match="expected an event that is matched in"):
        table.match_json(f'{{"detail":{many}}}')
    alternatives = ",".join(f'{{"a":{{"b":[{{"wildcard":"*{n}*y*"}}]}}}}' for n in range(100))
    with pytest.raises(MalformedEvent, match="expected an event that is matched in"):
        matches(parse(f'{{"detail":{{"$or":[{alternatives}]}}}}'), f'{{"detail":{many}}}')


def test_a_long_string_costs_wildcards_steps_by_its_length(table: RuleTable[int]) -> None:
    assert table.match(event('{"a":{"b":"' + "z" * 10_000 + '"}}')) == ()
    assert steps(table) > 1000 * 10_000 // 64
    with pytest.raises(TooManySteps):
        table.match(event('{"a":{"b":"' + "z" * MEGABYTE + '"}}'))


def test_what_must_not_be_in_deep_arrays_costs_steps_by_their_depth() -> None:
    def deep(levels: int) -> Event:
        elements = ",".join(['{"c":"x"}'] * 300)
        return event('{"a":' + "[{}," * levels + f'[{elements},{{"d":1}}]' + "]" * levels + "}")

    fields = '"a":{"c":["x"],"d":[{"exists":false}]}'
    one = RuleTable.build([(0, parse(f'{{"detail":{{{fields}}}}}'))])
    assert one.match(deep(40)) == (0,)
    assert steps(one) > 300 * 40
    rule = '{{"detail":{{{},"z{}":[{{"exists":false}}]}}}}'
    many = RuleTable.build([(n, parse(rule.format(fields, n))) for n in range(300)])
    for event_, table in ((deep(400), one), (deep(40), many)):
        with pytest.raises(TooManySteps):
            table.match(event_)


def test_a_plain_array_of_objects_is_no_matter_for_three_hundred_rules() -> None:
    objects = ",".join(f'{{"c":"x{n}","d":{n % 2}}}' for n in range(1600))
    rules = [
        (n, parse(f'{{"detail":{{"a":{{"c":["x{n}","y"],"d":[0],"e":[{{"exists":false}}]}}}}}}')) for n in range(300)
    ]
    table = RuleTable.build(rules)
    assert table.match(event(f'{{"a":[{objects}]}}')) == tuple(range(0, 300, 2))
    assert table.match(event(f'{{"a":[{objects},{{"e":1}}]}}')) == tuple(range(0, 300, 2))


def test_a_thousand_combinations_of_alternatives_are_one_rule_found_once() -> None:
    alternatives = ",".join(f'{{"f{n}":["x"]}}' for n in range(10))
    other = ",".join(f'{{"g{n}":["x"]}}' for n in range(10))
    third = ",".join(f'{{"h{n}":["x"]}}' for n in range(10))
    text = f'{{"detail":{{"$or":[{alternatives}],"x":{{"$or":[{other}],"y":{{"$or":[{third}]}}}}}}}}'
    table = RuleTable.build([("many", parse(text))])
    assert parse(text).combinations == 1000
    assert table.match(event('{"f9":"x","x":{"g9":"x","y":{"h9":"x"}}}')) == ("many",)
    assert table.match(event('{"f0":"x","f1":"x","x":{"g1":"x","g2":"x","y":{"h1":["x"],"h2":"x"}}}')) == ("many",)
    assert table.match(event('{"f9":"x","x":{"g9":"x","y":{"h9":"y"}}}')) == ()


def test_bindings_of_array_elements_are_counted() -> None:
    branch = parse('{"p":{"x":[{"exists":true}],"y":[{"exists":true}],"z":[{"exists":false}]}}').branches[0]
    elements = ",".join(f'[{{"x":{n},"y":{n}}},{{}}]' for n in range(2000))
    values = Paths({"p.x", "p.y", "p.z"}).values(decode_object(f'{{"p":[{elements},[{{"z":1}}]]}}'))
    steps = Steps()
    steps.left = STEPS_MAX
    with pytest.raises(TooManySteps, match="expected an event"):
        branch_matches(branch, values, steps)


def test_memos_stay_within_their_budget() -> None:
    table = RuleTable.build(
        [
            (n, parse(f'{{"source":["s{n % 400}"],"detail":{{"a":[{{"prefix":"x{n}"}}],"b":[{{"suffix":"y{n}"}}]}}}}'))
            for n in range(4000)
        ]
    )
    for n in range(130_000):
        table.match_json(f'{{"source":"s{n % 400}","detail":{{"a":"v{n}","b":"x{n % 4000}"}}}}')
    held = [
        len(node.index.memo)
        for bucket in table._base.buckets()
        for node in bucket.root.children["detail"].children.values()
        if node.index is not None
    ]
    assert max(held) <= MEMO_ENTRIES_MAX
    assert sum(held) * 160 <= MEMO_BYTES_MAX + 160 * len(held)
