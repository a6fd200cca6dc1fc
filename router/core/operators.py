"""The operators of the pattern language: one small type each, with the one question `holds(value)`.

A value is a leaf of an event: `str`, `float` (any comparable number), `OddNumber`, `True`, `False` or `None`. What
`holds` answers is the definition; the rule table's indexes must agree with it. Nothing here knows paths, arrays or
rules. Facts: EventBridge user guide, "eb-create-pattern-operators", and the engine AWS publishes (event-ruler).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from math import isfinite

import msgspec


class OddNumber(msgspec.Struct, frozen=True):
    """A number that a double cannot hold to the last digit: never compared, equal only to the same text."""

    text: str


Value = str | float | OddNumber | bool | None

_PLAIN_INT_MAX = 2**53
_decimal = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?").fullmatch


def number(text: str) -> float | OddNumber:
    """A JSON number's text as a value.

    Comparable is what the shortest text of its nearest double denotes exactly; all else (too many digits, 1e400,
    1e-400) is an OddNumber.
    """
    if len(text) < 16 and text.lstrip("-").isdigit():
        return float(text)
    near = float(text)
    shortest = repr(near)
    return near if text == shortest or (isfinite(near) and _denotes(text) == _denotes(shortest)) else OddNumber(text)


def whole_number(value: int) -> float | OddNumber:
    """An int out of a JSON decoder as a value."""
    if -_PLAIN_INT_MAX <= value <= _PLAIN_INT_MAX:
        return float(value)
    return number(str(value))


def _denotes(text: str) -> tuple[str, str, int] | None:
    """Sign, digits without zeros at the ends, and exponent: equal for equal numbers; None for an endless exponent."""
    parts = _decimal(text)
    assert parts is not None, f"{text!r} is no number"
    sign, whole, fraction, exponent = parts.groups()
    digits = (whole + (fraction or "")).lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return ("", "", 0)
    power = exponent or "0"
    if len(power) > 18:
        return None
    return (sign, kept, int(power) - len(fraction or "") + len(digits) - len(kept))


class Constant(msgspec.Struct, frozen=True):
    """The literal `true`, `false` or `null`."""

    value: bool | None

    def holds(self, value: Value) -> bool:
        return value is self.value


class Text(msgspec.Struct, frozen=True):
    """A literal string that is not an IP address, and `exactly`."""

    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and value == self.text


class Number(msgspec.Struct, frozen=True):
    """A literal number and `numeric` with `=`; numbers that compare are equal by value, others by text."""

    number: float | OddNumber

    def holds(self, value: Value) -> bool:
        return type(value) is type(self.number) and value == self.number


class Range(msgspec.Struct, frozen=True):
    """`numeric` with one or two bounds; an absent bound is None."""

    low: float | None
    low_open: bool
    high: float | None
    high_open: bool

    def holds(self, value: Value) -> bool:
        if type(value) is not float:
            return False
        if self.low is not None and (value <= self.low if self.low_open else value < self.low):
            return False
        return self.high is None or (value < self.high if self.high_open else value <= self.high)


class Prefix(msgspec.Struct, frozen=True):
    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and value.startswith(self.text)


class Suffix(msgspec.Struct, frozen=True):
    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and value.endswith(self.text)


class PrefixIgnoreCase(msgspec.Struct, frozen=True):
    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and _ignore_case(self.text).match(value) is not None


class SuffixIgnoreCase(msgspec.Struct, frozen=True):
    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and _ends_ignoring_case(self.text)(value) is not None


class EqualsIgnoreCase(msgspec.Struct, frozen=True):
    """Character by character: each may be the lower or the upper case of the pattern's character."""

    text: str

    def holds(self, value: Value) -> bool:
        return type(value) is str and _ignore_case(self.text).fullmatch(value) is not None


class Wildcard(msgspec.Struct, frozen=True):
    """`*` stands for any run of characters; `parts` are the unescaped texts between the stars."""

    parts: tuple[str, ...]

    def holds(self, value: Value) -> bool:
        return type(value) is str and wildcard_regex(self.parts)(value) is not None


class AddressRange(msgspec.Struct, frozen=True):
    """`cidr`, and a literal that is an IP address; both bounds belong to it."""

    version: int
    low: int
    high: int

    def holds(self, value: Value) -> bool:
        if type(value) is not str:
            return False
        address = ip_address(value)
        return address is not None and address[0] == self.version and self.low <= address[1] <= self.high


class AnythingBut(msgspec.Struct, frozen=True):
    """A value that none of the tests holds for; the field must be there."""

    tests: tuple["Excludable", ...]

    def holds(self, value: Value) -> bool:
        return not any(test.holds(value) for test in self.tests)


class Exists(msgspec.Struct, frozen=True):
    def holds(self, value: Value) -> bool:
        return True


class Absent(msgspec.Struct, frozen=True):
    """`exists: false`: holds for no value; the field has none."""

    def holds(self, value: Value) -> bool:
        return False


Excludable = Text | Number | Prefix | Suffix | EqualsIgnoreCase | Wildcard
Test = (
    Constant
    | Text
    | Number
    | Range
    | Prefix
    | Suffix
    | PrefixIgnoreCase
    | SuffixIgnoreCase
    | EqualsIgnoreCase
    | Wildcard
    | AddressRange
    | AnythingBut
    | Exists
    | Absent
)


@lru_cache(maxsize=4096)
def _ignore_case(text: str) -> re.Pattern[str]:
    return re.compile("".join(map(_either_case, text)))


@lru_cache(maxsize=4096)
def _ends_ignoring_case(text: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile("(?s:.*)" + "".join(map(_either_case, text))).fullmatch


def _either_case(char: str) -> str:
    """Both cases of one UTF-16 unit; characters of two units have no case for the engine."""
    if ord(char) > 0xFFFF:
        return re.escape(char)
    lower, upper = char.lower(), char.upper()
    return re.escape(lower) if lower == upper else f"(?:{re.escape(lower)}|{re.escape(upper)})"


@lru_cache(maxsize=8192)
def wildcard_regex(parts: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """The full match of a wildcard; each part after a star is taken at its first place, so time stays linear."""
    middle = "".join(f"(?>(?s:.*?){re.escape(part)})" for part in parts[1:-1])
    last = "(?s:.*)" + re.escape(parts[-1]) if len(parts) > 1 else ""
    return re.compile(re.escape(parts[0]) + middle + last).fullmatch


_looks_like_v4 = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+").fullmatch
_looks_like_v6 = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:]*").fullmatch


def looks_like_address(text: str) -> bool:
    return _looks_like_v4(text) is not None or _looks_like_v6(text) is not None


_octets = {str(number): number for number in range(256)}


def ip_address(text: str) -> tuple[int, int] | None:
    """(4 or 6, the address as a number), or None; IPv4 octets are decimal whatever zeros lead them."""
    try:
        one, two, three, four = text.split(".", 4)
        return (4, _octets[one] << 24 | _octets[two] << 16 | _octets[three] << 8 | _octets[four])
    except (ValueError, KeyError):
        pass  # no address of that kind, or one with zeros in front
    if _looks_like_v4(text):
        octets = [int(part) for part in text.split(".")] if len(text) <= 15 else [256]
        if max(octets) > 255:
            return None
        return (4, int(IPv4Address(bytes(octets))))
    if _looks_like_v6(text):
        try:
            address = IPv6Address(text)
        except AddressValueError:
            return None
        mapped = address.ipv4_mapped
        return (6, int(address)) if mapped is None else (4, int(mapped))
    return None
