"""A brute-force matcher: whether a pattern matches an event, told from the facts and from nothing of the hub's.

It takes valid texts and tries every way to satisfy the pattern. Sources: EventBridge user guide, "eb-create-pattern",
"eb-create-pattern-operators", "eb-event-patterns-arrays"; where it is silent, the engine AWS publishes (event-ruler).
"""

import json
import operator
from decimal import Decimal
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from math import isfinite
from typing import Any, NamedTuple

COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Branch = dict[str, list[Any]]  # path → tests
Elements = dict[tuple[Any, ...], int]  # the way to an array → the element of it
Values = dict[str | None, list[tuple[Any, Elements]]]  # path → what is there, and in which elements


class InexactNumber(NamedTuple):
    """A number that is no double to the last digit: it equals the same text only, and lies in no range."""

    text: str


def _number(text: str) -> float | InexactNumber:
    near = float(text)
    if near == 0:
        return InexactNumber(text) if set("123456789") & set(text.lower().partition("e")[0]) else 0.0
    return near if isfinite(near) and Decimal(text) == Decimal(repr(near)) else InexactNumber(text)


def matches(pattern: str, event: str) -> bool:
    values = _values(event)
    return any(_satisfied(branch, values, {}) for branch in _branches(pattern))


@lru_cache(maxsize=10_000)
def _branches(text: str) -> list[list[tuple[str, list[Any]]]]:
    """Objects are read as tuples of pairs: of a field given twice, be it in two objects, the last one counts."""
    pattern = json.loads(text, object_pairs_hook=tuple, parse_int=_number, parse_float=_number)
    branches = _expanded(pattern, None, [{}])
    return [sorted(one.items(), key=lambda field: field[0].encode("utf-16-be", "surrogatepass")) for one in branches]


def _expanded(pattern: Any, path: str | None, branches: list[Branch]) -> list[Branch]:
    for name, inner in pattern:
        if name == "$or":
            ways = [_expanded(one, path, [dict(before) for before in branches]) for one in inner]
            branches = [branch for way in ways for branch in way]
        elif type(inner) is tuple:
            branches = _expanded(inner, name if path is None else f"{path}.{name}", branches)
        else:
            for branch in branches:
                # The engine joins a leaf to the empty name without a dot.
                branch[f"{path}.{name}" if path else name] = inner
    return branches


@lru_cache(maxsize=10_000)
def _values(text: str) -> Values:
    found: Values = {}
    event = json.loads(text, parse_int=_number, parse_float=_number)
    waiting: list[tuple[Any, str | None, Elements, tuple[Any, ...]]] = [(event, None, {}, ())]
    while waiting:
        node, path, elements, way = waiting.pop()
        if type(node) is dict:
            for name, inner in node.items():
                waiting.append((inner, name if path is None else f"{path}.{name}", elements, (*way, name)))
        elif type(node) is list:
            for index, inner in enumerate(node):
                within = {**elements, way: index} if type(inner) in (dict, list) else elements
                waiting.append((inner, path, within, (*way, index)))
        else:
            found.setdefault(path, []).append((node, elements))
    return found


def _satisfied(fields: list[tuple[str, list[Any]]], values: Values, bound: Elements) -> bool:
    """Whether all fields are satisfied, in the order of their paths, in the same element of every array they share."""
    if not fields:
        return True
    (path, tests), *others = fields
    seen = [one for one in values.get(path, ()) if all(bound.get(array, at) == at for array, at in one[1].items())]
    if not seen:
        return (("exists", False),) in tests and _satisfied(others, values, bound)
    fitting = [elements for value, elements in seen if any(_holds(test, value) for test in tests)]
    return any(_satisfied(others, values, bound | elements) for elements in fitting)


def _holds(test: Any, value: Any) -> bool:
    if type(test) is not tuple:
        address = _address(test)
        return address == _address(value) if address else _holds((("exactly", test),), value)
    ((name, operand),) = test
    if name == "exists":
        return operand is True
    if name == "numeric":
        bounds = zip(operand[::2], operand[1::2], strict=True)
        return type(value) is float and all(COMPARISONS[sign](value, bound) for sign, bound in bounds)
    if name == "anything-but":
        form, excluded = operand[0] if type(operand) is tuple else ("exactly", operand)
        return not any(_holds(((form, one),), value) for one in (excluded if type(excluded) is list else [excluded]))
    if name == "exactly":
        return type(operand) is type(value) and bool(operand == value)
    if type(value) is not str:
        return False
    if name == "wildcard":
        return _wildcard(operand, value)
    if name == "cidr":
        base, mask_bits = operand.rstrip("/").split("/")
        address = _address(value)
        return address is not None and address in ip_network(f"{_address(base)}/{int(mask_bits)}", strict=False)
    folded, text = (True, operand[0][1]) if type(operand) is tuple else (name == "equals-ignore-case", operand)
    ends = _ends(text, value, set(range(len(value) + 1)) if name == "suffix" else {0}, folded)
    return bool(ends) if name == "prefix" else len(value) in ends


def _ends(text: str, value: str, starts: set[int], folded: bool) -> set[int]:
    """Where `text` ends that begins at one of `starts`; characters beyond U+FFFF have no case to fold."""
    for char in text:
        forms = {char.lower(), char.upper()} if folded and ord(char) <= 0xFFFF else {char}
        starts = {at + len(form) for at in starts for form in forms if value.startswith(form, at)}
    return starts


def _wildcard(text: str, value: str) -> bool:
    reached, chars = {0}, iter(text)
    for char in chars:
        if char == "*":
            reached = {after for at in reached for after in range(at, len(value) + 1)}
        else:
            literal = next(chars) if char == "\\" else char
            reached = {at + 1 for at in reached if value[at : at + 1] == literal}
    return len(value) in reached


def _address(value: Any) -> IPv4Address | IPv6Address | None:
    """What the text is an address of; the octets of IPv4 are decimal, whatever zeros lead them."""
    if type(value) is not str or not set(value) <= set("0123456789abcdefABCDEF:."):
        return None
    octets = value.split(".")
    try:
        if len(octets) == 4 and all(map(str.isdigit, octets)) and len(value) <= 15:
            return IPv4Address(".".join(str(int(octet)) for octet in octets))
        address = IPv6Address(value)
    except AddressValueError:
        return None
    return None if "." in value else address.ipv4_mapped or address
