"""The rule table: patterns compiled into one immutable index that picks the rules an event matches.

`RuleTable.build` makes one row of every branch of every pattern, gathers the conditions on each path in a `FieldIndex`
and compiles a msgspec Struct of exactly the paths in use. Matching decodes the event into that Struct (which checks
the JSON and passes over everything else), asks each field's index for the set of rows its value satisfies and
intersects the sets: an event costs what its fields cost, not what the rules cost.

What the Struct cannot hold is decoded in full instead (`ruletable_values.py`): arrays on the way to a field, keys
with dots, odd nesting and odd text. Then the same indexes name the candidates and `branch_matches` decides those that
involve arrays. Both ways give the same answer; neither knows buses, accounts or states of rules.

JSON is strict: see `ruletable_values.py` for what that means for numbers, duplicate keys, surrogates and depth.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, Generic, TypeVar

import msgspec

from router.core.event import Event
from router.core.operators import Test, number, whole_number
from router.core.pattern import Pattern
from router.core.ruletable_index import FieldIndex, Rules
from router.core.ruletable_values import (
    NotAnObject,
    Paths,
    branch_matches,
    decode_object,
    may_be_too_deep,
)

STRUCT_DEPTH_MAX = 32
"""Paths with more steps are read the complete way; msgspec recurses on nested types."""

K = TypeVar("K")


class MalformedDetail(ValueError):
    """`detail` is not the text of one JSON object; the message says what is wrong."""


class MalformedEvent(ValueError):
    """The event is not the text of one JSON object; the message says what is wrong."""


class _NeedsCompleteReading(Exception):
    """The Struct could not hold this event's shape."""


