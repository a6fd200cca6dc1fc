"""JSON paths: one table, run over decoded values and over JSON text."""

import json
from typing import Any

import pytest

from router.core.jsonpath import MISSING, InvalidPath, compile_path, get, get_json

VALUE = {
    "detail-type": "t",
    "a": {"b_1": {"c": 5}, "s": "x", "n": None, "x/y": 1, "odd key.": 2},
    "list": [{"k": 1}, {"k": [2, 3]}, {"z": 4}, "text"],
    "empty": [],
}
CASES: list[tuple[str, Any]] = [
    ("$", VALUE),
    ("$.detail-type", "t"),
    ("$.a.b_1.c", 5),
    ("$.a.n", None),
    ("$.a.x/y", 1),
    ("$['a']['odd key.']", 2),
    ("$.list[0].k", 1),
    ("$.list[3]", "text"),
    ("$.list[1].k[1]", 3),
    ("$.list[*].k", [1, [2, 3]]),
    ("$.list.*.k[0]", [2]),
    ("$.a.b_1.*", [5]),
    ("$.empty[*]", []),
    ("$.a.s[*]", []),
    ("$.a.n.*", []),
    ("$.list[4]", MISSING),
    ("$.list.k", MISSING),
    ("$.a[0]", MISSING),
    ("$.a.s.t", MISSING),
    ("$.nothing", MISSING),
    ("$.nothing[*].k", MISSING),
    ("$.nothing.more", MISSING),
]


@pytest.mark.parametrize(("path", "expected"), CASES)
def test_path_finds_it_in_a_value(path: str, expected: object) -> None:
    assert get(compile_path(path), VALUE) == expected


@pytest.mark.parametrize(("path", "expected"), CASES)
def test_path_finds_the_same_in_text(path: str, expected: object) -> None:
    found = get_json(compile_path(path), json.dumps(VALUE).encode())
    assert (found if found is MISSING else json.loads(found)) == expected


def test_text_found_is_the_text_sent() -> None:
    text = b'{"a":[1.10,{"n":123456789012345678901234567890}],"b":1e400}'
    assert get_json(compile_path("$.a[0]"), text) == b"1.10"
    assert get_json(compile_path("$.a.*"), text) == b'[1.10,{"n":123456789012345678901234567890}]'
    assert get_json(compile_path("$.b"), text) == b"1e400"


def test_last_of_duplicate_keys_wins() -> None:
    assert get_json(compile_path("$.a"), b'{"a":1,"a":2}') == b"2"


@pytest.mark.parametrize(
    "text", ["", "a", ".a", "$a", "$.", "$.a.", "$..a", "$.a b", "$[x]", "$[-1]", "$.a[", "$[?(@.a)]", "$['']", "$.ä"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidPath, match="JSON path"):
        compile_path(text)


def test_refusal_says_where() -> None:
    with pytest.raises(InvalidPath, match=r"at character 4 of JSON path '\$\.a\.\.b'"):
        compile_path("$.a..b")


def test_missing_is_falsy() -> None:
    assert not MISSING
