"""One field's index: from a value to the set of rules whose condition on this field the value satisfies.

Rules are bits of a Python int. Exact values, prefixes, suffixes, numbers and addresses are looked up, so that a value
costs what can match it and not what the rules cost; wildcards are tried behind their literal beginning or end.
Answers for strings are remembered, at most MEMO_MAX of them. What a test means is `operators.py`'s to say: for every
value the answer here equals asking each test's `holds`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import xor
from re import Match

from router.core.operators import (
    Absent,
    AddressRange,
    AnythingBut,
    Constant,
    EqualsIgnoreCase,
    Exists,
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

MEMO_MAX = 2048
MEMO_KEY_CHARS_MAX = 256
"""Longer strings are matched anew each time, so that a memo's size stays bounded."""

Rules = int
"""A set of rules, one bit each."""

_Regex = Callable[[str], Match[str] | None]


class _Cut:
    """Rules by a beginning (or an end) of fixed length: one dictionary look-up per length in use."""

    __slots__ = ("_by_length", "_lengths", "_suffix")

    def __init__(self, *, suffix: bool) -> None:
        self._suffix = suffix
        self._by_length: dict[int, dict[str, Rules]] = {}
        self._lengths: list[tuple[int, dict[str, Rules]]] = []

    def add(self, text: str, rules: Rules) -> None:
        same_length = self._by_length.setdefault(len(text), {})
        same_length[text] = same_length.get(text, 0) | rules
        self._lengths = sorted(self._by_length.items(), key=lambda item: item[0])

    def find(self, value: str) -> Rules:
        found = 0
        size = len(value)
        for length, rules in self._lengths:
            if length > size:
                break
            found |= rules.get(value[size - length :] if self._suffix else value[:length], 0)
        return found

    def find_ignoring_case(self, value: str) -> Rules:
        """For texts of lower-case ASCII: `value` folds only where it is ASCII."""
        found = 0
        size = len(value)
        for length, rules in self._lengths:
            if length > size:
                break
            cut = value[size - length :] if self._suffix else value[:length]
            if cut.isascii():
                found |= rules.get(cut.lower(), 0)
        return found


class _Wildcards:
    """Wildcards, sorted by their literal beginning if they have one, else by their literal end."""

    __slots__ = ("_begins", "_ends", "_rules")

    def __init__(self) -> None:
        self._rules: dict[tuple[str, ...], Rules] = {}
        self._begins: dict[int, dict[str, list[tuple[_Regex, Rules]]]] = {}
        self._ends: dict[int, dict[str, list[tuple[_Regex, Rules]]]] = {}

    def add(self, parts: tuple[str, ...], rules: Rules) -> None:
        self._rules[parts] = self._rules.get(parts, 0) | rules

    def freeze(self) -> None:
        for parts, rules in self._rules.items():
            ends = not parts[0]
            literal = parts[-1] if ends else parts[0]
            side = self._ends if ends else self._begins
            side.setdefault(len(literal), {}).setdefault(literal, []).append((wildcard_regex(parts), rules))

    def find(self, value: str) -> Rules:
        found = 0
        size = len(value)
        for length, by_text in self._begins.items():
            for regex, rules in by_text.get(value[:length], ()):
                if found | rules != found and regex(value):
                    found |= rules
        for length, by_text in self._ends.items():
            if length <= size:
                for regex, rules in by_text.get(value[size - length :], ()):
                    if found | rules != found and regex(value):
                        found |= rules
        return found


class _Intervals:
    """Rules by ranges of numbers: one binary search finds the point, or the gap between two points, of a value."""

    __slots__ = ("_points", "_ranges", "_slots")

    def __init__(self) -> None:
        self._ranges: list[tuple[float | None, bool, float | None, bool, Rules]] = []
        self._points: list[float] = []
        self._slots: list[Rules] = [0]

    def add(self, test: Range | AddressRange, rule: Rules) -> None:
        if isinstance(test, AddressRange):
            self._ranges.append((test.low, False, test.high, False, rule))
        else:
            self._ranges.append((test.low, test.low_open, test.high, test.high_open, rule))

    def freeze(self) -> None:
        """Slot 2i+1 is the i-th point itself, slot 2i the gap below it, the last slot the gap above all."""
        self._points = sorted({bound for one in self._ranges for bound in (one[0], one[2]) if bound is not None})
        slot = {point: 2 * at + 1 for at, point in enumerate(self._points)}
        above = 2 * len(self._points)
        spans: dict[Rules, list[tuple[int, int]]] = {}
        for low, low_open, high, high_open, rule in self._ranges:
            first = 0 if low is None else slot[low] + low_open
            last = above if high is None else slot[high] - high_open
            spans.setdefault(rule, []).append((first, last))
        flips = [0] * (above + 2)
        for rule, of_rule in spans.items():
            reached = -1
            for first, last in sorted(of_rule):
                if last > reached:
                    flips[max(first, reached + 1)] ^= rule
                    flips[last + 1] ^= rule
                    reached = last
        self._slots = list(accumulate(flips[:-1], xor))

    def find(self, value: float) -> Rules:
        points = self._points
        at = bisect_left(points, value)
        return self._slots[2 * at + 1 if at < len(points) and points[at] == value else 2 * at]


