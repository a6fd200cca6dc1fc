"""What was meant by a pattern that is refused: operators in upper case, values without their list, `detail` as text.

Looks at the JSON only and knows the operators' names; whether a pattern is good is `pattern.parse`'s to say. Each slip
is a path and a sentence with what was expected, what is there and what to write. Text that is no JSON has none: its
refusal names the place already.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from router.core.pattern_text import quoted

OPERATORS = ("prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr")
SLIPS_MAX = 20
"""A pattern's first slips are told; the others come to light when these are mended."""

_MEANT = {
    **dict.fromkeys(("startswith", "beginswith", "begins", "starts"), "prefix"),
    **dict.fromkeys(("endswith", "ends"), "suffix"),
    **dict.fromkeys(("contains", "matches", "regex", "like", "glob"), "wildcard"),
    **dict.fromkeys(("not", "notequals", "notin", "isnot", "except"), "anything-but"),
    **dict.fromkeys(("ignorecase", "iequals", "caseinsensitive"), "equals-ignore-case"),
    **dict.fromkeys(("number", "between", "greaterthan", "lessthan"), "numeric"),
    **dict.fromkeys(("present", "exist"), "exists"),
    **dict.fromkeys(("ip", "ipaddress", "subnet"), "cidr"),
}
_OF_A_TEXT = ("prefix", "suffix", "equals-ignore-case", "wildcard")


def slips(text: str) -> list[tuple[str, str]]:
    """Paths and sentences, in the order of the text."""
    try:
        value = json.loads(text)
        return [slip for slip, _ in zip(_of_pattern(value), range(SLIPS_MAX), strict=False)]
    except (ValueError, RecursionError):
        return []


def _of_pattern(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield from _of_object(value, "")
    elif isinstance(value, str):
        yield "", "expected an object, got JSON written as text: write the object itself, without quotes around it"
    else:
        yield "", f"expected an object, got {_kind(value)}"


def _of_object(fields: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if not fields:
        yield path, "expected a field, got an empty object: remove it, or name a field in it"
    for name, value in fields.items():
        inner = f"{path}.{name}" if path else name
        if name.lower() in ("$or", "or") and _is_branches(value) and name != "$or":
            yield inner, f"expected $or, got {quoted(name)}: write $or"
        elif name == "$or":
            yield from _of_branches(value, path)
        elif isinstance(value, dict):
            yield from _of_object(value, inner)
        elif isinstance(value, list):
            yield from _of_list(value, inner)
        elif inner == "detail" and isinstance(value, str):
            yield inner, "expected an object, got a text: write the object itself, without quotes around it"
        elif name in OPERATORS and path:
            operator = f"{{{quoted(name)}: {_text(value)}}}"
            yield path, f"expected a list, got the operator {operator} by itself: write [{operator}]"
        else:
            yield inner, f"expected a list of values, got {_text(value)}: write [{_text(value)}]"


def _is_branches(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(branch, dict) for branch in value)


def _of_branches(value: Any, path: str) -> Iterator[tuple[str, str]]:
    where = f"{path}.$or" if path else "$or"
    if not isinstance(value, list):
        yield where, f"expected a list of objects, got {_kind(value)}"
        return
    if len(value) < 2:
        yield where, f"expected at least 2 branches, got {len(value)}: add one, or do without $or"
    for branch in value:
        if isinstance(branch, dict):
            yield from _of_object(branch, path)
        else:
            yield where, f"expected an object for each branch, got {_kind(branch)}"


def _of_list(values: list[Any], path: str) -> Iterator[tuple[str, str]]:
    if not values:
        yield path, "expected a value, got an empty list: name what the field may be, or remove the field"
    for value in values:
        if isinstance(value, list):
            yield path, "expected a value, got a list in a list: take the inner brackets away"
        elif isinstance(value, dict):
            yield from _of_operator(value, path)


def _of_operator(test: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if len(test) != 1:
        yield path, f"expected one operator in each object, got {len(test)}: write an object for each"
    for name, operand in test.items():
        if name not in (*OPERATORS, "exactly"):
            yield path, _unknown(name)
        elif name == "exists" and not isinstance(operand, bool):
            yield path, f"expected true or false after exists, got {_text(operand)}"
        elif name in _OF_A_TEXT and isinstance(operand, list):
            yield path, f'expected a text after {name}, got a list: write one {{"{name}": …}} for each'
        elif name == "numeric":
            yield from _of_numeric(operand, path)


def _of_numeric(operand: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(operand, list):
        yield path, f'expected a list such as [">=", 5] after numeric, got {_text(operand)}'
        return
    for bound in operand[1::2]:
        if isinstance(bound, str):
            yield path, f"expected a number after numeric, got the text {quoted(bound)}: take the quotes away"


def _unknown(name: str) -> str:
    plain = re.sub(r"[^a-z]", "", name.lower())
    names = {re.sub(r"[^a-z]", "", operator): operator for operator in OPERATORS}
    if name.lower() in OPERATORS:
        return f"expected an operator, got {quoted(name)}: operators are lower case: write {name.lower()}"
    close = get_close_matches(plain, names, n=1, cutoff=0.75)
    meant = names.get(plain) or _MEANT.get(plain) or (names[close[0]] if close else None)
    said = f"expected one of {', '.join(OPERATORS)}, got {quoted(name)}"
    return said if meant is None else f"{said}: write {meant}"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    """JSON text, short."""
    if isinstance(value, str):
        return quoted(value)
    return "…" if isinstance(value, dict | list) else json.dumps(value)
