"""Generated code: what reads an event along the nodes of a bucket when its shape is the usual one.

A `Reader` is for events of one source. It decodes the JSON into a msgspec Struct of exactly the fields that the
source's rules look at, which checks the JSON and passes over everything else, and asks the fields one after the other,
the most telling first, until no row is left; arrays of objects are read element by element. For each bucket that is
one Python function without loops, compiled once; readers bind it to their Structs.

What the Structs cannot hold raises NeedsCompleteReading, and `ruletable_walk.py` reads the event instead: dotted keys
(which the Structs have as fields of a type that nothing fits), arrays in arrays of objects, scalars beside objects,
and `exists: false` in arrays. Both ways give the same answer.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from sys import intern
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from router.core.ruletable_bucket import Bucket, Node
from router.core.ruletable_index import Steps
from router.core.ruletable_lookup import Rows, made, spend
from router.core.ruletable_values import DEPTH_MAX, may_be_too_deep

FIELDS_MAX = 512
"""Fields of one Struct; an object of which rules look at more is read the complete way (look-up is linear)."""

PERHAPS_DEEP_CHARS = 2 * DEPTH_MAX
"""Shorter texts cannot be nested too deep."""

K = TypeVar("K")

_Nothing = Annotated[int, msgspec.Meta(gt=1, lt=0)]
"""The type that no value has: a field of it refuses the event."""

ENVELOPE = {
    "id": "e.id",
    "detail-type": "e.detail_type",
    "source": "e.source",
    "account": "e.account",
    "time": "e.time",
    "region": "e.region",
    "replay-name": "(U if e.replay_name is None else e.replay_name)",
}
"""The text fields of an event as delivered; besides them it has `version`, `resources` and `detail`."""


_PLAIN = {str, int, bytes, bool, type(None), UnsetType}
"""The types of values whose answers can be looked up, and of none."""
_DECIMALS = {bytes}


class NeedsCompleteReading(Exception):
    """The Structs could not hold this event's shape."""


class TooWide(Exception):
    """Rules look at more fields of one object than a Struct should have."""


def guards_depth() -> bool:
    """Whether the decoder itself refuses what is nested beyond DEPTH_MAX: it counts on the interpreter's own limit."""
    return sys.version_info < (3, 12) and sys.getrecursionlimit() <= DEPTH_MAX


def too_deep(text: str) -> bool:
    """Whether the decoder might take what it should not. Texts of up to PERHAPS_DEEP_CHARS need not be asked about."""
    return len(text) > PERHAPS_DEEP_CHARS and not guards_depth() and may_be_too_deep(text)


# Structs


class _Shape:
    """The fields that several buckets look at, as one tree."""

    __slots__ = ("children",)

    def __init__(self) -> None:
        self.children: dict[str, _Shape] = {}

    def take(self, node: Node) -> None:
        for name, child in node.children.items():
            self.children.setdefault(name, _Shape()).take(child)

    def key(self) -> "_ShapeKey":
        return tuple([(name, self.children[name].key()) for name in sorted(self.children)])


_ShapeKey = tuple[tuple[str, "_ShapeKey"], ...]
"""Names of fields, sorted, each with those beyond it."""


def _dotted(key: _ShapeKey) -> Iterator[str]:
    """Every spelling with dots of what stands more than one step below."""
    for name, inner in key:
        for step, _ in inner:
            yield f"{name}.{step}"
        for rest in _dotted(inner):
            yield f"{name}.{rest}"


class _Structs:
    """A Struct for objects of one shape, and those of the objects in it, by the names of their fields."""

    __slots__ = ("inner", "struct")

    def __init__(self, struct: type[msgspec.Struct], inner: "dict[str, _Structs]") -> None:
        self.struct = struct
        self.inner = inner

    def at(self, path: str) -> type[msgspec.Struct] | None:
        """The Struct of the object at this path, if fields beyond it are wanted."""
        structs: _Structs | None = self
        for step in path.split("."):
            structs = structs.inner.get(step) if structs is not None else None
        return None if structs is None else structs.struct


