"""What a field's index looks values up in: rows by exact values, beginnings, ends, wildcards, numbers and addresses.

A row is a branch of a rule's pattern; a set of rows is a Python int, one bit a row. A value costs what can match it and
not what the rows cost; wildcards are tried behind their literal beginning or end. Everything is added first, then
frozen, then only asked. What a test means is `operators.py`'s to say: every answer here equals asking `holds`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import accumulate, repeat
from operator import or_, xor
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

STEPS_MAX = 1_000_000
"""Matching one event takes no more steps: a value looked up, an array element, a test or a binding tried."""
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


def spend(steps: StepsLeft, count: int) -> None:
    """Take steps; TooManySteps when there are not as many left."""
    steps.left -= count
    if steps.left < 0:
        raise TooManySteps(f"expected an event that is matched in {STEPS_MAX} steps, got one that takes more")


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

    def find_any(self, keys: Sequence[Any]) -> Rows:
        found = 0
        for known in (self._sparse, self.sets):
            if known and not known.keys().isdisjoint(keys):
                for key in known.keys() & set(keys):
                    found |= self.find(key)
        return found


class _Cut:
    """Rows by a beginning (or an end) of fixed length: one look-up per length in use."""

    __slots__ = ("_lengths", "_postings", "_suffix")

    def __init__(self, *, suffix: bool) -> None:
        self._suffix = suffix
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

    def write(self, code: "LookupCode", value: str) -> None:
        """Look up each beginning (or end); a shorter value than that finds at most what it does begin with."""
        find = code.constant(self._postings.sets.get if self._postings.complete else self._postings.find)
        default = ", 0" if self._postings.complete else ""
        for length in self._lengths:
            cut = '""' if not length else f"{value}[-{length}:]" if self._suffix else f"{value}[:{length}]"
            code.found(f"{find}({cut}{default})")

    def find_folded(self, value: str) -> Rows:
        """For texts of lower-case ASCII and a value that is not all ASCII."""
        found = 0
        size = len(value)
        for length in self._lengths:
            cut = value[max(0, size - length) :] if self._suffix else value[:length]
            if cut.isascii():
                found |= self._postings.find(cut.lower())
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

    def write(self, code: "LookupCode") -> None:
        """A wildcard tried costs a step, and one more for each 64 characters of the value."""
        code.put("n = 1 + (len(v) >> 6)")
        for side in (self._begins, self._ends):
            for length, by_text in side.items():
                cut = '""' if not length else f"v[:{length}]" if side is self._begins else f"v[-{length}:]"
                find = code.constant(by_text.get)
                code.put(f"for x, s in {find}({cut}, ()):")
                code.put("    steps.left -= n")
                code.put("    if steps.left < 0:")
                code.put("        spend(steps, 0)")
                code.put("    if x(v):")
                code.put(f"        {code.target} |= s")


class _Intervals:
    """Rows by ranges of numbers: one binary search finds the point, or the gap between two points, of a value."""

    __slots__ = ("_point_set", "_points", "_ranges", "_slots")

    def __init__(self) -> None:
        self._ranges: list[tuple[float | None, bool, float | None, bool, int]] = []
        self._points: list[float] = []
        self._point_set: frozenset[float] = frozenset()
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
        self._point_set = frozenset(self._points)
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

    def write(self, code: "LookupCode") -> None:
        points, slots = code.constant(self._points), code.constant(self._slots)
        code.put(f"at = bisect_left({points}, v)")
        code.found(f"{slots}[2 * at + 1 if at < {len(self._points)} and {points}[at] == v else 2 * at]")

    def find_any(self, values: Sequence[float]) -> Rows:
        """The union over many values; the searches run in C."""
        points, slots = self._points, self._slots
        found = 0
        if not self._point_set.isdisjoint(values):
            found = reduce(or_, map(self.find, self._point_set.intersection(values)))
            values = [value for value in values if value not in self._point_set]
        for at in set(map(bisect_left, repeat(points), values)):
            found |= slots[2 * at]
        return found


class LookupCode:
    """Writes a function from a value to rows, `v` to `r`: the look-ups that one index needs and no others.

    `target` is the variable that look-ups add their rows to.
    """

    __slots__ = ("_lines", "constants", "target")

    def __init__(self, steps: StepsLeft) -> None:
        self.constants: dict[str, Any] = {"bisect_left": bisect_left, "spend": spend, "steps": steps}
        self.target = "r"
        self._lines: list[str] = []

    def constant(self, value: Any) -> str:
        """The name under which the code finds the value."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def put(self, line: str) -> None:
        self._lines.append("        " + line)

    def found(self, rows: str) -> None:
        self.put(f"{self.target} |= {rows}")

    def lines(self) -> list[str]:
        return [line.removeprefix("        ") for line in self._lines]

    def function(self) -> Callable[[Any], Rows]:
        lines = [f"def make({', '.join(self.constants)}):", "    def find(v):", *self._lines]
        find: Callable[[Any], Rows] = made("\n".join([*lines, "        return r", "    return find"]))(**self.constants)
        return find


