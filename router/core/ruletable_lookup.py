"""What a field's index looks values up in: rows by exact values, beginnings, ends, wildcards, numbers and addresses.

A row is a branch of a rule's pattern; a set of rows is a Python int, one bit a row. A value costs what can match it and
not what the rows cost; wildcards are tried behind their literal beginning or end. Everything is added first, then
frozen, then only asked. What a test means is `operators.py`'s to say: every answer here equals asking `holds`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from operator import xor
from re import Match
from typing import Any, Protocol

from router.core.operators import (
    AddressRange,
    Constant,
    EqualsIgnoreCase,
    Number,
    OddNumber,
    Prefix,
    PrefixIgnoreCase,
    Range,
    Suffix,
    SuffixIgnoreCase,
    Test,
    Text,
    Value,
    Wildcard,
    ip_address,
    wildcard_regex,
)

SPARSE_FROM_ROWS = 1024
"""Buckets with more rows keep small sets as numbers."""
STEP_TESTS = 512
"""A build pauses after this many tests (about a millisecond)."""

Rows = int
"""A set of rows, one bit each."""

_Regex = Callable[[str], Match[str] | None]


class TooManySteps(ValueError):
    """The event is valid, but to hold it against these rules takes more steps than one event may take."""


class StepsLeft(Protocol):
    """Counts down what one event may still cost."""

    left: int


def rows_of(numbers: Sequence[int]) -> Rows:
    """The set with these row numbers."""
    if len(numbers) < 8:
        rows = 0
        for row in numbers:
            rows |= 1 << row
        return rows
    text = bytearray((max(numbers) >> 3) + 1)
    for row in numbers:
        text[row >> 3] |= 1 << (row & 7)
    return int.from_bytes(text, "little")


class _Postings:
    """Rows by key. Of many rows a few are kept as their numbers: ten thousand sets of ten thousand bits are 13 MB."""

    __slots__ = ("_sparse", "sets")

    def __init__(self) -> None:
        self._sparse: dict[Any, Any] = {}
        """A row's number, or the list of several."""
        self.sets: dict[Any, Rows] = {}
        """After `freeze`, where `complete` holds: the rows of every key."""

    def __bool__(self) -> bool:
        return bool(self._sparse or self.sets)

    def add(self, key: Any, row: int) -> None:
        known = self._sparse.setdefault(key, row)
        if known is not row:
            if type(known) is list:
                known.append(row)
            else:
                self._sparse[key] = [known, row]

    def freeze(self, width: int) -> None:
        """`width` is the number of rows that there are."""
        for key, numbers in self._sparse.items():
            if type(numbers) is list:
                if width <= SPARSE_FROM_ROWS or len(numbers) > 16:
                    self.sets[key] = rows_of(numbers)
            elif width <= SPARSE_FROM_ROWS:
                self.sets[key] = 1 << numbers
        for key in self.sets:
            del self._sparse[key]

    @property
    def complete(self) -> bool:
        return not self._sparse

    def find(self, key: Any) -> Rows:
        rows = self.sets.get(key)
        if rows is not None:
            return rows
        numbers = self._sparse.get(key)
        if numbers is None:
            return 0
        return 1 << numbers if type(numbers) is int else rows_of(numbers)

    def find_any(self, keys: set[Any]) -> Rows:
        found = 0
        for key in self._sparse.keys() & keys:
            found |= self.find(key)
        for key in self.sets.keys() & keys:
            found |= self.sets[key]
        return found


class _Cut:
    """Rows by a beginning (or an end) of fixed length: one look-up per length in use."""

    __slots__ = ("_folds", "_lengths", "_postings", "_suffix")

    def __init__(self, *, suffix: bool, folds: bool) -> None:
        """`folds`: the texts are lower-case ASCII, and values fold where they are ASCII."""
        self._suffix = suffix
        self._folds = folds
        self._postings = _Postings()
        self._lengths: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._postings)

    def add(self, text: str, row: int) -> None:
        self._postings.add(text, row)
        if len(text) not in self._lengths:
            self._lengths.append(len(text))
            self._lengths.sort()

    def freeze(self, width: int) -> None:
        self._postings.freeze(width)

    def find(self, value: str) -> Rows:
        found = 0
        find = self._postings.sets.get if self._postings.complete else self._postings.find
        size = len(value)
        for length in self._lengths:
            if length > size:
                break
            cut = value[size - length :] if self._suffix else value[:length]
            if self._folds:
                if not cut.isascii():
                    continue
                cut = cut.lower()
            found |= find(cut) or 0
        return found


