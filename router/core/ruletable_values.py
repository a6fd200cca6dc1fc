"""What an event offers to rules: for every path that rules use, its values and the array elements they stand in.

This is the complete way to look at an event: any JSON object, dotted keys, arrays of objects at any depth, every
number. `branch_matches` decides one branch against it exactly, with array consistency: two fields may not be satisfied
by different elements of one array. The rule table's fast way must agree with it. No index is known here.

Strict JSON is the rule: no NaN, no comments, no byte order mark, nothing behind the object, nesting up to DEPTH_MAX.
Of a key given twice the last one counts. A number of any size is valid (1e999 is one); what a double cannot hold to
the last digit is an `OddNumber`. Lone surrogate escapes are characters like others.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from router.core.operators import Absent, Value, number
from router.core.pattern import Branch, Field
from router.core.pattern_json import JsonReader, JsonSyntaxError, Token
from router.core.ruletable_lookup import StepsLeft, TooManySteps

DEPTH_MAX = 1000

Place = tuple[tuple[int, int], ...]
"""The array elements a value stands in, outermost first: (array number, index)."""

Values = Mapping[str, list[tuple[Value, Place]]]


BINDINGS_MAX = 1_000_000
"""Bindings tried for one look at one event where the caller sets no bound of its own."""


class NotAnObject(ValueError):
    """The text is not one JSON object in strict JSON; the message says what is wrong."""


def decode_object(text: str) -> dict[str, Any]:
    """The object with numbers as `Value`s, or NotAnObject."""
    try:
        decoded = _decoder.decode(text)
        if may_be_too_deep(text):
            _check_depth(decoded)
    except RecursionError:
        decoded = _decode_deep(text)
    except json.JSONDecodeError as error:
        raise NotAnObject(f"expected strict JSON, got {error}") from None
    if type(decoded) is not dict:
        raise NotAnObject("expected a JSON object, got another kind of value")
    return decoded


def may_be_too_deep(text: str) -> bool:
    return len(text) > 2 * DEPTH_MAX and text.count("{") + text.count("[") > DEPTH_MAX


def _check_depth(decoded: Any) -> None:
    """Level by level: the decoder's own limit is the interpreter's, which may be above DEPTH_MAX."""
    level = [decoded]
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise NotAnObject(f"expected nesting up to {DEPTH_MAX}, got more")
        inner = [value.values() if type(value) is dict else value for value in level if type(value) in (dict, list)]
        level = [value for values in inner for value in values if type(value) in (dict, list)]


def _refuse_constant(name: str) -> NoReturn:
    raise NotAnObject(f"expected strict JSON, got {name}")


_decoder = json.JSONDecoder(parse_float=number, parse_int=number, parse_constant=_refuse_constant)


def _decode_deep(text: str) -> Any:
    """The same without recursion, an order of magnitude slower."""
    reader = JsonReader(text)
    open_values: list[Any] = []
    names: list[str] = []
    root: Any = None
    try:
        while (token := reader.next()) is not Token.END:
            if reader.depth > DEPTH_MAX:
                raise NotAnObject(f"expected nesting up to {DEPTH_MAX}, got more")
            if token is Token.NAME:
                names.append(reader.name)
                continue
            if token in (Token.END_OBJECT, Token.END_ARRAY):
                open_values.pop()
                continue
            value = _reader_value(reader, token)
            if not open_values:
                if root is not None:
                    raise NotAnObject("expected one JSON object, got more behind it")
                root = value
            elif type(open_values[-1]) is dict:
                open_values[-1][names.pop()] = value
            else:
                open_values[-1].append(value)
            if token in (Token.START_OBJECT, Token.START_ARRAY):
                open_values.append(value)
    except JsonSyntaxError as error:
        raise NotAnObject(f"expected strict JSON, got {error}") from None
    return root


def _reader_value(reader: JsonReader, token: Token) -> Any:
    if token is Token.START_OBJECT:
        return {}
    if token is Token.START_ARRAY:
        return []
    if token is Token.STRING:
        return reader.text()
    if token is Token.NUMBER:
        return number(reader.text())
    return {Token.TRUE: True, Token.FALSE: False, Token.NULL: None}[token]


class Paths:
    """The paths that rules use, with what leads to them, so that the rest of an event is passed over."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.used = frozenset(paths)
        self._leading = frozenset(path[:at] for path in self.used for at, char in enumerate(path) if char == ".")

    def values(self, event: Mapping[str, Any]) -> dict[str, list[tuple[Value, Place]]]:
        """The values at every used path; paths without any are absent from the result."""
        found: dict[str, list[tuple[Value, Place]]] = {}
        arrays = 0
        waiting: list[tuple[str | None, Any, Place]] = [(None, event, ())]
        while waiting:
            path, node, place = waiting.pop()
            if type(node) is dict:
                for key, inner in node.items():
                    inner_path = key if path is None else f"{path}.{key}"
                    if inner_path in self.used or inner_path in self._leading:
                        waiting.append((inner_path, inner, place))
            elif type(node) is list:
                for index, inner in enumerate(node):
                    inside = (*place, (arrays, index)) if type(inner) in (dict, list) else place
                    waiting.append((path, inner, inside))
                arrays += 1
            elif path in self.used:
                found.setdefault(path, []).append((node, place))
        return found