def _defined(key: _ShapeKey, **options: Any) -> _Structs:
    """Structs for objects of which these fields are wanted; each may be missing, or any JSON. Raises TooWide."""
    found: dict[str, _Structs] = {}
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    for name, beyond in key:
        kind: Any = Any
        if beyond:
            found[name] = _structs(beyond)
            inner = found[name].struct
            element = inner | list[Any] | str | int | float | bool | None
            kind = inner | list[element] | str | int | float | bool | None | UnsetType  # type: ignore[valid-type]
        names[attribute(name)] = intern(name)
        fields.append((attribute(name), kind, UNSET))
    for at, name in enumerate(_dotted(key)):
        if len(fields) >= FIELDS_MAX:
            raise TooWide
        names[f"dotted_{at}"] = intern(name)
        fields.append((f"dotted_{at}", _Nothing | UnsetType, UNSET))
    if len(fields) >= FIELDS_MAX:
        raise TooWide
    return _Structs(msgspec.defstruct("Fields", fields, rename=names, gc=False, **options), found)


@lru_cache(maxsize=256)
def _structs(key: _ShapeKey) -> _Structs:
    """Sources whose rules look at the same fields share their Structs, and so processor caches.

    What belongs together is reached from one entry: an inner Struct that is made anew would be another class.
    """
    return _defined(key)


_plain_step = re.compile(r"[A-Za-z0-9_]*").fullmatch


def attribute(step: str) -> str:
    """The name of a step's field in the Structs."""
    return f"k_{step}" if _plain_step(step) else f"x_{step.encode().hex()}"


# Code


