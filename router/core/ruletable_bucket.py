"""Buckets: the rows of one rule table that share a source, with their indexes arranged along the paths of an event.

A row is one branch of one rule's pattern. Rows that ask for literal sources stand in the bucket of each of them, all
others in the bucket for any source; so an event is only ever held against rules that could mean it. A bucket never
changes once it is prepared. `Node`s follow the steps of paths; what a whole event satisfies is read along them, either
by generated code (`ruletable_code.py`) or by walking (`ruletable_walk.py`).
"""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from router.core.operators import Test, Text
from router.core.pattern import Branch, Pattern
from router.core.ruletable_index import DOOR_MASK, FieldIndex, Steps
from router.core.ruletable_lookup import Rows, rows_of

DEPTH_MAX = 32
"""Paths with more steps are checked row by row; msgspec recurses on nested types, and so does the walk."""
LITERAL_SOURCES_MAX = 16
"""A row with more of them stands in the bucket for any source, so that rows are not copied without bound."""
RESULTS_MAX = 1024
"""Remembered results of a bucket; then they start anew."""

RANKS_SAMPLE = 256
"""Rules looked at, at most twice as many, to say which fields are asked first."""
STEP_RULES = 256
"""A change pauses after this many rules (about a millisecond)."""

K = TypeVar("K")

_ROWS_OF_BYTE = [tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256)]
_bytes_with_rows = re.compile(rb"[^\0]").finditer
_END: Any = object()
_unfit_name = re.compile(r'["\\\x00-\x1f\ud800-\udfff]').search