class _Wildcards:
    """Wildcards, sorted by their literal beginning if they have one, else by their literal end."""

    __slots__ = ("_begins", "_ends", "_rows")

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], list[int]] = {}
        self._begins: dict[int, dict[str, list[tuple[_Regex, Rows]]]] = {}
        self._ends: dict[int, dict[str, list[tuple[_Regex, Rows]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._begins or self._ends)

    def add(self, parts: tuple[str, ...], row: int) -> None:
        self._rows.setdefault(parts, []).append(row)

    def freeze(self) -> None:
        for parts, rows in self._rows.items():
            ends = not parts[0]
            literal = parts[-1] if ends else parts[0]
            side = self._ends if ends else self._begins
            side.setdefault(len(literal), {}).setdefault(literal, []).append((wildcard_regex(parts), rows_of(rows)))
        self._rows.clear()

    def find(self, value: str, steps: StepsLeft) -> Rows:
        found = 0
        size = len(value)
        for length, by_text in self._begins.items():
            for regex, rows in by_text.get(value[:length], ()):
                steps.left -= 1
                if found | rows != found and regex(value):
                    found |= rows
        for length, by_text in self._ends.items():
            if length <= size:
                for regex, rows in by_text.get(value[size - length :], ()):
                    steps.left -= 1
                    if found | rows != found and regex(value):
                        found |= rows
        return found


class _Intervals:
    """Rows by ranges of numbers: one binary search finds the point, or the gap between two points, of a value."""

    __slots__ = ("_points", "_ranges", "_slots")

    def __init__(self) -> None:
        self._ranges: list[tuple[float | None, bool, float | None, bool, int]] = []
        self._points: list[float] = []
        self._slots: list[Rows] = [0]

    def __bool__(self) -> bool:
        return bool(self._points)

    def add(self, test: Range | AddressRange, row: int) -> None:
        if isinstance(test, AddressRange):
            self._ranges.append((test.low, False, test.high, False, row))
        else:
            self._ranges.append((test.low, test.low_open, test.high, test.high_open, row))

    def freeze(self) -> Iterator[None]:
        """Slot 2i+1 is the i-th point itself, slot 2i the gap below it, the last slot the gap above all."""
        self._points = sorted({bound for one in self._ranges for bound in (one[0], one[2]) if bound is not None})
        slot = {point: 2 * at + 1 for at, point in enumerate(self._points)}
        above = 2 * len(self._points)
        spans: dict[int, list[tuple[int, int]]] = {}
        for low, low_open, high, high_open, row in self._ranges:
            first = 0 if low is None else slot[low] + low_open
            last = above if high is None else slot[high] - high_open
            spans.setdefault(row, []).append((first, last))
        self._ranges.clear()
        yield
        flips = [0] * (above + 2)
        for row, of_row in spans.items():
            reached = -1
            for first, last in sorted(of_row):
                if last > reached:
                    flips[max(first, reached + 1)] ^= 1 << row
                    flips[last + 1] ^= 1 << row
                    reached = last
        yield
        slots: list[Rows] = []
        for start in range(0, above + 1, STEP_TESTS):
            part = accumulate(flips[start : min(start + STEP_TESTS, above + 1)], xor, initial=slots[-1] if slots else 0)
            slots += list(part)[1:]
            yield
        self._slots = slots

    def find(self, value: float) -> Rows:
        points = self._points
        at = bisect_left(points, value)
        return self._slots[2 * at + 1 if at < len(points) and points[at] == value else 2 * at]

    def find_any(self, values: set[float]) -> Rows:
        """The union over many values; the searches run in C."""
        points, slots = self._points, self._slots
        found = 0
        on_points = values.intersection(points)
        for value in on_points:
            found |= slots[2 * bisect_left(points, value) + 1]
        for at in set(map(partial(bisect_left, points), values - on_points if on_points else values)):
            found |= slots[2 * at]
        return found


class ValueLookup:
    """Which rows have a test that holds for a value; used for the tests of a field and for what it excludes."""

    __slots__ = (
        "_addresses",
        "_begins",
        "_begins_folded",
        "_constants",
        "_ends",
        "_ends_folded",
        "_folded",
        "_numbers",
        "_one_by_one",
        "_ranges",
        "_wildcards",
        "text_parts",
        "texts",
    )

    def __init__(self) -> None:
        self.texts = _Postings()
        self._folded = _Postings()
        self._begins = _Cut(suffix=False, folds=False)
        self._ends = _Cut(suffix=True, folds=False)
        self._begins_folded = _Cut(suffix=False, folds=True)
        self._ends_folded = _Cut(suffix=True, folds=True)
        self._wildcards = _Wildcards()
        self._one_by_one: dict[Test, list[int]] = {}
        self._numbers = _Postings()
        self._ranges = _Intervals()
        self._constants = _Postings()
        self._addresses = {4: _Intervals(), 6: _Intervals()}
        self.text_parts: list[Callable[[str], Rows]] = []
        """What a string is to be looked up in; complete after `freeze`."""

    def add(self, test: Test, row: int) -> None:
        match test:
            case Text(text):
                self.texts.add(text, row)
            case Prefix(text):
                self._begins.add(text, row)
            case Suffix(text):
                self._ends.add(text, row)
            case EqualsIgnoreCase(text) if text.isascii():
                self._folded.add(text.lower(), row)
            case PrefixIgnoreCase(text) if text.isascii():
                self._begins_folded.add(text.lower(), row)
            case SuffixIgnoreCase(text) if text.isascii():
                self._ends_folded.add(text.lower(), row)
            case Wildcard(parts):
                self._wildcards.add(parts, row)
            case Number(value):
                self._numbers.add(value, row)
            case Range():
                self._ranges.add(test, row)
            case Constant(value):
                self._constants.add(value, row)
            case AddressRange(version):
                self._addresses[version].add(test, row)
            case _:
                self._one_by_one.setdefault(test, []).append(row)

    def freeze(self, width: int, steps: StepsLeft) -> Iterator[None]:
        for part in (self.texts, self._folded, self._numbers, self._constants):
            part.freeze(width)
        cuts = (self._begins, self._ends, self._begins_folded, self._ends_folded)
        for cut in cuts:
            cut.freeze(width)
        self._wildcards.freeze()
        yield
        for ranges in (self._ranges, *self._addresses.values()):
            yield from ranges.freeze()
        self.text_parts = [cut.find for cut in cuts if cut]
        if self.texts:
            self.text_parts.insert(0, self.texts.find)
        if self._folded:
            self.text_parts.append(self._of_folded)
        if self._wildcards:
            self.text_parts.append(partial(self._wildcards.find, steps=steps))
        if any(self._addresses.values()):
            self.text_parts.append(self._of_address)
        if self._one_by_one:
            self.text_parts.append(partial(self._tried, steps=steps))

    def _of_folded(self, value: str) -> Rows:
        return self._folded.find(value.lower()) if value.isascii() else 0

    def _of_address(self, value: str) -> Rows:
        address = ip_address(value)
        return 0 if address is None else self._addresses[address[0]].find(address[1])

    def of_other(self, value: float | OddNumber | bool | None, steps: StepsLeft) -> Rows:
        if type(value) is float:
            found = self._numbers.find(value) | self._ranges.find(value)
        elif type(value) is OddNumber:
            found = self._numbers.find(value)
        else:
            found = self._constants.find(value)
        return found | self._tried(value, steps) if self._one_by_one else found

    def of_numbers(self, values: set[float], steps: StepsLeft) -> Rows:
        """The rows that any of the numbers satisfies."""
        found = self._numbers.find_any(values) | self._ranges.find_any(values)
        if self._one_by_one:
            for value in values:
                found |= self._tried(value, steps)
        return found

    @property
    def only_names(self) -> bool:
        """Whether nothing but literal strings and `true`, `false` and `null` is asked for."""
        return not (self._numbers or self._ranges or self._one_by_one) and self.text_parts in ([], [self.texts.find])

    def _tried(self, value: Value, steps: StepsLeft) -> Rows:
        found = 0
        for test, numbers in self._one_by_one.items():
            steps.left -= 1
            if test.holds(value):
                found |= rows_of(numbers)
        return found