class _Writer:
    """Writes the functions of one bucket: the text, which buckets of like rules share, and what it stands on.

    In the code `e` is the event, `d` its detail, `r` the rows left. The number of a node marks what belongs to it:
    `h` its rows, `a` the rows left without it, `m` its memo, or `g` its names and `q` the answer for others, `c` the
    only text asked for, `t` and `n` the answers for true and false, `v` its value, `S` its Struct, `f` the function for
    one object, `o` for what is no object, `l` for what is no plain value, `i` the rows left where it is no value.
    """

    def __init__(self, bucket: Bucket[Any], structs: _Structs, ranks: Mapping[str, float], *, whole: bool) -> None:
        self.bucket = bucket
        self.structs = structs
        self.whole = whole
        self.ranks = ranks
        self.lines: list[str] = []
        self.nodes: list[Node] = []
        self._numbers: dict[str, int] = {}
        self.constants: dict[str, Any] = {
            "NeedsCompleteReading": NeedsCompleteReading,
            "U": UNSET,
            "found": bucket.results,
        }
        self.inner: list[Node] = []

    def write(self) -> str:
        self._put(1, "def match(e):" if self.whole else "def match(e, d):")
        detail = self.bucket.root.children.get("detail")
        if self.whole and detail is not None and detail.children:
            at = self._number(detail)
            self._put(2, "d = e.k_detail")
            self._put(2, f"if d.__class__ is not S{at}:")
            self._put(3, "raise NeedsCompleteReading")
        rows, fields = self._fields(detail)
        self.constants["everything"] = rows
        self._put(2, "r = everything")
        for child, value in sorted(fields, key=lambda field: self._place(field[0])):
            self._field(2, child, value, "()", inline=True)
        if self.bucket.unsure:
            self.constants["unsure"] = self.bucket.unsure
            self._put(2, "if r & unsure:")
            self._put(3, "raise NeedsCompleteReading")
        self._put(2, "return found[r]")
        done = 0
        while done < len(self.inner):
            node = self.inner[done]
            done += 1
            at = self._number(node)
            self._put(1, f"def f{at}(v, r):")
            if node.index is not None:
                self.constants[f"i{at}"] = node.index.absent
                self._put(2, f"r &= i{at}")
            for child in sorted(node.children.values(), key=self._place):
                self._field(2, child, f"v.{attribute(child.name)}", "0", inline=False)
            self._put(2, "return r")
            self._put(1, f"o{at} = bind({at}, f{at})")
        self._put(1, "return match")
        for at, node in enumerate(self.nodes):
            if node.children:
                self.constants[f"S{at}"] = None
        self.constants["bind"] = None
        return "\n".join([f"def make({', '.join(self.constants)}):", *self.lines])

    def _place(self, node: Node) -> tuple[bool, float, str]:
        """Where to ask for the field among its siblings: values before objects, the most telling first."""
        return bool(node.children), -self.ranks.get(node.path, 0.0), node.path

    def _fields(self, detail: Node | None) -> tuple[Rows, list[tuple[Node, str]]]:
        """The rows that what is known beforehand leaves, and the fields to ask, with where their values are."""
        rows = self.bucket.everything
        fields: list[tuple[Node, str]] = []
        for name, node in self.bucket.root.children.items():
            if node is detail and (node.children or not self.whole):
                if node.index is not None:
                    rows &= node.index.absent
                fields += [(child, f"d.{attribute(child.name)}") for child in node.children.values()]
            elif self.whole:
                fields.append((node, f"e.{attribute(name)}"))
            else:
                for child in node.children.values():
                    rows &= child.absent
                if node.index is None:
                    continue
                if name == "version":
                    rows &= node.index.answer("0")
                elif name == "resources" or name in ENVELOPE:
                    fields.append((_leaf(node), ENVELOPE.get(name, "e.resources")))
                else:
                    rows &= node.index.absent
        return rows, fields

    def _number(self, node: Node) -> int:
        at = self._numbers.setdefault(node.path, len(self.nodes))
        if at == len(self.nodes):
            self.nodes.append(node)
        return at

    def _put(self, indent: int, line: str) -> None:
        self.lines.append("    " * indent + line)

    def _field(self, indent: int, node: Node, value: str, nothing: str, *, inline: bool) -> None:
        at = self._number(node)
        if node.here != self.bucket.everything:
            self.constants[f"h{at}"] = node.here
            self._put(indent, f"if r & h{at}:")
            indent += 1
        if node.children:
            self._object(indent, node, value, nothing, inline=inline)
        else:
            self._leaf(indent, node, value)
        self._put(indent, "if not r:")
        self._put(indent + 1, f"return {nothing}")

    def _leaf(self, indent: int, node: Node, value: str) -> None:
        at = self._number(node)
        index = node.index
        assert index is not None
        self.constants[f"l{at}"] = _of_leaf(node)
        if value == "e.resources" or self.structs.at(node.path) is not None:
            self._put(indent, f"r &= l{at}({value})")
            return
        if index.names is None:
            self.constants[f"m{at}"] = index.memo
            look_up = f"m{at}[%s]"
        else:
            self.constants[f"g{at}"] = index.names.get
            self.constants[f"q{at}"] = index.other
            look_up = f"g{at}(%s, q{at})"
        if index.only is not None:
            # All rows ask for this one text.
            self.constants[f"c{at}"] = index.only
            self._put(indent, f"if {value} != c{at}:")
            indent += 1
        self._put(indent, "try:")
        if index.splits_bools:
            self.constants[f"t{at}"] = index.answer(True)
            self.constants[f"n{at}"] = index.answer(False)
            self._put(indent + 1, f"v{at} = {value}")
            look_up = f"t{at} if v{at} is True else n{at} if v{at} is False else {look_up % f'v{at}'}"
        else:
            look_up = look_up % value
        self._put(indent + 1, f"r &= {look_up}")
        self._put(indent, "except TypeError:")
        self._put(indent + 1, f"r &= l{at}({value})")

    def _object(self, indent: int, node: Node, value: str, nothing: str, *, inline: bool) -> None:
        at = self._number(node)
        if node not in self.inner:
            self.inner.append(node)
        self.constants[f"a{at}"] = node.absent
        self._put(indent, f"v{at} = {value}")
        self._put(indent, f"if v{at}.__class__ is S{at}:")
        if inline:
            if node.index is not None:
                self.constants[f"i{at}"] = node.index.absent
                self._put(indent + 1, f"r &= i{at}")
            for child in sorted(node.children.values(), key=self._place):
                self._field(indent + 1, child, f"v{at}.{attribute(child.name)}", nothing, inline=True)
        else:
            self._put(indent + 1, f"r = f{at}(v{at}, r)")
        self._put(indent, f"elif v{at} is U{'' if node.index else f' or v{at} is None'}:")
        self._put(indent + 1, f"r &= a{at}")
        self._put(indent, "else:")
        self._put(indent + 1, f"r = o{at}(v{at}, r)")