def row_numbers(rows: Rows) -> list[int]:
    """The rows in a set, in order."""
    text = rows.to_bytes((rows.bit_length() + 7) // 8, "little")
    numbers = []
    for hit in _bytes_with_rows(text):
        at = hit.start()
        numbers += [8 * at + bit for bit in _ROWS_OF_BYTE[text[at]]]
    return numbers


def literal_sources(branch: Branch) -> tuple[str, ...]:
    """The sources of which the branch asks for one, word for word; empty where it does not, or not only."""
    sources: tuple[str, ...] = ()
    for field in branch:
        if field.path == "source":
            sources = tuple(test.text for test in field.tests if type(test) is Text)
            if len(sources) != len(field.tests) or len(sources) > LITERAL_SOURCES_MAX:
                return ()
        elif field.path.startswith("source."):
            return ()
    return sources


def sources_of(pattern: Pattern) -> set[str | None]:
    """The sources in whose buckets the pattern's rows stand; None is the bucket for any source."""
    return {source for branch in pattern.branches for source in literal_sources(branch) or (None,)}


class Node:
    """A step of a path: the index of the path that ends here, and the steps that go on from here.

    `here` are the rows with a condition here or further on, `absent` those left when nothing is here, `absence` those
    with an `exists: false` here or further on.
    """

    __slots__ = ("absence", "absent", "children", "here", "index", "name", "path")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self.index: FieldIndex | None = None
        self.children: dict[str, Node] = {}
        self.here: Rows = 0
        self.absent: Rows = 0
        self.absence: Rows = 0

    def close(self, everything: Rows) -> None:
        """Sum up what stands below; the tree is at most DEPTH_MAX deep."""
        for child in self.children.values():
            child.close(everything)
        parts: list[Node | FieldIndex] = [*self.children.values(), *([self.index] if self.index else [])]
        self.absent = everything
        for part in parts:
            self.here |= part.here
            self.absence |= part.absence
            self.absent &= part.absent


class _KeysOfByte(dict[int, tuple[K, ...]]):
    """The keys for eight rows at a time: by `number of the byte << 8 | byte`."""

    __slots__ = ("_keys",)

    def __init__(self, keys: list[K]) -> None:
        super().__init__()
        self._keys = keys

    def __missing__(self, place: int) -> tuple[K, ...]:
        first = place >> 8 << 3
        keys = self[place] = tuple([self._keys[first + bit] for bit in _ROWS_OF_BYTE[place & 255]])
        return keys


class Results(dict[Rows, tuple[K, ...]]):
    """The keys of the rules that a set of rows stands for, in order, each once; kept when it comes a second time."""

    __slots__ = ("__weakref__", "_door", "_firsts", "_keys_of_byte", "_later", "_steps")

    def __init__(self, keys: list[K], steps: Steps) -> None:
        """`keys` by row; the rows of one rule stand one after the other."""
        super().__init__()
        self._steps = steps
        self._door = bytearray(DOOR_MASK + 1)
        self._keys_of_byte = _KeysOfByte(keys)
        self._firsts: dict[int, Rows] = {}
        later: list[int] = []
        for row in range(1, len(keys)):
            if keys[row] is keys[row - 1]:
                later.append(row)
                self._firsts[row] = self._firsts.get(row - 1, 1 << (row - 1))
        self._later = rows_of(later)
        self.forget()
        steps.watch(self)

    def forget(self) -> None:
        self.clear()
        self._keys_of_byte.clear()
        self[0] = ()

    def __missing__(self, rows: Rows) -> tuple[K, ...]:
        later = rows & self._later
        if later:
            # A rule with several branches counts as its first.
            first = rows ^ later
            for row in row_numbers(later):
                first |= self._firsts[row]
        else:
            first = rows
        keys_of_byte = self._keys_of_byte
        text = first.to_bytes((first.bit_length() + 7) >> 3, "little")
        found: list[K] = []
        if len(text) <= 128:
            place = 0
            for byte in text:
                if byte:
                    found += keys_of_byte[place | byte]
                place += 256
        else:
            for hit in _bytes_with_rows(text):
                at = hit.start()
                found += keys_of_byte[at << 8 | text[at]]
        result = tuple(found)
        mark = hash(rows)
        if self._door[mark & DOOR_MASK] != mark >> 16 & 255:
            self._door[mark & DOOR_MASK] = mark >> 16 & 255
            return result
        if len(self) >= RESULTS_MAX or len(keys_of_byte) >= RESULTS_MAX * 16:
            self.forget()
        self[rows] = result
        self._steps.remembered(200 + 8 * len(result) + len(text))
        return result


class Bucket(Generic[K]):
    """Rows of a table and, once `prepare` has ended, their indexes.

    `unsure` are rows with a path that only `Decisions` can follow: what the indexes say of them is not the end.
    """

    __slots__ = (
        "_prepared",
        "_preparing",
        "_steps",
        "branches",
        "everything",
        "keys",
        "paths",
        "results",
        "root",
        "source",
        "unsure",
    )

    def __init__(self, source: str | None, steps: Steps) -> None:
        """`source` is what all rows ask for and is not looked at again; None for the bucket of any source."""
        self.source = source
        self.keys: list[K] = []
        self.branches: list[Branch] = []
        self.root = Node("", "")
        self.everything: Rows = 0
        self.unsure: Rows = 0
        self.paths: frozenset[str] = frozenset()
        self.results: Results[K] = Results([], steps)
        self._steps = steps
        self._prepared = False
        self._preparing: Iterator[None] | None = None

    def add_rule(self, key: K, pattern: Pattern) -> None:
        """Take in the rule's branches that belong here. Only before `prepare`, and each rule once."""
        for branch in pattern.branches:
            sources = literal_sources(branch)
            if self.source in sources if self.source is not None else not sources:
                self.keys.append(key)
                self.branches.append(branch)

    def prepare(self) -> Iterator[None]:
        """Build the indexes in steps of about a millisecond, or what is left of that."""
        if self._prepared:
            return
        if self._preparing is None:
            self._preparing = self._prepare()
        while next(self._preparing, _END) is not _END:
            yield
        self._prepared = True
        self._preparing = None

    def ready(self) -> "Bucket[K]":
        for _ in self.prepare():
            pass
        return self

    def _prepare(self) -> Iterator[None]:
        self.everything = (1 << len(self.branches)) - 1
        # Two lists a path and no tuple a condition: garbage collections look at each of them while they last.
        conditions: dict[str, tuple[list[int], list[tuple[Test, ...]]]] = {}
        for row, branch in enumerate(self.branches):
            for field in branch:
                if self.source is None or field.path != "source":
                    rows, tests = conditions.setdefault(field.path, ([], []))
                    rows.append(row)
                    tests.append(field.tests)
            if row % 1024 == 1023:
                yield
        self.paths = frozenset(conditions) if self.source is None else frozenset(["source", *conditions])
        unsure: list[int] = []
        for path in sorted(conditions):
            rows, tests = conditions[path]
            node = self._node(path)
            if node is None:
                unsure += rows
                continue
            node.index = FieldIndex(self._steps)
            yield from node.index.fill(zip(rows, tests, strict=True), self.everything)
        self.unsure = rows_of(sorted(set(unsure)))
        self.root.close(self.everything)
        self.results = Results(self.keys, self._steps)
        yield

    def _node(self, path: str) -> Node | None:
        steps = path.split(".")
        if len(steps) > DEPTH_MAX or any(map(_unfit_name, steps)):
            return None
        node = self.root
        for at, step in enumerate(steps):
            if step not in node.children:
                node.children[step] = Node(".".join(steps[: at + 1]), step)
            node = node.children[step]
        return node


class Segment(Generic[K]):
    """Rules in their buckets. It never changes; a changed one shares the buckets that the change leaves alone."""

    __slots__ = ("_ranks", "_steps", "any_source", "by_source", "rules")

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._ranks: dict[str, float] | None = None
        self.rules: dict[K, Pattern] = {}
        self.by_source: dict[str, Bucket[K]] = {}
        self.any_source: Bucket[K] | None = None

    def changed(self, rules: Iterable[tuple[K, Pattern]], gone: Iterable[K] = ()) -> "Segment[K]":
        """Without `gone`, then with `rules` behind the others; a rule that is there already is put anew."""
        changing = self.changing(rules, gone)
        while True:  # ends with the change
            try:
                next(changing)
            except StopIteration as done:
                segment: Segment[K] = done.value
                return segment

    def changing(
        self, rules: Iterable[tuple[K, Pattern]], gone: Iterable[K] = ()
    ) -> Generator[None, None, "Segment[K]"]:
        """The same in steps of about a millisecond."""
        new: Segment[K] = Segment(self._steps)
        new.rules = dict(self.rules)
        touched: dict[str | None, dict[K, bool]] = {}
        for key in gone:
            _touch(touched, key, new.rules.pop(key, None), stays=False)
        for count, (key, pattern) in enumerate(rules):
            _touch(touched, key, new.rules.pop(key, None), stays=False)
            new.rules[key] = pattern
            _touch(touched, key, pattern, stays=True)
            if count % STEP_RULES == STEP_RULES - 1:
                yield
        new.by_source = dict(self.by_source)
        new.any_source = self.any_source
        done = 0
        for source, keys in touched.items():
            old = self.any_source if source is None else self.by_source.get(source)
            staying = [key for key in dict.fromkeys(old.keys) if key not in keys] if old else []
            bucket: Bucket[K] = Bucket(source, self._steps)
            for key in (*staying, *(key for key, stays in keys.items() if stays)):
                bucket.add_rule(key, new.rules[key])
                done += 1
                if done % STEP_RULES == 0:
                    yield
            if source is None:
                new.any_source = bucket if bucket.branches else None
            elif bucket.branches:
                new.by_source[source] = bucket
            else:
                new.by_source.pop(source, None)
        return new

    @property
    def ranks(self) -> Mapping[str, float]:
        """How well each path, and what leads to it, tells rules apart: the higher, the earlier it should be asked."""
        if self._ranks is None:
            self._ranks = _ranks(self.rules)
        return self._ranks

    def buckets_for(self, sources: Iterable[str]) -> list[Bucket[K]]:
        """The buckets with the rules that an event from these sources can match."""
        found = [self.by_source[source] for source in dict.fromkeys(sources) if source in self.by_source]
        return found if self.any_source is None else [*found, self.any_source]

    def buckets(self) -> Iterator[Bucket[K]]:
        yield from self.by_source.values()
        if self.any_source is not None:
            yield self.any_source


def _touch(touched: dict[str | None, dict[K, bool]], key: K, pattern: Pattern | None, *, stays: bool) -> None:
    """Note in which buckets the rule's rows are to be put anew, behind the others, or taken out."""
    for branch in () if pattern is None else pattern.branches:
        for source in literal_sources(branch) or (None,):
            keys = touched.setdefault(source, {})
            keys.pop(key, None)
            keys[key] = stays


def _ranks(rules: Mapping[Any, Pattern]) -> dict[str, float]:
    """For each path, how many different conditions the rules of one source set on it, out of a sample of rules."""
    sample = list(rules.values())[:: 1 + len(rules) // RANKS_SAMPLE]
    conditions: dict[str, set[tuple[tuple[str, ...], tuple[Test, ...]]]] = {}
    sources: dict[str, set[tuple[str, ...]]] = {}
    for pattern in sample:
        for branch in pattern.branches[:4]:
            of = literal_sources(branch)
            for field in branch:
                conditions.setdefault(field.path, set()).add((of, field.tests))
                sources.setdefault(field.path, set()).add(of)
    ranks: dict[str, float] = {}
    for path, different in conditions.items():
        rank = float(len(different) - len(sources[path]))
        steps = path.split(".")
        for at in range(1, min(len(steps), DEPTH_MAX) + 1):
            leading = ".".join(steps[:at])
            ranks[leading] = max(rank, ranks.get(leading, 0.0))
    return ranks
