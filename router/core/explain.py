"""Why an event matches a pattern or does not: for every field what was expected, what was there, which test failed.

`explain` looks at one pattern, `NearestRule` at many, of which it keeps the one that an event comes nearest to. The
verdict is that of `branch_matches`; what is said beside it (near misses, where a path stops) helps people and decides
nothing. Every text and every list is bounded, whatever the event holds: values by `GOT_MAX`, the search for near misses
by `VISITS_MAX` places. Of the branches that `$or` makes, the nearest one is explained whole; the fields that stand in
other branches only follow after it.

An event is the text of one JSON object; it need not have an envelope. ValueError is raised for other text (as
NotAnObject) and for an event that takes more steps to match than one may take.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

import msgspec

from router.core.operators import Absent, Constant, Number, Prefix, Range, Suffix, Test, Text, Value, number
from router.core.pattern import Branch, Field, Pattern
from router.core.pattern_text import expected, joined, one_of, quoted, readable, shown
from router.core.ruletable_values import Paths, Values, branch_matches, decode_object

GOT_MAX = 5
"""Values of a field that are shown; their count is given."""
VISITS_MAX = 10_000
_SUMMARY_FIELDS_MAX = 3
_SUMMARY_VALUES_MAX = 3
_PAIRED_FIELDS_MAX = 20
_ON_EVERY_BUS = ("id", "detail-type", "source", "account", "time", "region", "detail")
_number_text = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?").fullmatch


class Expectation(msgspec.Struct, frozen=True):
    """One test of a field in readable words, and whether it holds."""

    test: str
    holds: bool


class ExplainedField(msgspec.Struct, frozen=True):
    """One field of the pattern beside what the event has there. Of `expected`, one must hold; `got` is JSON text."""

    path: str
    holds: bool
    expected: tuple[Expectation, ...]
    got: tuple[str, ...]
    got_count: int
    note: str | None = None


class Explanation(msgspec.Struct, frozen=True):
    """`fields` are those of the nearest of the pattern's `branches`, `other_fields` stand in other branches only.

    `note` says why a branch does not match though each of its fields holds; `hints` are about the event as a whole.
    """

    matched: bool
    summary: str
    branches: int
    fields: tuple[ExplainedField, ...]
    note: str | None
    other_fields: tuple[ExplainedField, ...]
    hints: tuple[str, ...]

    @property
    def failing(self) -> int:
        return sum(not field.holds for field in self.fields)


class Nearest(msgspec.Struct, frozen=True):
    """The rule that an event comes nearest to. `failing` counts the fields that do not hold."""

    rule: str
    failing: int
    summary: str
    explanation: Explanation


class Distance(msgspec.Struct, frozen=True, order=True):
    """How far an event is from a pattern; the smaller, the nearer."""

    unmatched: bool
    failing: int
    minus_holding: int


class _Judged(msgspec.Struct, frozen=True):
    """A branch with the verdict on each of its fields."""

    branch: Branch
    holds: tuple[bool, ...]
    distance: Distance


def explain(pattern: Pattern, event_text: str) -> Explanation:
    """See the module's contract. Raises ValueError."""
    return explain_object(pattern, decode_object(event_text))


def explain_object(pattern: Pattern, event: Mapping[str, Any]) -> Explanation:
    """The same for an event that `decode_object` gave."""
    values = paths_of(pattern).values(event)
    nearest = _nearest_branch(pattern, values)
    matched = not nearest.distance.unmatched
    fields = tuple(
        _explained(field, values, event, holds=holds)
        for field, holds in zip(nearest.branch, nearest.holds, strict=True)
    )
    note = None if matched or nearest.distance.failing else _inconsistency(nearest.branch, values, event)
    return Explanation(
        matched=matched,
        summary="matches" if matched else note or _differences(nearest, fields),
        branches=len(pattern.branches),
        fields=fields,
        note=note,
        other_fields=tuple(
            _explained(field, values, event, holds=branch_matches((field,), values))
            for field in _other_fields(pattern, nearest.branch)
        ),
        hints=tuple(_hints(event)),
    )


class NearestRule:
    """Offered rules one by one, so that a caller may do other work in between; keeps the nearest."""

    def __init__(self, event_text: str) -> None:
        """Raises NotAnObject."""
        self._event = decode_object(event_text)
        self._best: tuple[Distance, str, Pattern] | None = None

    def offer(self, rule: str, pattern: Pattern) -> bool:
        """Whether the rule's pattern matches the event. Raises ValueError where that takes too many steps."""
        distance = distance_of(pattern, paths_of(pattern).values(self._event))
        if self._best is None or distance < self._best[0]:
            self._best = (distance, rule, pattern)
        return not distance.unmatched

    def nearest(self) -> Nearest | None:
        """Fewest failing fields, then most holding ones, then offered first; None when nothing was offered."""
        if self._best is None:
            return None
        _, rule, pattern = self._best
        explanation = explain_object(pattern, self._event)
        return Nearest(rule, explanation.failing, explanation.summary, explanation)