@lru_cache(maxsize=256)
def made(text: str) -> Callable[..., Callable[..., Any]]:
    """The function `make` that the text defines. Our own text: names of fields enter it as letters, digits and hex."""
    names: dict[str, Any] = {"__builtins__": {"TypeError": TypeError, "len": len}}
    exec(compile(text, "<rules>", "exec"), names)
    make: Callable[..., Callable[..., Any]] = names["make"]
    return make


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
        "texts",
    )

    def __init__(self) -> None:
        self.texts = _Postings()
        self._folded = _Postings()
        self._begins = _Cut(suffix=False)
        self._ends = _Cut(suffix=True)
        self._begins_folded = _Cut(suffix=False)
        self._ends_folded = _Cut(suffix=True)
        self._wildcards = _Wildcards()
        self._one_by_one: dict[Test, list[int]] = {}
        self._numbers = _Postings()
        self._ranges = _Intervals()
        self._constants = _Postings()
        self._addresses = {4: _Intervals(), 6: _Intervals()}

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

    def freeze(self, width: int) -> Iterator[None]:
        for part in (self.texts, self._folded, self._numbers, self._constants):
            part.freeze(width)
        cuts = (self._begins, self._ends, self._begins_folded, self._ends_folded)
        for cut in cuts:
            cut.freeze(width)
        self._wildcards.freeze()
        yield
        for ranges in (self._ranges, *self._addresses.values()):
            yield from ranges.freeze()

    def write_texts(self, code: LookupCode) -> None:
        """What a string is to be looked up in."""
        if self.texts:
            find = code.constant(self.texts.sets.get if self.texts.complete else self.texts.find)
            code.found(f"{find}(v, 0)" if self.texts.complete else f"{find}(v)")
        for cut in (self._begins, self._ends):
            if cut:
                cut.write(code, "v")
        folded = (self._folded, self._begins_folded, self._ends_folded)
        if any(folded):
            code.put("w = v.lower() if v.isascii() else None")
            slow = code.constant(self._of_folded)
            exact, *cuts = folded
            code.put("if w is None:")
            code.put(f"    {code.target} |= {slow}(v)")
            code.put("else:")
            inner = LookupCode(code.constants["steps"])
            inner.constants = code.constants
            inner.target = code.target
            if exact:
                inner.found(f"{code.constant(exact.find)}(w)")
            for cut in cuts:
                if cut:
                    cut.write(inner, "w")
            for line in inner.lines():
                code.put("    " + line)
        if self._wildcards:
            self._wildcards.write(code)
        if any(self._addresses.values()):
            code.put('if v[:1] in "0123456789abcdefABCDEF:":')
            code.put(f"    {code.target} |= {code.constant(self._of_address)}(v)")
        if self._one_by_one:
            code.found(f"{code.constant(self._tried)}(v, steps)")

    def write_numbers(self, code: LookupCode) -> None:
        """What a comparable number is to be looked up in."""
        if self._numbers:
            complete = self._numbers.complete
            find = code.constant(self._numbers.sets.get if complete else self._numbers.find)
            code.found(f"{find}(v, 0)" if complete else f"{find}(v)")
        if self._ranges:
            self._ranges.write(code)
        if self._one_by_one:
            code.found(f"{code.constant(self._tried)}(v, steps)")

    def _of_folded(self, value: str) -> Rows:
        """For a value that is not all ASCII."""
        return self._begins_folded.find_folded(value) | self._ends_folded.find_folded(value)

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

    def of_numbers(self, values: Sequence[float], steps: StepsLeft) -> Rows:
        """The rows that any of the numbers satisfies."""
        found = self._numbers.find_any(values)
        if self._ranges:
            found |= self._ranges.find_any(values)
        if self._one_by_one:
            for value in values:
                found |= self._tried(value, steps)
        return found

    @property
    def only_names(self) -> bool:
        """Whether nothing but literal strings and `true`, `false` and `null` is asked for."""
        others = (self._numbers, self._ranges, self._one_by_one, self._begins, self._ends, self._wildcards)
        folded = (self._folded, self._begins_folded, self._ends_folded)
        return not any((*others, *folded, *self._addresses.values()))

    def _tried(self, value: Value, steps: StepsLeft) -> Rows:
        found = 0
        cost = 1 + (len(value) >> 6 if isinstance(value, str) else 0)
        for test, numbers in self._one_by_one.items():
            spend(steps, cost)
            if test.holds(value):
                found |= rows_of(numbers)
        return found
