"""The event: its text as delivered and compacted."""

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.event import compact, has_long_integer, hop_id, message_event_id, trace_header


def test_compacting_takes_out_white_space_between_tokens_and_nothing_else() -> None:
    assert compact('{ "a" : [1, 1.50,\n"b c"],\t"a":1e2 }') == '{"a":[1,1.50,"b c"],"a":1e2}'
    assert compact('{"a":1}') == '{"a":1}'


@pytest.mark.parametrize("levels", [3000, 100_000])
def test_a_text_nested_too_deep_for_the_formatter_stays_as_it_is(levels: int) -> None:
    text = '{"a": ' + "[" * levels + "]" * levels + "}"
    assert compact(text) == text


_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"a":{_MAX}}}', False),
        (f'{{"a":{_MAX + 1}}}', True),
        (f'{{"a":{-_MAX - 1}}}', False),
        (f'{{"a":{-_MAX - 2}}}', True),
        (f'{{"a":[1,{{"b":{"9" * 5000}}}]}}', True),
        (f'{{"a":{_MAX + 1}.0}}', False),
        (f'{{"a":{_MAX + 1}e0,"b":1e0000000000000000000009,"c":1.{"9" * 30}}}', False),
        (f'{{"a":"{"9" * 30}","{"9" * 30}":1,"b":"\\"{"9" * 30}"}}', False),
        (f'{{"a":"\\\\","b":{"9" * 30}}}', True),
        (f'{{"a":"{"9" * 30}', False),
        (f'{{"a":"\\{"9" * 30}\\', False),
        (f'{{"é":"\ud800","b":{"9" * 30}}}', True),
        ('{"a":"1-----1-----1-----1"}', False),
        ('{"a":[1,   1,    1,    1,    1]}', False),
    ],
)
def test_whole_numbers_that_do_not_fit_64_bits_are_found(text: str, expected: bool) -> None:
    assert has_long_integer(text) is expected


_TREES = st.recursive(
    st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=25),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('9"\\', max_size=25), inner, max_size=4),
    max_leaves=10,
)


def _integers(tree: object) -> list[int]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        return [number for item in tree for number in _integers(item)]
    return [tree] if isinstance(tree, int) else []


@pytest.mark.parametrize("before", range(20))
def test_a_whole_number_just_too_long_is_found_at_every_place(before: int) -> None:
    assert has_long_integer(f'{{"{"k" * before}":{_MAX + 1}}}')


@given(_TREES, st.booleans())
def test_long_integers_are_found_wherever_they_stand(tree: object, ascii_only: bool) -> None:
    expected = any(not -_MAX - 1 <= number <= _MAX for number in _integers(tree))
    assert has_long_integer(json.dumps(tree, ensure_ascii=ascii_only)) is expected


def test_texts_that_do_not_end_are_looked_at_once() -> None:
    assert not has_long_integer('{"a":"' + '\\"' * 500_000 + "9" * 30)


_ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


@pytest.mark.parametrize(
    "text",
    [
        _ROOT,
        _ROOT.upper().replace("ROOT", "Root"),
        f"{_ROOT};Parent=53995c3f42cd8ad8;Sampled=1",
        f"{_ROOT};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5",
        f"Self=1-67891234-12456789abcdef012345678;{_ROOT};Sampled=?;",
        f"{_ROOT}; Parent=53995c3f42cd8ad8; Sampled=1",
    ],
)
def test_a_trace_header_stays_as_it_was_sent(text: str) -> None:
    assert trace_header(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ";", "x", "Sampled=1", "Root=", "Root=1-2-3", f"{_ROOT}0", f"root{_ROOT[4:]}", f"{_ROOT};;Sampled=1"),
        *(f"{_ROOT};Sampled=2", f"{_ROOT};Parent=1", f"{_ROOT};a", f"{_ROOT};a=\r\nX-Evil: 1", f"{_ROOT};a=é"),
        *(f"{_ROOT};a={'b' * 500}", f"{_ROOT};Root=1"),
    ],
)
def test_a_malformed_trace_header_is_dropped(text: str) -> None:
    assert trace_header(text) is None


@given(st.text(alphabet="a:é\n", max_size=20), st.text(alphabet="b-ü", max_size=20), st.integers(0, 999))
def test_ids_that_follow_from_others_are_uuids_of_version_5(first: str, second: str, number: int) -> None:
    space = uuid.UUID("b3a3e1b6-4f0c-5a4e-9f57-6d1f0c3f2c11")
    assert message_event_id(first, second, number) == str(uuid.uuid5(space, f"{first}\n{second}\n{number}"))
    assert hop_id(first, second, "t") == str(uuid.uuid5(space, f"{first}\n{second}\nt"))
