"""What an event offers to rules: for every path that rules use, its values and the array elements they stand in.

This is the complete way to look at an event: any JSON object, dotted keys, arrays of objects at any depth, every
number. `Decisions` decides one branch against it exactly, with array consistency: two fields may not be satisfied
by different elements of one array. The rule table's fast way must agree with it. No index is known here.

Strict JSON is the rule: no NaN, no comments, no byte order mark, nothing behind the object, nesting up to DEPTH_MAX.
Of a key given twice the last one counts. A number of any size is valid (1e999 is one); what a double cannot hold to
the last digit is an `OddNumber`. Lone surrogate escapes are characters like others.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import msgspec

from router.core.operators import Absent, Value, number
from router.core.pattern import Branch, Field
from router.core.pattern_json import JsonReader, JsonSyntaxError, Token
from router.core.ruletable_lookup import StepsLeft, spend

DEPTH_MAX = 1000

Place = tuple[tuple[int, int], ...]
"""The array elements a value stands in, outermost first: (array number, index). Arrays that hold one object or array
only are left out: whoever is bound to its element has no other to be bound to."""

Values = Mapping[str, list[tuple[Value, Place]]]


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

    def values(self, event: Mapping[str, Any], steps: StepsLeft | None = None) -> dict[str, list[tuple[Value, Place]]]:
        """The values at every used path; paths without any are absent from the result. TooManySteps."""
        steps = steps or _Unbounded()
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
                several = sum(type(inner) in (dict, list) for inner in node) > 1
                spend(steps, len(node) * (1 + len(place)))
                for index, inner in enumerate(node):
                    inside = (*place, (arrays, index)) if several and type(inner) in (dict, list) else place
                    waiting.append((path, inner, inside))
                arrays += several
            elif path in self.used:
                found.setdefault(path, []).append((node, place))
        return found


class _Unbounded:
    """For events that are small enough, or whose reader has time."""

    left = 2**62


class _Choice(msgspec.Struct):
    """What one field of a branch finds in an event."""

    path: str
    holding: frozenset[Place]
    """The places of values that satisfy the field."""
    arrays: frozenset[int]
    """The arrays that any value of the field stands in."""
    here: frozenset[Place]
    absence_counts: bool


class Decisions:
    """Decides branches for one event. What one field finds is looked for once, however many branches have the field."""

    def __init__(self, values: Values, steps: StepsLeft | None = None) -> None:
        """`values` are those at every path of the branches that will be asked about."""
        self._values = values
        self._steps = steps or _Unbounded()
        self._choices: dict[Field, _Choice] = {}

    def matches(self, branch: Branch) -> bool:
        """Whether every field of the branch is satisfied, all within the same elements of the arrays they share.

        Fields bind array elements in the order of their paths, and a field that must not exist is looked for in the
        elements bound before it only; both as the engine does. A step is a value tested or a binding tried, once more
        for each array it stands in; TooManySteps when there are none left.
        """
        choices: list[_Choice] = []
        for field in branch:
            choice = self._choice(field)
            if not choice.here:
                if not choice.absence_counts:
                    return False
            elif not choice.holding and not (choice.absence_counts and choice.arrays):
                return False
            elif choice.arrays:
                choices.append(choice)
        return not choices or _consistent(choices, self._steps)

    def _choice(self, field: Field) -> _Choice:
        known = self._choices.get(field)
        if known is None:
            here = self._values.get(field.path, ())
            spend(self._steps, sum(1 + len(place) for _, place in here))
            known = self._choices[field] = _Choice(
                path=field.path,
                holding=frozenset(place for value, place in here if any(test.holds(value) for test in field.tests)),
                arrays=frozenset(array for _, place in here for array, _ in place),
                here=frozenset(place for _, place in here),
                absence_counts=any(type(test) is Absent for test in field.tests),
            )
        return known


def branch_matches(branch: Branch, values: Values, steps: StepsLeft | None = None) -> bool:
    """`Decisions.matches` for one branch."""
    return Decisions(values, steps).matches(branch)


_Bound = frozenset[tuple[int, int]]


def _consistent(choices: list[_Choice], steps: StepsLeft) -> bool:
    """Follows the fields in order with all sets of bound elements that are still possible.

    Elements of arrays that no later field stands in are forgotten, which keeps the sets few.
    """
    needed_after: list[frozenset[int]] = [frozenset()]
    for choice in reversed(choices):
        needed_after.append(needed_after[-1] | choice.arrays)
    needed_after.reverse()
    states: set[_Bound] = {frozenset()}
    for choice, needed in zip(choices, needed_after[1:], strict=True):
        after = _bind(states, choice.holding, needed, steps)
        if choice.absence_counts:
            bindable = {state for state, _ in _agreeing(states, choice.here, steps)}
            after |= {_kept(state, needed) for state in states if state not in bindable}
        if not after:
            return False
        states = after
    return True


def _kept(state: Iterable[tuple[int, int]], needed: frozenset[int]) -> _Bound:
    return frozenset(element for element in state if element[0] in needed)


def _bind(states: set[_Bound], places: frozenset[Place], needed: frozenset[int], steps: StepsLeft) -> set[_Bound]:
    return {_kept({*state, *place}, needed) for state, place in _agreeing(states, places, steps)}


def _agreeing(states: set[_Bound], places: frozenset[Place], steps: StepsLeft) -> Iterable[tuple[_Bound, Place]]:
    """The pairs that name no two elements of one array; joined on the arrays in which both stand."""
    spend(steps, sum(map(len, states)) + sum(map(len, places)))
    by_arrays: dict[frozenset[int], list[Place]] = {}
    for place in places:
        by_arrays.setdefault(frozenset(array for array, _ in place), []).append(place)
    states_by_arrays: dict[frozenset[int], list[_Bound]] = {}
    for state in states:
        states_by_arrays.setdefault(frozenset(array for array, _ in state), []).append(state)
    for state_arrays, some_states in states_by_arrays.items():
        for place_arrays, some_places in by_arrays.items():
            spend(steps, (1 + len(some_states) + len(some_places)) * (1 + len(state_arrays)))
            shared = state_arrays & place_arrays
            joined: dict[_Bound, list[Place]] = {}
            for place in some_places:
                joined.setdefault(_kept(place, shared), []).append(place)
            for state in some_states:
                for place in joined.get(_kept(state, shared), ()):
                    spend(steps, 1 + len(place))
                    yield state, place
