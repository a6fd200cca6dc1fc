"""Answers recorded on AWS, and how an answer of the hub is compared with one.

A recorded answer is compared whole: its members, its values, and the order of keys in whatever was JSON text on the
wire (bodies, patterns, policies). Placeholders such as `<rule-name>` or `<uuid:2>` stand for what differs from run to
run: within one test each stands for one value, and numbered ones of a kind for different values.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.shared import rows

ROWS = rows("conformance/api.jsonl")
ACCOUNT = "111111111111"
CASES = list(dict.fromkeys(row["test"] for row in ROWS))

NOT_YET = {"api-0029": "the hub is no Secrets Manager that could be asked for a connection's secret"}
"""The rows that no test plays, and why."""


def name_of(test: str) -> str:
    """The name of the recorded test's function."""
    return test.partition("[")[0].rpartition("::")[2]


def variant_of(test: str) -> str:
    """What stands in brackets behind it."""
    return test.partition("[")[2][:-1]


class Many(list[Any]):
    """The answers of a step that was recorded several times, in order."""


def check(test: str, played: Mapping[str, Any], *, account: str = ACCOUNT) -> int:
    """Compare all that was recorded of a test, in order, with what was played; how many rows fit. `account` is the one
    that the test was played in. Raises AssertionError."""
    names = Placeholders()
    times: Counter[str] = Counter()
    wrong: list[str] = []
    fitting = 0
    for row in ROWS:
        if row["test"] != test:
            continue
        step, row_id = row["step"], row["id"]
        number, times[step] = times[step], times[step] + 1
        if step not in played:
            if row_id not in NOT_YET:
                wrong.append(f"{row_id}: {step} was not played")
            continue
        if row_id in NOT_YET:
            wrong.append(f"{row_id}: {step} is played, so it is no more one of NOT_YET")
        answers = played[step]
        got = answers[number] if isinstance(answers, Many) else answers
        found = names.mismatch(json.loads(json.dumps(_expected(row)).replace(ACCOUNT, account)), got, row_id)
        if found is None:
            fitting += 1
        else:
            wrong.append(found)
    if wrong:
        raise AssertionError("\n".join(wrong))
    return fitting


def _expected(row: Mapping[str, Any]) -> Any:
    """An error as its code, message and status; an answer without the metadata of its transport."""
    if "error_code" in row:
        return {"Error": {"Code": row["error_code"], "Message": row["error_message"], "Status": row["status"]}}
    response = row["response"]
    if not isinstance(response, dict):
        return response
    if "Error" in response:
        return {"Error": {**response["Error"], "Status": row["status"]}}
    assert response.get("ResponseMetadata", {}).get("HTTPStatusCode", 200) == 200
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


# What the recording wrote for a whole value, whatever it was: a word made from the key, or one for its kind.
_ANY_TEXT = {
    "receipt-handle", "m-d5-of-body", "message-id", "event-id", "topic-arn", "target-arn", "target-id", "signature",
    "signing-cert-u-r-l", "unsubscribe-u-r-l", "request-id", "object-sequencer", "connection-arn",
    "api-destination-arn", "replay-name",
}  # fmt: skip
_PLACEHOLDER = re.compile(r"<<[\w-]+>:\d+>|<[\w-]+(?::\d+)?>|<queue-name")  # the last one was recorded so
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"


class Placeholders:
    """What each placeholder of one test stands for, as far as is known."""

    def __init__(self) -> None:
        self._values = {"<partition>": "aws"}
        self._names: dict[tuple[str, str], str] = {}

    def mismatch(self, expected: Any, got: Any, path: str, *, ordered: bool = False) -> str | None:
        """Where the answer does not fit what was recorded, or None. `ordered`: keys in the recorded order."""
        if expected == "detail" and isinstance(got, dict):
            return None  # recorded so, whatever it was
        text = isinstance(got, str)
        if text and isinstance(expected, dict | list):
            return self.mismatch(expected, _json(got), path, ordered=True)
        if text and isinstance(expected, str) and expected.startswith("{"):
            return self.mismatch(_json(expected), _json(got), path, ordered=True)
        if isinstance(expected, dict) and isinstance(got, dict):
            same = list(expected) == list(got) if ordered else expected.keys() == got.keys()
            if not same:
                return f"{path}: expected {list(expected)}, got {list(got)}"
            return self._first(
                self.mismatch(expected[name], got[name], f"{path}.{name}", ordered=ordered) for name in expected
            )
        if isinstance(expected, list) and isinstance(got, list):
            if len(expected) != len(got):
                return f"{path}: expected {len(expected)} values, got {len(got)}: {got!r}"
            pairs = enumerate(zip(expected, got, strict=True))
            return self._first(
                self.mismatch(one, two, f"{path}[{index}]", ordered=ordered) for index, (one, two) in pairs
            )
        fits = self._is_moment(got) if expected == "datetime" else self._fits(expected, got)
        return None if fits else f"{path}: expected {expected!r}, got {got!r} ({self._values})"

    @staticmethod
    def _first(found: Iterable[str | None]) -> str | None:
        return next(filter(None, found), None)

    @staticmethod
    def _is_moment(got: Any) -> bool:
        """Epoch seconds on the wire, or what a client makes of them."""
        return (isinstance(got, int | float) and not isinstance(got, bool) and got > 0) or hasattr(got, "timestamp")

    def _fits(self, expected: Any, got: Any) -> bool:
        if not isinstance(expected, str) or not isinstance(got, str):
            return type(expected) is type(got) and bool(expected == got)
        if expected in _ANY_TEXT:
            return got != ""
        pattern, groups = "", []
        end = 0
        for match in _PLACEHOLDER.finditer(expected):
            pattern += _literal(expected[end : match.start()])
            end = match.end()
            known = self._values.get(match[0])
            pattern += "(.+?)" if known is None else re.escape(known)
            groups += [] if known is not None else [match[0]]
        found = re.fullmatch(pattern + _literal(expected[end:]), got, re.DOTALL)
        return found is not None and all(map(self._bind, groups, found.groups()))

    def _bind(self, name: str, value: str) -> bool:
        """Whether the placeholder may stand for the value, which it does from now on."""
        kind = re.sub(r":\d+>$", "", name)  # of `<uuid:2>` and of `<<next-token>:1>`
        if kind != name and self._names.setdefault((kind, value), name) != name:
            return False
        return self._values.setdefault(name, value) == value


def _literal(text: str) -> str:
    """A pattern for recorded text: `date` is a moment."""
    return _MOMENT.join(re.escape(part) for part in re.split(r"(?<![\w-])date(?![\w-])", text))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