class _ValueIndex:
    """Which rules have a test that holds for a value; used for the tests of a field and for what it excludes."""

    __slots__ = (
        "_addresses",
        "_begins",
        "_begins_folded",
        "_constants",
        "_ends",
        "_ends_folded",
        "_folded",
        "_has_addresses",
        "_numbers",
        "_one_by_one",
        "_ranges",
        "_texts",
        "_wildcards",
    )

    def __init__(self) -> None:
        self._texts: dict[str, Rules] = {}
        self._folded: dict[str, Rules] = {}
        self._begins = _Cut(suffix=False)
        self._ends = _Cut(suffix=True)
        self._begins_folded = _Cut(suffix=False)
        self._ends_folded = _Cut(suffix=True)
        self._wildcards = _Wildcards()
        self._one_by_one: dict[Test, Rules] = {}
        self._numbers: dict[float | OddNumber, Rules] = {}
        self._ranges = _Intervals()
        self._constants: dict[bool | None, Rules] = {}
        self._addresses = {4: _Intervals(), 6: _Intervals()}
        self._has_addresses = False

    def add(self, test: Test, rule: Rules) -> None:
        match test:
            case Text(text):
                self._texts[text] = self._texts.get(text, 0) | rule
            case Prefix(text):
                self._begins.add(text, rule)
            case Suffix(text):
                self._ends.add(text, rule)
            case EqualsIgnoreCase(text) if text.isascii():
                self._folded[text.lower()] = self._folded.get(text.lower(), 0) | rule
            case PrefixIgnoreCase(text) if text.isascii():
                self._begins_folded.add(text.lower(), rule)
            case SuffixIgnoreCase(text) if text.isascii():
                self._ends_folded.add(text.lower(), rule)
            case Wildcard(parts):
                self._wildcards.add(parts, rule)
            case Number(number):
                self._numbers[number] = self._numbers.get(number, 0) | rule
            case Range():
                self._ranges.add(test, rule)
            case Constant(value):
                self._constants[value] = self._constants.get(value, 0) | rule
            case AddressRange(version):
                self._addresses[version].add(test, rule)
                self._has_addresses = True
            case _:
                self._one_by_one[test] = self._one_by_one.get(test, 0) | rule

    def freeze(self) -> None:
        self._wildcards.freeze()
        self._ranges.freeze()
        for addresses in self._addresses.values():
            addresses.freeze()

    def of_text(self, value: str) -> Rules:
        found = self._texts.get(value, 0) | self._begins.find(value) | self._ends.find(value)
        if self._folded and value.isascii():
            found |= self._folded.get(value.lower(), 0)
        found |= self._begins_folded.find_ignoring_case(value) | self._ends_folded.find_ignoring_case(value)
        found |= self._wildcards.find(value)
        if self._has_addresses:
            address = ip_address(value)
            if address is not None:
                found |= self._addresses[address[0]].find(address[1])
        return found | self._tried(value) if self._one_by_one else found

    def of_other(self, value: float | OddNumber | bool | None) -> Rules:
        if type(value) is float:
            found = self._numbers.get(value, 0) | self._ranges.find(value)
        elif type(value) is OddNumber:
            found = self._numbers.get(value, 0)
        else:
            found = self._constants.get(value, 0)  # type: ignore[arg-type]
        return found | self._tried(value) if self._one_by_one else found

    def _tried(self, value: Value) -> Rules:
        found = 0
        for test, rules in self._one_by_one.items():
            if found | rules != found and test.holds(value):
                found |= rules
        return found


class FieldIndex:
    """The conditions that rules set on one path.

    `absent` is the answer for a field without a value. Every answer includes `indifferent`, the rules that set no
    condition on this path, so that the answers of all fields can be intersected.
    """

    __slots__ = ("_excluded", "_excluding", "_memo", "_positive", "_present", "absent", "indifferent", "path")

    def __init__(self, path: str, conditions: Iterable[tuple[Rules, Sequence[Test]]], everything: Rules) -> None:
        """`conditions` are (the rule's bit, its tests)."""
        self.path = path
        self._positive = _ValueIndex()
        self._excluded = _ValueIndex()
        self._excluding = 0
        self._present = 0
        self._memo: dict[str, Rules] = {}
        here = 0
        absent = 0
        for rule, tests in conditions:
            here |= rule
            anything_buts = [test for test in tests if isinstance(test, AnythingBut)]
            for test in tests:
                if isinstance(test, Exists):
                    self._present |= rule
                elif isinstance(test, Absent):
                    absent |= rule
                elif not isinstance(test, AnythingBut):
                    self._positive.add(test, rule)
            if len(anything_buts) == 1:
                self._excluding |= rule
                for excluded in anything_buts[0].tests:
                    self._excluded.add(excluded, rule)
            else:
                for test in anything_buts:
                    self._positive.add(test, rule)
        self.indifferent = everything & ~here
        self._present |= self.indifferent
        self.absent = absent | self.indifferent
        self._positive.freeze()
        self._excluded.freeze()

    def of_text(self, value: str) -> Rules:
        """The rules satisfied by the string `value`."""
        known = self._memo.get(value)
        if known is not None:
            return known
        found = self._present | self._positive.of_text(value)
        if self._excluding:
            found |= self._excluding & ~self._excluded.of_text(value)
        if len(value) <= MEMO_KEY_CHARS_MAX:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            # Most values satisfy nothing of their own: those share one int.
            self._memo[value] = self.indifferent if found == self.indifferent else found
        return found

    def of(self, value: Value) -> Rules:
        """The rules satisfied by any kind of value."""
        if isinstance(value, str):
            return self.of_text(value)
        found = self._present | self._positive.of_other(value)
        if self._excluding:
            found |= self._excluding & ~self._excluded.of_other(value)
        return found