def nearest(rules: Iterable[tuple[str, Pattern]], event_text: str) -> Nearest | None:
    """The nearest of some rules; a rule that matches is nearer than all that do not. Raises ValueError."""
    search = NearestRule(event_text)
    for rule, pattern in rules:
        search.offer(rule, pattern)
    return search.nearest()


def paths_of(pattern: Pattern) -> Paths:
    return Paths({field.path for branch in pattern.branches for field in branch})


def distance_of(pattern: Pattern, values: Values) -> Distance:
    """How far the event with these values is from the pattern's nearest branch."""
    return _nearest_branch(pattern, values).distance


# branches


def _nearest_branch(pattern: Pattern, values: Values) -> _Judged:
    alone: dict[tuple[str, int], bool] = {}
    return min((_judged(branch, values, alone) for branch in pattern.branches), key=lambda judged: judged.distance)


def _judged(branch: Branch, values: Values, alone: dict[tuple[str, int], bool]) -> _Judged:
    """`alone` keeps the verdict on a field by itself, for all branches that share it."""
    if branch_matches(branch, values):
        return _Judged(branch, (True,) * len(branch), Distance(False, 0, -len(branch)))
    holds = []
    for field in branch:
        key = (field.path, id(field.tests))
        if key not in alone:
            alone[key] = branch_matches((field,), values)
        holds.append(alone[key])
    if not all(holds) and any(_may_be_absent(field) for field in branch):
        holds = _absent_among_others(branch, values, holds)
    failing = holds.count(False)
    return _Judged(branch, tuple(holds), Distance(True, failing, failing - len(branch)))


def _may_be_absent(field: Field) -> bool:
    return any(type(test) is Absent for test in field.tests)


def _absent_among_others(branch: Branch, values: Values, holds: list[bool]) -> list[bool]:
    """In an array, a field is absent from the element that the other fields are satisfied by: ask with those."""
    again = [held or _may_be_absent(field) for field, held in zip(branch, holds, strict=True)]
    kept = tuple(field for field, held in zip(branch, again, strict=True) if held)
    return again if branch_matches(kept, values) else holds


def _other_fields(pattern: Pattern, shown_branch: Branch) -> list[Field]:
    seen = {(field.path, id(field.tests)) for field in shown_branch}
    others = {
        (field.path, id(field.tests)): field
        for branch in pattern.branches
        for field in branch
        if (field.path, id(field.tests)) not in seen
    }
    return list(others.values())


def _inconsistency(branch: Branch, values: Values, event: Mapping[str, Any]) -> str:
    """Each field holds, but in different elements of an array: which fields, and which array."""
    placed = [field for field in branch if any(place for _, place in values.get(field.path, ()))]
    apart = next(
        (list(pair) for pair in combinations(placed[:_PAIRED_FIELDS_MAX], 2) if not branch_matches(pair, values)),
        placed,
    )
    sharing: dict[str, int] = {}
    for field in apart:
        for array in {visit.where for visit in _visits(event, field.path) if type(visit.node) is list}:
            sharing[array] = sharing.get(array, 0) + 1
    array = max(sharing, key=lambda where: (sharing[where], len(where)))
    satisfied = [f"{readable(field.path)} ({one_of(field.tests)})" for field in apart]
    both = "both" if len(satisfied) == 2 else "all of"
    return f"no single element of {readable(array)} satisfies {both} {joined(satisfied)}"


# fields


def _explained(field: Field, values: Values, event: Mapping[str, Any], *, holds: bool) -> ExplainedField:
    here = values.get(field.path, ())
    first = _first_values(event, field.path) or [value for value, _ in here[:GOT_MAX]]
    satisfied = [any(test.holds(value) for value, _ in here) for test in field.tests]
    by_absence = holds and not any(satisfied)
    if holds:
        note = None
    elif here:
        note = _near_value(field.tests, first)
    else:
        note = _near_path(event, field.path)
    return ExplainedField(
        path=field.path.encode("utf-8", "backslashreplace").decode(),
        holds=holds,
        expected=tuple(
            Expectation(expected(test), held or (by_absence and type(test) is Absent))
            for test, held in zip(field.tests, satisfied, strict=True)
        ),
        got=tuple(map(shown, first)),
        got_count=len(here),
        note=note,
    )


def _first_values(event: Mapping[str, Any], path: str) -> list[Value]:
    """In the order of the event's text."""
    found = (
        visit.node for visit in _visits(event, path) if visit.rest is None and type(visit.node) not in (dict, list)
    )
    return list(islice(found, GOT_MAX))


def _differences(judged: _Judged, fields: Sequence[ExplainedField]) -> str:
    differing = [(field, seen) for field, seen in zip(judged.branch, fields, strict=True) if not seen.holds]
    texts = [
        f"in {readable(field.path)}: expected {one_of(field.tests)}, got {got_text(seen)}"
        + (f" ({seen.note})" if seen.note else "")
        for field, seen in differing[:_SUMMARY_FIELDS_MAX]
    ]
    more = len(differing) - len(texts)
    return "differs " + "; ".join(texts) + (f"; and in {more} more" if more else "")


