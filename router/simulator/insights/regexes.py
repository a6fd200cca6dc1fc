"""Regular expressions: from Logs Insights (Java's syntax) to RE2's, which DuckDB runs in linear time.

What RE2 does not have (look-around, back references, possessive quantifiers) is refused here with its place, and so is
what is no regular expression at all. What remains and RE2 still refuses, such as a program that is too large, ends the
query as Failed. This module matches nothing.
"""

import re
import warnings
from collections.abc import Callable
from typing import NoReturn

from router.simulator.insights.syntax import MalformedQuery, Regex

_PIECE = re.compile(
    r"""(?P<escape>\\(?:[pP](?:\{\^?\w+\}|\w)|.))
      | (?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
      | \(\?(?:P?<(?P<name>[A-Za-z_]\w*)>|(?P<flags>[ismU]*(?:-[ismU]+)?)(?P<close>[:)])|(?P<odd><?.?))
      | (?P<group>\()
      | (?:[*+?]|\{(?P<least>\d{1,9})(?:,(?P<most>\d{0,9}))?\})(?P<possessive>\+)?
      | .""",
    re.VERBOSE | re.DOTALL,
)
_IN_SET = re.compile(r"\[:\^?\w+:\]|\\[pP](?:\{\^?\w+\}|\w)|\\.|.", re.DOTALL)
_UNKNOWN_ESCAPES = frozenset("QEkGRXNuUhHcCgKVZ")
_REPEAT_MAX = 1000  # RE2

_Refuse = Callable[[str], NoReturn]


def translate(source: str, start: int, end: int) -> Regex:
    """The pattern for RE2 and its named groups. Raises MalformedQuery for `start` to `end`."""
    made: list[str] = []
    checked: list[str] = []
    groups: list[tuple[str, int]] = []
    count = 0

    def refuse(what: str) -> NoReturn:
        raise MalformedQuery(f"the regular expression /{source[:200]}/ {what}", start, end)

    for piece in _PIECE.finditer(source):
        text = check = piece[0]
        if piece["escape"]:
            text, check = _escape(text, refuse)
        elif piece["set"]:
            parts = [_set_part(part, refuse) for part in _IN_SET.findall(text[1:-1])]
            text = "[" + "".join(one for one, _ in parts) + "]"
            check = "[" + "".join(other for _, other in parts) + "]"
        elif piece["name"]:
            count += 1
            groups.append((piece["name"], count))
            text = check = f"(?P<{piece['name']}>"
        elif piece["close"] == ")":
            check = ""  # flags in the middle are RE2's and not Python's
        elif piece["close"]:
            check = "(?:"
        elif piece["odd"] is not None:
            refuse(f"has (?{piece['odd']}, which this hub's engine (RE2) has not")
        elif piece["group"]:
            count += 1
        elif piece["possessive"]:
            refuse("has a possessive quantifier, which this hub's engine (RE2) has not")
        elif max(int(piece["least"] or 0), int(piece["most"] or 0)) > _REPEAT_MAX:
            refuse(f"repeats more than {_REPEAT_MAX} times, the most that this hub's engine (RE2) takes")
        made.append(text)
        checked.append(check)
    if len({name for name, _ in groups}) != len(groups):
        refuse("gives two groups the same name")
    _check("".join(checked), refuse)
    return Regex(pattern="".join(made), groups=tuple(groups), start=start, end=end)


def glob(text: str, start: int, end: int) -> Regex:
    """The regular expression of `parse`'s glob: each `*` is a group, as short as it can be but for one at the end."""
    parts = text.split("*")
    body = "(.*?)".join(re.escape(part) for part in parts[:-1])
    last = "(.*)" if not parts[-1] else "(.*?)" + re.escape(parts[-1])
    return Regex(pattern="(?s)" + (body + last if len(parts) > 1 else re.escape(text)), start=start, end=end)


def _escape(text: str, refuse: _Refuse) -> tuple[str, str]:
    letter = text[1]
    if letter == "/":
        return "/", "/"
    if letter in "pP" and len(text) > 2:
        return text, r"\w"
    if letter in "123456789":
        refuse("has a back reference, which this hub's engine (RE2) has not")
    if letter in _UNKNOWN_ESCAPES or letter in "pP":
        refuse(f"has {text}, which this hub's engine (RE2) has not")
    if letter == "z":
        return text, r"\Z"
    return text, text


def _set_part(text: str, refuse: _Refuse) -> tuple[str, str]:
    """A part of a set, and what Python is shown for it: a bracket in a set is a plain character to both."""
    if text.startswith("[:"):
        return text, r"\w"
    if text == "[":
        return r"\[", r"\["
    if text.startswith("\\") and text[1] not in "123456789":
        return _escape(text, refuse)
    return text, text


def _check(pattern: str, refuse: _Refuse) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        refuse(f"cannot be read: {error}")
