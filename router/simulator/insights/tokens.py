"""The words of the Logs Insights language: names, texts, numbers, periods, signs, regular expressions.

A slash begins a regular expression or divides, which only the grammar knows; so the reader asks for tokens one at a
time, and for a regular expression by name (`regex`). Comments run from `#` to the end of the line. Every refusal is a
`MalformedQuery` with its place.
"""

import re
from typing import Literal

import msgspec

from router.simulator.insights.syntax import MalformedQuery

Kind = Literal["name", "text", "number", "period", "sign", "end"]

_BLANK = re.compile(r"(?:\s+|#[^\n]*)*")
_PART = re.compile(r"[A-Za-z_@][A-Za-z0-9_@]*")
_LATER_PART = re.compile(r"[A-Za-z0-9_@]+")
_INDEX = re.compile(r"\[\s*(\d{1,9})\s*\]")
_NUMBER = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
_UNIT = re.compile(r"[A-Za-z_]\w*")
_SIGN = re.compile(r"!=|<=|>=|=~|[=<>+\-*/%^(),|\[\]]")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}

WORDS = frozenset("and or not in like as by asc desc".split())
"""Names that are none, unless they stand in backticks."""

_MS = {
    "millisecond": 1, "ms": 1, "msec": 1, "second": 1000, "s": 1000, "sec": 1000, "minute": 60_000, "m": 60_000,
    "min": 60_000, "hour": 3_600_000, "h": 3_600_000, "hr": 3_600_000, "day": 86_400_000, "d": 86_400_000,
    "week": 604_800_000, "w": 604_800_000,
}  # fmt: skip
_MONTHS = {"month": 1, "mo": 1, "mon": 1, "quarter": 3, "q": 3, "qtr": 3, "year": 12, "y": 12, "yr": 12}
_PERIOD_MS_MAX = 100 * 366 * 86_400_000  # ours


class Token(msgspec.Struct, frozen=True):
    """`value` is the name, the text without quotes, the sign; `parts` a name's steps; numbers and periods as such."""

    kind: Kind
    value: str
    start: int
    end: int
    parts: tuple[str, ...] = ()
    number: float = 0.0
    ms: int = 0
    months: int = 0
    quoted: bool = False

    def is_word(self, *words: str) -> bool:
        return self.kind == "name" and not self.quoted and self.value.lower() in words

    def is_sign(self, *signs: str) -> bool:
        return self.kind == "sign" and self.value in signs


class Reader:
    """One pass over a query's text, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0
        self.last_end = 0
        """Where the token that was taken last ends."""
        self._next: Token | None = None

    def peek(self) -> Token:
        if self._next is None:
            self._next = self._token()
        return self._next

    def take(self) -> Token:
        token = self.peek()
        self._at = self.last_end = token.end
        self._next = None
        return token

    def take_word(self, *words: str) -> bool:
        """Take the next token if it is one of these words."""
        if self.peek().is_word(*words):
            self.take()
            return True
        return False

    def take_sign(self, *signs: str) -> bool:
        if self.peek().is_sign(*signs):
            self.take()
            return True
        return False

    def need_sign(self, sign: str) -> Token:
        if not self.peek().is_sign(sign):
            raise self.unexpected(f"'{sign}'")
        return self.take()

    def unexpected(self, wanted: str) -> MalformedQuery:
        token = self.peek()
        line = self.text.count("\n", 0, token.start) + 1
        column = token.start - (self.text.rfind("\n", 0, token.start) + 1) + 1
        shown = self.text[token.start : min(token.end, token.start + 64)] or "end of query"
        return MalformedQuery(
            f"unexpected symbol found {shown} at line {line} and position {column}: expected {wanted}",
            token.start,
            token.end,
        )

    def regex(self) -> tuple[str, int, int] | None:
        """The regular expression between slashes that comes next, with its place; None where none begins."""
        if not self.peek().is_sign("/"):
            return None
        start = self.peek().start
        at = start + 1
        while at < len(self.text) and self.text[at] not in "/\n":
            at += 2 if self.text[at] == "\\" else 1
        if at >= len(self.text) or self.text[at] != "/":
            raise MalformedQuery("the regular expression has no closing slash", start, len(self.text))
        self._at = self.last_end = at + 1
        self._next = None
        return self.text[start + 1 : at], start, at + 1

    def _token(self) -> Token:
        match = _BLANK.match(self.text, self._at)
        start = match.end() if match else self._at
        if start == len(self.text):
            return Token("end", "", start, start)
        character = self.text[start]
        if character in "\"'":
            return self._quoted(start)
        if character == "`" or _PART.match(self.text, start):
            return self._name(start)
        number = _NUMBER.match(self.text, start)
        if number:
            return self._number(start, number)
        sign = _SIGN.match(self.text, start)
        if sign:
            return Token("sign", sign[0], start, sign.end())
        raise MalformedQuery(f"unexpected symbol found {character}", start, start + 1)

    def _quoted(self, start: int) -> Token:
        quote = self.text[start]
        at = start + 1
        made: list[str] = []
        while at < len(self.text) and self.text[at] != quote:
            following = self.text[at + 1 : at + 2]
            if self.text[at] == "\\" and following in _ESCAPES and following:
                made.append(_ESCAPES[following])
                at += 2
            else:
                made.append(self.text[at])
                at += 1
        if at >= len(self.text):
            raise MalformedQuery("the text has no closing quote", start, len(self.text))
        return Token("text", "".join(made), start, at + 1)

    def _name(self, start: int) -> Token:
        parts: list[str] = []
        quoted = False
        at = start
        while True:
            if self.text[at : at + 1] == "`":
                quoted = True
                close = self.text.find("`", at + 1)
                if close <= at + 1:
                    raise MalformedQuery("expected a field's name between backticks", at, len(self.text))
                parts += self.text[at + 1 : close].split(".")
                at = close + 1
            else:
                part = (_LATER_PART if parts else _PART).match(self.text, at)
                if part is None:
                    raise MalformedQuery("expected a field's name after the period", start, at)
                parts.append(part[0])
                at = part.end()
                if len(parts) == 1 and part[0].lower() in WORDS:
                    return Token("name", part[0], start, at)
            while index := _INDEX.match(self.text, at):
                parts.append(index[1])
                at = index.end()
            if self.text[at : at + 1] != ".":
                return Token("name", ".".join(parts), start, at, parts=tuple(parts), quoted=quoted)
            at += 1

    def _number(self, start: int, number: re.Match[str]) -> Token:
        unit = _UNIT.match(self.text, number.end())
        if unit is None:
            value = float(number[0])
            if value in (float("inf"), float("-inf")):
                raise MalformedQuery(f"the number {number[0]} is too large", start, number.end())
            return Token("number", number[0], start, number.end(), number=value)
        name = unit[0].lower()
        known = name if name in _MS or name in _MONTHS else name.removesuffix("s")
        if not number[0].isdigit() or (known not in _MS and known not in _MONTHS):
            raise MalformedQuery(
                f"expected a period such as 30s, 5m or 1h, got {number[0]}{unit[0]}", start, unit.end()
            )
        count = int(number[0][:18])
        ms, months = count * _MS.get(known, 0), count * _MONTHS.get(known, 0)
        if not 0 < ms + months * 31 * 86_400_000 <= _PERIOD_MS_MAX:
            raise MalformedQuery(f"expected a period of 1ms to 100 years, got {number[0]}{unit[0]}", start, unit.end())
        return Token("period", self.text[start : unit.end()], start, unit.end(), ms=ms, months=months)