def _leaf(node: Node) -> Node:
    """The node without what would stand below it."""
    assert node.index is not None
    leaf = Node(node.path, node.name)
    leaf.index = node.index
    leaf.here, leaf.absence, leaf.absent = node.index.here, node.index.absence, node.index.absent
    return leaf


def _of_leaf(node: Node) -> Callable[[Any], Rows]:
    """What anything satisfies that stands where a value is asked for; any value of an array will do, in arrays too."""
    index = node.index
    assert index is not None

    def of_leaf(given: Any) -> Rows:
        scalars: list[Any] = []
        waiting: list[Any] = [[given]] if type(given) is not tuple else [given]
        while waiting:
            for element in waiting.pop():
                kind = type(element)
                if kind is list:
                    waiting.append(element)
                elif kind is float:
                    raise NeedsCompleteReading  # its text is lost
                elif kind is not dict and element is not UNSET and not isinstance(element, msgspec.Struct):
                    scalars.append(element)
        return index.of_any(scalars) if scalars else index.absent

    return of_leaf


def _of_anything(
    node: Node, struct: type[msgspec.Struct], of_object: Callable[[Any, Rows], Rows], steps: Steps
) -> Callable[[Any, Rows], Rows]:
    """What is left of the rows where the event has no object: a value, or an array of objects or values."""
    index = node.index
    children = list(node.children.values())
    getters = {child.path: attrgetter(attribute(child.name)) for child in children}
    beyond = children[0].absent
    for child in children:
        beyond &= child.absent
    structs = {struct}

    def of_anything(value: Any, rows: Rows) -> Rows:
        if type(value) is not list:
            if index is None:
                return rows & beyond
            if type(value) is float:
                raise NeedsCompleteReading  # the text is lost
            return rows & beyond & index.of(value)
        if index is not None or rows & node.absence:
            raise NeedsCompleteReading
        steps.left -= len(value)
        kinds = set(map(type, value))
        if struct not in kinds:
            if list in kinds:
                raise NeedsCompleteReading
            return rows & beyond
        if kinds == structs:
            seen = 0
            asked = [child for child in children if rows & child.here]
            for child in asked:
                if child.children or rows & child.here & seen:
                    break
                seen |= child.here
            else:
                # No row asks an element for two things at once.
                left = rows & ~seen
                for child in asked:
                    left |= rows & child.here & of_leaf(child, value)
                return left
        elif list in kinds:
            raise NeedsCompleteReading
        found = 0
        for element in value:
            if element.__class__ is struct:
                found |= of_object(element, rows)
                if found == rows:
                    break
                if steps.left < 0:
                    spend(steps, 0)
        return found

    def of_leaf(child: Node, objects: list[Any]) -> Rows:
        assert child.index is not None
        values = list(map(getters[child.path], objects))
        kinds = set(map(type, values))
        if kinds == _DECIMALS:
            return child.index.of_decimals(values)
        if not kinds <= _PLAIN:
            raise NeedsCompleteReading
        there = [value for value in values if value is not UNSET]
        found = child.index.of_any(there) if there else 0
        return found if len(there) == len(values) else found | child.index.absent

    return of_anything


