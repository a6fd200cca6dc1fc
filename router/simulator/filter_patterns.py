"""CloudWatch Logs filter patterns, as far as they are simple ("Filter pattern syntax"): a test for a log event's text.

Terms: `ERROR timeout` (all of them), `?ERROR ?WARN` (any of them), `-DEBUG` (not that), `"two words"`. A term is looked
for as it is written, anywhere in the text. JSON: `{ $.a.b = "x*" }`, `!=`, and for numbers `= != < <= > >=`, joined by
`&&` or by `||`, not both. Everything else is refused by name.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from router.aws.errors import InvalidParameterException
from router.core.jsonpath import MISSING, InvalidPath, compile_path, get

Test = Callable[[str], bool]

_TERM = re.compile(r'\s*([?-]?)(?:"([^"]+)"|([^\s"{}\[\]%]+))(?=\s|$)')
_COMPARISON = re.compile(r'\s*(\$[^\s=!<>&|]+)\s*(=|!=|<=|>=|<|>)\s*(?:"([^"]*)"|([^\s"&|]+))\s*')
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
    "<": lambda found, wanted: found < wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    ">=": lambda found, wanted: found >= wanted,
}


def compile_filter(pattern: str) -> Test | None:
    """The test that a pattern means; None for an empty one, which every event meets.

    Raises InvalidParameterException for a pattern that is not of the subset.
    """
    text = pattern.strip()
    if not text:
        return None
    if text.startswith("{"):
        if not text.endswith("}"):
            raise _refused(pattern, "a JSON pattern ends with }")
        return _json_test(pattern, text[1:-1])
    return _terms_test(pattern, text)


def _refused(pattern: str, reason: str) -> InvalidParameterException:
    return InvalidParameterException(
        f"Invalid filter pattern {pattern!r}: {reason}. This hub knows terms (with ? and -), quoted terms, and "
        '{ $.field = "value" } with =, !=, <, <=, >, >= joined by && or by ||.'
    )


def _terms_test(pattern: str, text: str) -> Test:
    wanted: list[str] = []
    optional: list[str] = []
    unwanted: list[str] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None:
            raise _refused(pattern, f"cannot be read from character {position + 1} on")
        term = match[2] or match[3]
        {"": wanted, "?": optional, "-": unwanted}[match[1]].append(term)
        position = match.end()

    def test(message: str) -> bool:
        return (
            all(term in message for term in wanted)
            and (not optional or any(term in message for term in optional))
            and not any(term in message for term in unwanted)
        )

    return test


def _json_test(pattern: str, text: str) -> Test:
    tests: list[Callable[[Any], bool]] = []
    joins: set[str] = set()
    position = 0
    while True:
        match = _COMPARISON.match(text, position)
        if match is None:
            raise _refused(pattern, f"expected a comparison at character {position + 2}")
        tests.append(_comparison(pattern, match))
        position = match.end()
        if position == len(text):
            break
        joins.add(text[position : position + 2])
        position += 2
    if joins - {"&&", "||"} or len(joins) > 1:
        raise _refused(pattern, "comparisons are joined by && or by ||, not by both")
    combine = any if joins == {"||"} else all

    def test(message: str) -> bool:
        try:
            value = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            return False
        return combine(one(value) for one in tests)

    return test


def _comparison(pattern: str, match: re.Match[str]) -> Callable[[Any], bool]:
    try:
        path = compile_path(match[1])
    except InvalidPath as error:
        raise _refused(pattern, str(error)) from error
    operator, quoted, bare = match[2], match[3], match[4]
    if quoted is None and _NUMBER.fullmatch(bare):
        number = float(bare)

        def numeric(value: Any) -> bool:
            found = get(path, value)
            return (
                isinstance(found, int | float)
                and not isinstance(found, bool)
                and _NUMERIC[operator](float(found), number)
            )

        return numeric
    if operator not in ("=", "!="):
        raise _refused(pattern, f"{operator} compares numbers")
    text: str = bare if quoted is None else quoted
    expression = re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)
    equal = operator == "="

    def textual(value: Any) -> bool:
        found = get(path, value)
        return found is not MISSING and (expression.fullmatch(_text(found)) is not None) == equal

    return textual


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
