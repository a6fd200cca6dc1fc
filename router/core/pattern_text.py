"""Tests and values as people read them: `prefix "aws."`, `number >= 5 and < 10`, `"GetSecretValue"`, `absent`.

Every text is one line, bounded in length and fit for UTF-8, whatever the pattern or the event holds. Nothing here
decides anything.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

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
)

SHOWN_CHARS_MAX = 160
"""A longer text is cut, with its length said."""
LISTED_MAX = 6
"""A sentence names this many alternatives, then how many more there are."""

_WHOLE_MAX = 10.0**15


def shown(value: Value) -> str:
    """A value as JSON writes it; 300.0 is 300."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, OddNumber):
        return _cut(value.text)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_MAX else repr(value)
    return json.dumps(value)


def quoted(text: str) -> str:
    """A text in JSON's quotes, cut where it is long."""
    whole = json.dumps(text[:SHOWN_CHARS_MAX], ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return whole if len(text) <= SHOWN_CHARS_MAX else f'{whole[:-1]}…" ({len(text)} characters)'


def readable(name: str) -> str:
    """A path or a key without quotes, on one line and cut where it is long; what has odd characters stays quoted."""
    text = quoted(name)
    return name if text == f'"{name}"' and name else text


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}… ({len(text)} characters)"


def expected(test: Test) -> str:
    """What a test asks for."""
    return _TEXTS[type(test)](test)


def one_of(tests: Sequence[Test]) -> str:
    """What a field's tests ask for together, as the object of "expected …"."""
    texts = listed([expected(test) for test in tests])
    return f"one of {texts}" if len(tests) > 1 or is_literal(tests[0]) else texts


def is_literal(test: Test) -> bool:
    """Whether the pattern has a plain value there; one that is an IP address is a range of one."""
    return isinstance(test, Constant | Text | Number) or (isinstance(test, AddressRange) and test.low == test.high)


def listed(texts: Sequence[str], at_most: int = LISTED_MAX) -> str:
    """The first few, then how many more."""
    text = ", ".join(texts[:at_most])
    return text if len(texts) <= at_most else f"{text} and {len(texts) - at_most} more"


def _wildcard(test: Wildcard) -> str:
    parts = (part.replace("\\", "\\\\").replace("*", "\\*") for part in test.parts)
    return f"wildcard {quoted('*'.join(parts))}"


def _range(test: Range) -> str:
    low = None if test.low is None else f"{'>' if test.low_open else '>='} {shown(test.low)}"
    high = None if test.high is None else f"{'<' if test.high_open else '<='} {shown(test.high)}"
    return "number " + " and ".join(bound for bound in (low, high) if bound is not None)


def _addresses(test: AddressRange) -> str:
    address = IPv4Address(test.low) if test.version == 4 else IPv6Address(test.low)
    if test.low == test.high:
        return f'"{address}"'
    return f"cidr {address}/{address.max_prefixlen - (test.high - test.low).bit_length()}"


def _anything_but(test: AnythingBut) -> str:
    return f"anything but {listed([expected(excluded) for excluded in test.tests])}"


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    Constant: lambda test: shown(test.value),
    Text: lambda test: quoted(test.text),
    Number: lambda test: shown(test.number),
    Range: _range,
    Prefix: lambda test: f"prefix {quoted(test.text)}",
    Suffix: lambda test: f"suffix {quoted(test.text)}",
    PrefixIgnoreCase: lambda test: f"prefix {quoted(test.text)} in any case",
    SuffixIgnoreCase: lambda test: f"suffix {quoted(test.text)} in any case",
    EqualsIgnoreCase: lambda test: f"{quoted(test.text)} in any case",
    Wildcard: _wildcard,
    AddressRange: _addresses,
    AnythingBut: _anything_but,
    Exists: lambda test: "present",
    Absent: lambda test: "absent",
}


def joined(names: Iterable[str]) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
