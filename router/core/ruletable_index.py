"""One field's index: from a value to the set of rows whose condition on this field the value satisfies.

The tests of a field and what it excludes are looked up (`ruletable_lookup.py`). Answers are remembered in a `Memo`, all
memos of a table within one budget of memory.

Values come as a decoder gives them: `str`, `int`, `bool`, `None`, and the text of a decimal or exponent number as
`bytes` (`str.encode` is the decoder's float hook), because only its text tells whether a double holds it. The `Value`s
of a complete reading, `float` and `OddNumber`, will do as well.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol
from weakref import ref

import msgspec

from router.core.operators import Absent, AnythingBut, Exists, OddNumber, Test, number, whole_number
from router.core.ruletable_lookup import STEP_TESTS, LookupCode, Rows, ValueLookup, rows_of, spend

MEMO_ENTRIES_MAX = 4096
"""Of one field; then its memo starts anew."""
MEMO_BYTES_MAX = 32 * 2**20
"""Of one table, estimated; then all its memos start anew."""
DOOR_MASK = 1023
MEMO_KEY_CHARS_MAX = 256
"""Longer strings are matched anew each time."""
NAMES_BYTES_MAX = 256 * 2**10
"""Of one field whose answers are all known beforehand."""

_UNSET = msgspec.UNSET
_NUMBERS = (int, float)
_PLAIN_MAX = 2**53
_encode = msgspec.json.Encoder().encode
_float = msgspec.json.Decoder(float).decode
_floats = msgspec.json.Decoder(list[float]).decode


class Forgetful(Protocol):
    """Remembers answers, and can start anew."""

    def forget(self) -> None: ...


class Steps:
    """What one event may still cost, and what all memos of a table may still take.

    `left` counts down with every step; where there may be many, `spend` stops the event when there are none left.
    """

    __slots__ = ("_memos", "_memos_max", "left", "memo_bytes_left")

    def __init__(self) -> None:
        self.left = 0
        self.memo_bytes_left = MEMO_BYTES_MAX
        self._memos: list[ref[Forgetful]] = []
        self._memos_max = 64

    def watch(self, memo: "Forgetful") -> None:
        """Count the memo in for as long as it is in use."""
        self._memos.append(ref(memo))
        if len(self._memos) > self._memos_max:
            self._memos = [watched for watched in self._memos if watched() is not None]
            self._memos_max = 64 + 2 * len(self._memos)

    def remembered(self, size: int) -> None:
        """Count the bytes of something remembered; when all of it is too much, all memos start anew."""
        self.memo_bytes_left -= size
        if self.memo_bytes_left < 0:
            self.forget()

    def forget(self) -> None:
        """Let all memos start anew."""
        self.memo_bytes_left = MEMO_BYTES_MAX
        for watched in self._memos:
            memo = watched()
            if memo is not None:
                memo.forget()


class Memo(dict[Any, Rows]):
    """The answers of one index by value; what is not there yet is asked for and kept. UNSET is the missing field.

    Raises TypeError for an array or an object, which are no values. Where `splits_bools` is set, `True` and `False`
    must not be looked up here: they would find the answers of 1 and 0 (`FieldIndex.of`). A string is kept when it comes
    a second time, as a byte for each of some hashes tells: most strings that come once never come again.
    """

    __slots__ = ("__weakref__", "_door", "_index", "_set_bytes", "_steps")

    def __init__(self, index: "FieldIndex", steps: Steps, width: int) -> None:
        super().__init__()
        self._index = index
        self._steps = steps
        self._set_bytes = width >> 3
        self._door = bytearray(DOOR_MASK + 1)
        steps.watch(self)
        self.forget()

    def forget(self) -> None:
        self.clear()
        self[_UNSET] = self._index.absent

    def __missing__(self, value: Any) -> Rows:
        index, steps = self._index, self._steps
        steps.left -= 1
        kind = type(value)
        if kind is str:
            rows = index.of_text(value)
            if steps.left < 0:
                spend(steps, 0)
            mark = hash(value)
            door, slot = self._door, mark & DOOR_MASK
            if door[slot] != mark >> 16 & 255 or len(value) > MEMO_KEY_CHARS_MAX:
                door[slot] = mark >> 16 & 255
                return rows
        elif kind is bytes:
            return index.of_decimal(value)
        else:
            rows = index.answer(value)
            if kind is OddNumber or (kind in _NUMBERS and not -_PLAIN_MAX < value < _PLAIN_MAX):
                # As keys, an int and a float of this size may be equal, and yet have other answers.
                return rows
        size = 160 if kind is not str else 160 + len(value) * (1 if value.isascii() else 4)
        if rows == index.indifferent:
            # Most values satisfy nothing of their own: those share one int.
            rows = index.indifferent
        else:
            size += self._set_bytes
        if len(self) >= MEMO_ENTRIES_MAX:
            self.forget()
        self[value] = rows
        steps.remembered(size)
        return rows


class FieldIndex:
    """The conditions that rows set on one path.

    `absent` is the answer for a field without a value. Every answer includes `indifferent`, the rows that set no
    condition on this path, so that the answers of all fields can be intersected. `here` are the others, `absence` those
    with `exists: false`.

    Where a field is asked for names alone, `names` has the answers for all that are asked for, and `other` is the
    answer for every other value; then no memo is needed. `only` is the one text that all rows ask for, if they do.
    """

    __slots__ = (
        "_excluded",
        "_excluding",
        "_of_float",
        "_positive",
        "_present",
        "_steps",
        "absence",
        "absent",
        "here",
        "indifferent",
        "memo",
        "names",
        "of_text",
        "only",
        "other",
        "splits_bools",
    )

    memo: Memo
    of_text: Callable[[str], Rows]
    """The rows satisfied by a string, computed anew."""
    _of_float: Callable[[float], Rows]

    def __init__(self, steps: Steps) -> None:
        """An empty index; `fill` does the work."""
        self._steps = steps
        self._positive = ValueLookup()
        self._excluded = ValueLookup()
        self._excluding: Rows = 0
        self._present: Rows = 0
        self.absence: Rows = 0
        self.absent: Rows = 0
        self.here: Rows = 0
        self.indifferent: Rows = 0
        self.splits_bools = False
        self.names: dict[Any, Rows] | None = None
        self.other: Rows = 0
        self.only: str | None = None

    def fill(self, conditions: Iterable[tuple[int, Sequence[Test]]], everything: Rows) -> Iterator[None]:
        """Take in (row, its tests), pausing often; complete when the iterator has ended."""
        here: list[int] = []
        absence: list[int] = []
        present: list[int] = []
        excluding: list[int] = []
        done = 0
        for row, tests in conditions:
            here.append(row)
            anything_buts = [test for test in tests if type(test) is AnythingBut]
            for test in tests:
                if type(test) is Exists:
                    present.append(row)
                elif type(test) is Absent:
                    absence.append(row)
                elif type(test) is not AnythingBut:
                    self._positive.add(test, row)
            if len(anything_buts) == 1:
                excluding.append(row)
                for excluded in anything_buts[0].tests:
                    self._excluded.add(excluded, row)
            else:
                for test in anything_buts:
                    self._positive.add(test, row)
            done += len(tests)
            if done > STEP_TESTS:
                done = 0
                yield
        self.here = rows_of(here)
        self.absence = rows_of(absence)
        self.indifferent = everything & ~self.here
        self.absent = self.absence | self.indifferent
        self._present = rows_of(present) | self.indifferent
        self._excluding = rows_of(excluding)
        yield
        width = everything.bit_length()
        for part in (self._positive, self._excluded):
            yield from part.freeze(width)
        self.of_text = self._function(ValueLookup.write_texts)
        self._of_float = self._function(ValueLookup.write_numbers)
        self.splits_bools = self.answer(True) != self.answer(1) or self.answer(False) != self.answer(0)
        self.memo = Memo(self, self._steps, width)
        self._name(width)

    def _name(self, width: int) -> None:
        """Set `names` where that is the whole answer and takes little."""
        if not (self._positive.only_names and self._excluded.only_names):
            return
        texts = [*self._positive.texts.sets, *self._excluded.texts.sets]
        complete = self._positive.texts.complete and self._excluded.texts.complete
        if complete and len(texts) * (width >> 3) <= NAMES_BYTES_MAX:
            self.names = {text: self.of_text(text) for text in texts}
            self.names[None] = self.answer(None)
            self.names[_UNSET] = self.absent
            self.other = self._present | self._excluding
            if len(texts) == 1 and self.names[texts[0]].bit_count() == width:
                self.only = texts[0]

    def _function(self, write: Callable[[ValueLookup, LookupCode], None]) -> Callable[[Any], Rows]:
        """A function from one kind of value to the rows that it satisfies, computed anew."""
        code = LookupCode(self._steps)
        code.put(f"r = {code.constant(self._present)}")
        write(self._positive, code)
        if self._excluding:
            code.put("e = 0")
            code.target = "e"
            write(self._excluded, code)
            code.put(f"r |= {code.constant(self._excluding)} & ~e")
        return code.function()

    def of_decimal(self, text: bytes) -> Rows:
        """The rows satisfied by a number with this text, computed anew."""
        try:
            near = _float(text)
        except msgspec.ValidationError:  # beyond what a double holds
            return self._of_other(OddNumber(text.decode()))
        return self._of_float(near) if _encode(near) == text else self._of_other(number(text.decode()))

    def _of_other(self, value: float | OddNumber | bool | None) -> Rows:
        found = self._present | self._positive.of_other(value, self._steps)
        if self._excluding:
            found |= self._excluding & ~self._excluded.of_other(value, self._steps)
        return found

    def answer(self, value: Any) -> Rows:
        """The rows satisfied by a leaf value that is no decimal's text, computed anew."""
        kind = type(value)
        if kind is str:
            return self.of_text(value)
        return self._of_other(whole_number(value) if kind is int else value)

    def of(self, value: Any) -> Rows:
        """The same from the memo, where it may be asked."""
        return self.answer(value) if type(value) is bool and self.splits_bools else self.memo[value]

    def of_any(self, values: Sequence[Any]) -> Rows:
        """The rows satisfied by any of the leaf values, of which there is at least one."""
        found = 0
        distinct = set(values)
        if len(distinct) > 2 and not self._excluding:
            decimals = [value for value in distinct if type(value) is bytes]
            if len(decimals) > 2:
                found = self.of_decimals(decimals)
                distinct.difference_update(decimals)
        for value in distinct:
            found |= self.of(value)
            if self._steps.left < 0:
                spend(self._steps, 0)
        if self.splits_bools:
            # In the set, True hides behind 1 and False behind 0.
            for value in values:
                if value is True or value is False:
                    found |= self.answer(value)
                elif value == 0 or value == 1:
                    found |= self.of(value)
        return found

    def of_decimals(self, texts: Sequence[bytes]) -> Rows:
        """The rows that any of the numbers satisfies; whether doubles hold their texts is asked for all at once."""
        if self._excluding:
            return self.of_any(texts)
        self._steps.left -= len(texts)
        array = b"[" + b",".join(texts) + b"]"
        try:
            near = _floats(array)
        except msgspec.ValidationError:  # one is beyond what a double holds
            near = []
        if near and _encode(near) == array:
            return self._present | self._positive.of_numbers(near, self._steps)
        values = [number(text.decode()) for text in texts]
        found = self._present | self._positive.of_numbers([one for one in values if type(one) is float], self._steps)
        for value in values:
            if type(value) is OddNumber:
                found |= self._positive.of_other(value, self._steps)
        return found