def got_text(field: ExplainedField) -> str:
    """What the event has at a field, in a few words."""
    if not field.got:
        return "nothing"
    text = ", ".join(field.got[:_SUMMARY_VALUES_MAX])
    more = field.got_count - min(len(field.got), _SUMMARY_VALUES_MAX)
    return f"{text} and {more} more" if more else text


def _near_value(tests: Sequence[Test], values: Sequence[Value]) -> str | None:
    """What an event's value would need to hold, where that is little."""
    return next((note for value in values for note in _near_misses(tests, value)), None)


def _near_misses(tests: Sequence[Test], value: Value) -> Iterator[str]:
    literals = [test.text for test in tests if isinstance(test, Text)]
    if not isinstance(value, str):
        text = shown(value)
        if text in literals:
            yield f"the event has {text}, the pattern the text {quoted(text)}"
        return
    trimmed = value.strip()
    if trimmed != value and any(test.holds(trimmed) for test in tests):
        yield "the event's value has white space around it"
    for literal in literals:
        if literal.strip() == trimmed and literal != literal.strip():
            yield "the pattern's value has white space around it"
    if any(_holds_in_another_case(test, value) for test in tests):
        yield "only upper and lower case differ"
    if any(_holds_without_quotes(test, value) for test in tests):
        yield f"the event has it as text, the pattern asks for {value} without quotes"


def _holds_in_another_case(test: Test, value: str) -> bool:
    folded = value.casefold()
    match test:
        case Text(text):
            return folded == text.casefold()
        case Prefix(text):
            return folded.startswith(text.casefold())
        case Suffix(text):
            return folded.endswith(text.casefold())
        case _:
            return False


def _holds_without_quotes(test: Test, value: str) -> bool:
    if isinstance(test, Constant):
        return value == shown(test.value)
    return isinstance(test, Number | Range) and _number_text(value) is not None and test.holds(number(value))


# paths


class _Visit(msgspec.Struct, frozen=True):
    """A place on the way along a path: what is there, what is left of the path, and whether the way ends here."""

    where: str
    rest: str | None
    node: Any
    ends: bool


def _visits(event: Mapping[str, Any], path: str) -> Iterator[_Visit]:
    return islice(_all_visits(event, path), VISITS_MAX)


def _all_visits(event: Mapping[str, Any], path: str) -> Iterator[_Visit]:
    """Every place that the path leads to or over; keys may have dots in them, arrays are passed through."""
    waiting: list[tuple[str, str | None, Any]] = [("", path, event)]
    while waiting:
        where, rest, node = waiting.pop()
        inner: list[tuple[str, str | None, Any]] = []
        if type(node) is list:
            inner = [(where, rest, element) for element in islice(node, VISITS_MAX)]
        elif type(node) is dict and rest is not None:
            for key, below in node.items():
                if key == rest:
                    inner.append((_below(where, key), None, below))
                elif rest.startswith(f"{key}."):
                    inner.append((_below(where, key), rest[len(key) + 1 :], below))
        yield _Visit(where, rest, node, not inner)
        waiting += reversed(inner)


def _below(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _near_path(event: Mapping[str, Any], path: str) -> str | None:
    """Why there is no value at the path: where the longest way along it ends, and what is there instead."""
    end = max((visit for visit in _visits(event, path) if visit.ends), key=lambda visit: len(visit.where))
    where, node = readable(end.where), end.node
    if type(node) is dict:
        if end.rest is None:
            return f"{where} is an object, and a list of tests looks only at values: name a field inside it"
        step = end.rest.partition(".")[0]
        alike = next((key for key in node if _same_but_for_spelling(key, step)), None)
        if alike is not None:
            return f"the event has {quoted(alike)} there, and keys must be the same to the letter"
        return f"{where} has no {readable(step)}" if end.where else None
    if type(node) is list:
        return f"{where} is an empty array"
    if isinstance(node, str) and node.lstrip()[:1] in ("{", "["):
        return f"{where} is text with JSON in it, and patterns do not look into text"
    return f"{where} is {shown(node)}, with nothing inside it"


def _same_but_for_spelling(key: str, step: str) -> bool:
    return _spelling(key) == _spelling(step)


def _spelling(key: str) -> str:
    return key.strip().casefold().replace("-", "").replace("_", "")


def _hints(event: Mapping[str, Any]) -> Iterator[str]:
    """What is odd about the event as a whole, seen from a bus."""
    if "source" not in event and event.keys() & {"Source", "DetailType", "Detail"}:
        yield "this looks like an entry of PutEvents: on a bus it has source, detail-type and detail"
    elif "detail" not in event and {"eventSource", "eventName"} <= event.keys():
        yield "this looks like a bare CloudTrail record: on a bus it stands under detail, in an envelope"
    missing = [name for name in _ON_EVERY_BUS if name not in event]
    if missing:
        yield f"the event has no {joined(missing)}, which every event on a bus has"
    if isinstance(event.get("detail"), str):
        yield "detail is text: on a bus it is an object"