class _Node:
    """A step of a path: the index of the path that ends here, and the steps that go on from here.

    Where `beyond_struct` is set, paths go on in a way that a Struct cannot follow: whatever is here is read in full.
    """

    __slots__ = ("absent", "beyond_struct", "children", "index", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.index: FieldIndex | None = None
        self.children: dict[str, _Node] = {}
        self.beyond_struct = False
        self.absent: Rules = 0
        """The rows left when nothing is here."""


def _tree(indexes: Iterable[FieldIndex], everything: Rules) -> _Node:
    root = _Node("")
    root.absent = everything
    for index in indexes:
        node = root
        node.absent &= index.absent
        for depth, step in enumerate(index.path.split(".")):
            if depth >= STRUCT_DEPTH_MAX or _unfit_name(step):
                node.beyond_struct = True
                break
            if step not in node.children:
                node.children[step] = _Node(step)
                node.children[step].absent = everything
            node = node.children[step]
            node.absent &= index.absent
        else:
            node.index = index
    return root


_unfit_name = re.compile(r'["\\\x00-\x1f\ud800-\udfff]').search


class _Reader:
    """Decodes the text of one object into a Struct of the fields in use and intersects their indexes' answers."""

    __slots__ = ("_decode", "_dotted", "_escaped", "_root")

    def __init__(self, root: _Node) -> None:
        self._root = root
        steps = {node.name for node in _inner_nodes(root) if node is not root}
        self._dotted = [f'"{step}.' for step in sorted(steps)]
        self._escaped = _escape_probe(steps)
        self._decode = msgspec.json.Decoder(_struct(root), float_hook=number).decode

    def rows(self, text: str, among: Rules) -> Rules:
        """The rows of `among` that the object satisfies; _NeedsCompleteReading where only that can tell."""
        if self._root.beyond_struct or may_be_too_deep(text):
            raise _NeedsCompleteReading
        for key in self._dotted:
            if key in text:
                raise _NeedsCompleteReading
        if self._escaped is not None and "\\" in text and self._escaped(text):
            raise _NeedsCompleteReading
        try:
            decoded = self._decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            # Perhaps not JSON at all, perhaps only not in the shape of the Struct: the complete way tells.
            raise _NeedsCompleteReading from None
        return _rows_in(self._root, decoded, among)


def _inner_nodes(root: _Node) -> Iterator[_Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.children:
            yield node
            waiting += node.children.values()


_plain_step = re.compile(r"[A-Za-z0-9_:-]*").fullmatch
_escape_in_plain_key = re.compile(r"\\u00(?:2[dDeE]|3[0-9aA]|[4-7])").search
_any_escape = re.compile(r"\\").search


def _escape_probe(steps: Set[str]) -> Callable[[str], object] | None:
    """Finds escapes that could hide a dotted key from a plain search of the text."""
    if not steps:
        return None
    return _escape_in_plain_key if all(_plain_step(step) for step in steps) else _any_escape


def _struct(node: _Node) -> type[msgspec.Struct]:
    """A Struct of the node's children, in their order; every field may be missing and of any JSON type."""
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for at, child in enumerate(node.children.values()):
        kind: Any = Any
        if child.children:
            kind = _struct(child) | list[Any] | str | int | float | bool | None | msgspec.UnsetType
        names[f"f{at}"] = child.name
        fields.append((f"f{at}", kind, msgspec.UNSET))
    return msgspec.defstruct("Fields", fields, rename=names, gc=False)


def _rows_in(node: _Node, decoded: msgspec.Struct, rows: Rules) -> Rules:
    for child, value in zip(node.children.values(), msgspec.structs.astuple(decoded), strict=True):
        kind = type(value)
        if kind is msgspec.UnsetType:
            rows &= child.absent
        elif child.beyond_struct:
            raise _NeedsCompleteReading
        elif not child.children:
            assert child.index is not None
            rows &= child.index.of_text(value) if kind is str else _rows_of(child.index, value)
        elif isinstance(value, msgspec.Struct):
            if child.index is not None:
                rows &= child.index.absent
            rows = _rows_in(child, value, rows)
        elif kind is float or (kind is list and _needs_complete_reading(value)):
            raise _NeedsCompleteReading
        else:
            rows &= _rows_without_inner(child, value)
        if not rows:
            return 0
    return rows


def _needs_complete_reading(values: list[Any]) -> bool:
    """Whether an array where fields are looked for inside holds objects, which is for the complete way."""
    waiting = [values]
    while waiting:
        for value in waiting.pop():
            if type(value) is dict:
                return True
            if type(value) is list:
                waiting.append(value)
    return False


def _rows_without_inner(node: _Node, value: Any) -> Rules:
    """The rows left where a value that is no object stands; fields looked for inside it are absent."""
    rows = node.absent if node.index is None else _rows_of(node.index, value)
    for child in node.children.values():
        rows &= child.absent
    return rows


def _rows_of(index: FieldIndex, value: Any) -> Rules:
    """What a decoded leaf satisfies: any element of an array will do, an object is no value."""
    kind = type(value)
    if kind is str:
        return index.of_text(value)
    if kind is int:
        return index.of(whole_number(value))
    if kind is dict:
        return index.absent
    if kind is not list:
        return index.of(value)
    found: Rules | None = None
    waiting = [value]
    while waiting:
        for element in waiting.pop():
            if type(element) is list:
                waiting.append(element)
            elif type(element) is not dict:
                found = (found or 0) | _rows_of(index, element)
    return index.absent if found is None else found


_ENVELOPE: dict[str, Callable[[Event], Any]] = {
    "version": lambda event: "0",
    "id": lambda event: event.id,
    "detail-type": lambda event: event.detail_type,
    "source": lambda event: event.source,
    "account": lambda event: event.account,
    "time": lambda event: event.time,
    "region": lambda event: event.region,
    "resources": lambda event: list(event.resources),
    "replay-name": lambda event: event.replay_name,
}
"""The fields of an event as delivered, besides `detail` (`event.envelope`)."""

_ROWS_OF_BYTE = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]
_bytes_with_rows = re.compile(rb"[^\0]").finditer


class RuleTable(Generic[K]):
    """An immutable set of rules; it answers with the keys of those that an event matches, in build order."""

    def __init__(self, patterns: list[tuple[K, Pattern]]) -> None:
        """`build` is the way to make one."""
        self._keys = [key for key, _ in patterns]
        self._branches = [branch for _, pattern in patterns for branch in pattern.branches]
        self._rules = [rule for rule, (_, pattern) in enumerate(patterns) for _ in pattern.branches]
        self._one_row_a_rule = len(self._rules) == len(patterns)
        self._everything: Rules = (1 << len(self._branches)) - 1
        conditions: dict[str, list[tuple[Rules, tuple[Test, ...]]]] = {}
        for row, branch in enumerate(self._branches):
            for field in branch:
                conditions.setdefault(field.path, []).append((1 << row, field.tests))
        self._indexes = [FieldIndex(path, conditions[path], self._everything) for path in sorted(conditions)]
        self._paths = Paths(conditions)
        root = _tree(self._indexes, self._everything)
        detail = root.children.get("detail", _Node("detail"))
        if root.beyond_struct:
            detail.beyond_struct = True
        self._event_reader = _Reader(root)
        self._detail_reader = _Reader(detail)
        self._detail_as_leaf = self._everything if detail.index is None else detail.index.absent
        self._outside_detail = [(node, _ENVELOPE.get(name)) for name, node in root.children.items() if name != "detail"]

    @classmethod
    def build(cls, patterns: Iterable[tuple[K, Pattern]]) -> "RuleTable[K]":
        return cls(list(patterns))

    def match(self, event: Event) -> list[K]:
        """The keys of the rules that `event` matches; MalformedDetail if its detail is no JSON object.

        The detail is checked even where no rule looks at it.
        """
        rows = self._detail_as_leaf
        for node, field in self._outside_detail:
            value = None if field is None else field(event)
            rows &= node.absent if value is None else _rows_without_inner(node, value)
        try:
            # Also with no row left: the text is to be checked.
            rows = self._detail_reader.rows(event.detail, rows)
        except _NeedsCompleteReading:
            try:
                detail = decode_object(event.detail)
            except NotAnObject as error:
                raise MalformedDetail(str(error)) from None
            envelope = {name: field(event) for name, field in _ENVELOPE.items()}
            if event.replay_name is None:
                del envelope["replay-name"]
            rows = self._complete_rows(envelope | {"detail": detail})
        return self._found(rows)

    def match_json(self, event: bytes | str) -> list[K]:
        """The same for the text of any JSON object; MalformedEvent if it is none."""
        try:
            text = event if isinstance(event, str) else event.decode()
        except UnicodeDecodeError as error:
            raise MalformedEvent(f"expected UTF-8, got {error}") from None
        try:
            rows = self._event_reader.rows(text, self._everything)
        except _NeedsCompleteReading:
            try:
                rows = self._complete_rows(decode_object(text))
            except NotAnObject as error:
                raise MalformedEvent(str(error)) from None
        return self._found(rows)

    def _complete_rows(self, event: Mapping[str, Any]) -> Rules:
        """The rows that a fully decoded event satisfies."""
        values = self._paths.values(event)
        rows = self._everything
        in_arrays = 0
        for index in self._indexes:
            here = values.get(index.path)
            if here is None:
                rows &= index.absent
                continue
            satisfied = 0
            for value, _ in here:
                satisfied |= index.of(value)
            if any(place for _, place in here):
                # Elements that other fields are bound to may lack this one.
                satisfied |= index.absent
                in_arrays |= ~index.indifferent
            rows &= satisfied
            if not rows:
                return 0
        # Array elements bind fields to each other, which the intersection cannot see.
        for row in _numbers(rows & in_arrays):
            if not branch_matches(self._branches[row], values):
                rows ^= 1 << row
        return rows

    def _found(self, rows: Rules) -> list[K]:
        if not rows:
            return []
        keys = self._keys
        if self._one_row_a_rule:
            return [keys[row] for row in _numbers(rows)]
        rules = self._rules
        return [keys[rule] for rule in dict.fromkeys([rules[row] for row in _numbers(rows)])]


def _numbers(rows: Rules) -> list[int]:
    """The rows in a set, in order."""
    text = rows.to_bytes((rows.bit_length() + 7) // 8, "little")
    numbers = []
    for hit in _bytes_with_rows(text):
        at = hit.start()
        numbers += [8 * at + bit for bit in _ROWS_OF_BYTE[text[at]]]
    return numbers


def matches(pattern: Pattern, event_json: str) -> bool:
    """Whether one pattern matches one event; MalformedEvent if the text is not one JSON object."""
    return bool(RuleTable.build([(None, pattern)]).match_json(event_json))