class _Bindings:
    """The default bound."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BINDINGS_MAX


def branch_matches(branch: Branch, values: Values, steps: StepsLeft | None = None) -> bool:
    """Whether every field of the branch is satisfied, all within the same elements of the arrays they share.

    Fields bind array elements in the order of their paths, and a field that must not exist is looked for in the
    elements bound before it only; both as the engine does. A step is a value tested or a binding tried; TooManySteps
    when there are none left.
    """
    steps = steps or _Bindings()
    choices: list[tuple[Field, list[Place], bool]] = []
    for field in branch:
        here = values.get(field.path, ())
        _spend(steps, len(here))
        holding = [place for value, place in here if any(test.holds(value) for test in field.tests)]
        absence_counts = any(type(test) is Absent for test in field.tests)
        if not here:
            if not absence_counts:
                return False
        elif not any(place for _, place in here):
            if not holding:
                return False
        elif not holding and not absence_counts:
            return False
        else:
            choices.append((field, holding, absence_counts))
    return not choices or _consistent(choices, values, steps)


def _spend(steps: StepsLeft, count: int) -> None:
    steps.left -= count
    if steps.left < 0:
        raise TooManySteps("expected an event that is matched in the steps that one event may take, got one of more")


_Bound = frozenset[tuple[int, int]]


def _consistent(choices: list[tuple[Field, list[Place], bool]], values: Values, steps: StepsLeft) -> bool:
    """Follows the fields in order with all sets of bound elements that are still possible.

    Elements of arrays that no later field stands in are forgotten, which keeps the sets few.
    """
    needed_after: list[frozenset[int]] = [frozenset()]
    for field, _, _ in reversed(choices):
        arrays = {array for _, place in values[field.path] for array, _ in place}
        needed_after.append(needed_after[-1] | arrays)
    needed_after.reverse()
    states: set[_Bound] = {frozenset()}
    for (field, holding, absence_counts), needed in zip(choices, needed_after[1:], strict=True):
        after = _bind(states, set(holding), needed, steps)
        if absence_counts:
            present = {place for _, place in values[field.path]}
            bindable = {state for state, _ in _agreeing(states, present, steps)}
            after |= {_kept(state, needed) for state in states if state not in bindable}
        if not after:
            return False
        states = after
    return True


def _kept(state: Iterable[tuple[int, int]], needed: frozenset[int]) -> _Bound:
    return frozenset(element for element in state if element[0] in needed)


def _bind(states: set[_Bound], places: set[Place], needed: frozenset[int], steps: StepsLeft) -> set[_Bound]:
    return {_kept({*state, *place}, needed) for state, place in _agreeing(states, places, steps)}


def _agreeing(states: set[_Bound], places: set[Place], steps: StepsLeft) -> Iterable[tuple[_Bound, Place]]:
    """The pairs that name no two elements of one array; joined on the arrays in which both stand."""
    by_arrays: dict[frozenset[int], list[Place]] = {}
    for place in places:
        by_arrays.setdefault(frozenset(array for array, _ in place), []).append(place)
    states_by_arrays: dict[frozenset[int], list[_Bound]] = {}
    for state in states:
        states_by_arrays.setdefault(frozenset(array for array, _ in state), []).append(state)
    for state_arrays, some_states in states_by_arrays.items():
        for place_arrays, some_places in by_arrays.items():
            _spend(steps, 1 + len(some_states) + len(some_places))
            shared = state_arrays & place_arrays
            joined: dict[_Bound, list[Place]] = {}
            for place in some_places:
                joined.setdefault(_kept(place, shared), []).append(place)
            for state in some_states:
                for place in joined.get(_kept(state, shared), ()):
                    _spend(steps, 1)
                    yield state, place
