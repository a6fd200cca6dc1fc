"""Queries against a plain evaluation in Python, and any text at all against the language and the database."""

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.simulator.insights.sql import translate
from router.simulator.insights.syntax import MalformedQuery
from router.simulator.insights.wire import Broken, Done
from tests.simulator.insights.asking import ask, rows

TEXTS = st.sampled_from(
    ["", "a", "B", "ab", "a10", "a9", "10", "9", "-1", "1.5", "01", "é", "a b", "'", '"', "/x", "\\"]
)
VALUES = TEXTS | st.integers(-20, 20) | st.sampled_from([0.5, -2.25, 1e3]) | st.booleans() | st.none()
EVENTS = st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3), max_size=8)
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
CONDITIONS = st.recursive(
    st.tuples(st.sampled_from(OPERATORS), st.sampled_from("xyz"), TEXTS | st.integers(-20, 20))
    | st.tuples(st.just("like"), st.sampled_from("xyz"), TEXTS)
    | st.tuples(st.just("in"), st.sampled_from("xyz"), st.lists(TEXTS | st.integers(-20, 20), min_size=1, max_size=3)),
    lambda inner: st.tuples(st.sampled_from(("and", "or")), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=5,
)


def literal(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def written(condition: Any) -> str:
    match condition:
        case ("and" | "or" as operator, left, right):
            return f"({written(left)} {operator} {written(right)})"
        case ("not", inner):
            return f"not {written(inner)}"
        case ("in", field, items):
            return f"{field} in [{', '.join(map(literal, items))}]"
        case (operator, field, value):
            return f"{field} {operator} {literal(value)}"
        case _:
            raise AssertionError(condition)


def shown(value: object) -> str | None:
    """A JSON value as a field."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, bool) else str(value)


def number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.I) else None


def compared(operator: str, left: str | None, right: str) -> bool:
    if left is None:
        return False
    a, b = number(left), number(right)
    one, other = (a, b) if a is not None and b is not None else (left, right)
    return {"=": one == other, "<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator]  # type: ignore[operator]


def holds(condition: Any, event: dict[str, Any]) -> bool:
    match condition:
        case ("and", left, right):
            return holds(left, event) and holds(right, event)
        case ("or", left, right):
            return holds(left, event) or holds(right, event)
        case ("not", inner):
            return not holds(inner, event)
        case ("in", field, items):
            return any(holds(("=", field, item), event) for item in items)
        case ("like", field, text):
            return text in (shown(event.get(field)) or "") and event.get(field) is not None
        case ("!=", field, value):
            return not holds(("=", field, value), event)
        case (operator, field, value):
            left = shown(event.get(field))
            if not isinstance(value, str) and number(left) is None:
                return False
            return compared(operator, left, str(value))
        case _:
            raise AssertionError(condition)


@settings(max_examples=40)
@given(EVENTS, CONDITIONS)
@example([{"x": "a"}], ("<", "x", 3))
def test_filter_is_what_a_plain_evaluation_says(events: list[dict[str, Any]], condition: Any) -> None:
    found = rows(f"filter {written(condition)} | fields toMillis(@timestamp) as t | sort t", events)
    wanted = [index for index, event in enumerate(events) if holds(condition, event)]
    assert [(int(row["t"]) // 1000) % 100 for row in found] == wanted


def natural(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return (0,)
    value = number(text)
    if value is not None:
        return (2, value, text)
    chunks = re.findall("[0-9]+|[^0-9]+", text)
    return (1, [("0", len(chunk), chunk) if chunk[0] in "0123456789" else (chunk, 0, "") for chunk in chunks])


@settings(max_examples=30)
@given(EVENTS, st.booleans(), st.integers(1, 5))
def test_sort_and_limit_are_what_a_plain_sort_says(events: list[dict[str, Any]], descending: bool, limit: int) -> None:
    text = f"fields x, toMillis(@timestamp) as t | sort x {'desc' if descending else 'asc'} | limit {limit}"
    found = [(int(row["t"]) // 1000) % 100 for row in rows(text, events)]
    newest_first = range(len(events) - 1, -1, -1)
    wanted = sorted(newest_first, key=lambda index: natural(shown(events[index].get("x"))), reverse=descending)
    if descending:  # among equals the newest stays first
        keys = {index: natural(shown(events[index].get("x"))) for index in newest_first}
        wanted = sorted(newest_first, key=lambda index: keys[index], reverse=True)
    assert found == wanted[:limit]


@settings(max_examples=20)
@given(EVENTS)
def test_stats_are_what_a_plain_count_says(events: list[dict[str, Any]]) -> None:
    groups: dict[str | None, list[float]] = {}
    for event in events:
        value = number(shown(event.get("y")))
        groups.setdefault(shown(event.get("x")), []).extend([] if value is None else [value])
    found = rows("stats count(*) as n, count(y) as c, sum(y) as s, max(y + 0) as m by x", events)
    assert {row.get("x"): float(row["m"]) for row in found if "m" in row} == {
        group: max(values) for group, values in groups.items() if values
    }
    assert {row.get("x"): float(row["s"]) for row in found if "s" in row} == {
        group: sum(values) for group, values in groups.items() if values
    }
    assert sum(int(row["n"]) for row in found) == len(events)


WORDS = st.sampled_from(
    "fields filter stats sort limit dedup parse display | , ( ) [ ] = != < <= > >= =~ + - * / % ^ and or not in "
    "like as by asc desc x y.z @timestamp @message `a-b` count(*) sum(x) avg( pct(x,5) bin(5m) datefloor( abs( concat( "
    "ispresent( 1 2.5 5m 'a*' \"b\" /x(?<n>y)/ /[/ # \n true .0 [0] @ ~ ; ' \" ` \\ $1 é".split(" ")
)
FRAGMENTS = st.sampled_from(
    [
        "fields x, y.z as w", "filter x > 1 and y like 'a'", "filter x in [1, 'b'] or not ispresent(y)",
        "sort x desc, y",
        "stats count(*) as n, sum(x) by y, bin(1m)", "limit 3", "dedup x, y", "parse @message 'a*b' as q",
        "display x, n",
        "parse x /(?<g>.*)/", "fields abs(x) + 1", "stats max(n), latest(x) by q", "filter g != x", "sort count(*)",
        "stats avg(x) - min(y) by datefloor(@timestamp, 1h)", "fields bin(1d), toMillis(@timestamp) % 7, x < y",
        "filter coalesce(x, y, 'z') =~ /(?i)a|b/", "fields substr(x, y, 2), trim(x, y), replace(x, y, 'r')",
        "stats pct(x, 99.9), stddev(y), median(x), count_distinct(x), sortsFirst(y), earliest(x) by x = 1",
        "filter isIpv4InSubnet(x, '10.0.0.0/8') or isValidIp(y)", "fields @ptr, @log, greatest(x, y), dateceil(x, 1mo)",
    ]
)  # fmt: skip


def refusal(text: str) -> MalformedQuery | None:
    try:
        translate(text)
    except MalformedQuery as error:
        return error
    return None


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_query_or_refused_with_its_place(text: str) -> None:
    error = refusal(text)
    if error is not None:
        assert 0 <= error.start <= error.end <= len(text)
        assert error.message


@settings(max_examples=60)
@given(st.lists(FRAGMENTS, min_size=1, max_size=5).map(" | ".join), EVENTS)
def test_any_query_that_is_taken_is_answered(text: str, events: list[dict[str, Any]]) -> None:
    if refusal(text) is not None:
        return
    found, end = ask(text, [*events, "plain", '{"broken'])
    assert isinstance(end, Done), end
    assert not isinstance(end, Broken)
    assert end.matched <= end.scanned == len(events) + 2
    assert len(found) <= 10_000