def bound(
    bucket: Bucket[K], structs: _Structs, ranks: Mapping[str, float], steps: Steps, *, whole: bool
) -> Callable[..., tuple[K, ...]]:
    """The bucket's function for these Structs: of a whole event's Struct, or of an event and its detail."""
    writer = _Writer(bucket.ready(), structs, ranks, whole=whole)
    make = made(writer.write())

    def bind(at: int, of_object: Callable[[Any, Rows], Rows]) -> Callable[[Any, Rows], Rows]:
        struct = structs.at(writer.nodes[at].path)
        assert struct is not None
        return _of_anything(writer.nodes[at], struct, of_object, steps)

    of_nodes = {f"S{at}": structs.at(node.path) for at, node in enumerate(writer.nodes) if node.children}
    return make(**{**writer.constants, **of_nodes, "bind": bind})


class Reader(Generic[K]):
    """Reads events of one source for several buckets; `combine` says how the buckets' answers become one."""

    __slots__ = ("_buckets", "_combine", "_ranks", "_steps", "decode_detail", "match")

    def __init__(
        self,
        buckets: Sequence[Bucket[K]],
        combine: Callable[[Sequence[Callable[..., tuple[K, ...]]]], Callable[..., tuple[K, ...]]],
        ranks: Mapping[str, float],
        steps: Steps,
    ) -> None:
        """`combine` makes one function of the buckets' functions, in their order. Raises TooWide."""
        self._buckets = buckets
        self._combine = combine
        self._ranks = ranks
        self._steps = steps
        shape = _Shape()
        for bucket in buckets:
            node = bucket.ready().root.children.get("detail")
            if node is not None:
                shape.take(node)
        detail = _structs(shape.key())
        self.decode_detail = msgspec.json.Decoder(detail.struct, float_hook=str.encode).decode
        """The text of an event's detail as what `match` takes; it raises what msgspec raises."""
        structs = _Structs(detail.struct, {"detail": detail})
        self.match: Callable[[Any, msgspec.Struct], tuple[K, ...]] = combine(
            [bound(bucket, structs, ranks, steps, whole=False) for bucket in buckets]
        )
        """The keys of the rules that an event matches, given the decoded detail; NeedsCompleteReading, TooManySteps."""

    def whole(self, source: str | None) -> type[msgspec.Struct]:
        """A Struct of whole events with a method `match`; with a source, it can stand in a union by that tag."""
        shape = _Shape()
        for bucket in self._buckets:
            shape.take(bucket.root)
        options: dict[str, Any] = {}
        if source is not None:
            if shape.children.pop("source", _Shape()).children:
                raise TooWide
            options = {"tag_field": "source", "tag": source}
        structs = _defined(shape.key(), **options)
        structs.struct.match = self._combine(  # type: ignore[attr-defined]
            [bound(bucket, structs, self._ranks, self._steps, whole=True) for bucket in self._buckets]
        )
        if source is not None:
            structs.struct.k_source = source  # type: ignore[attr-defined]
        return structs.struct


def joined(
    base: Sequence[Callable[..., tuple[K, ...]]], overlay: Sequence[Callable[..., tuple[K, ...]]], gone: frozenset[K]
) -> Callable[..., tuple[K, ...]]:
    """One function of the buckets' functions: what those of the base find, but for `gone`, and those of the overlay."""
    if len(base) == 1 and not overlay and not gone:
        return base[0]
    if not base and not overlay:
        return _nothing

    def match(*event: Any) -> tuple[K, ...]:
        found: list[K] = []
        for function in base:
            found += function(*event)
        if gone:
            found = [key for key in found if key not in gone]
        for function in overlay:
            found += function(*event)
        # A rule with several branches may stand in several buckets.
        return tuple(dict.fromkeys(found))

    return match


def _nothing(*_: Any) -> tuple[Any, ...]:
    return ()
