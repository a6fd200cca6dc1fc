"""Every recorded and probed case of the reference data: verdicts, refusals and their exact texts."""

import json
from functools import lru_cache
from typing import Any

from router.core.pattern import InvalidPattern, parse
from router.core.ruletable import MalformedEvent, RuleTable
from tests.shared import needs_shared, rows

pytestmark = needs_shared

EITHER_ANSWER_WILL_DO = ("quirk", "aws_unverified", "ruler_only", "undocumented")

LAST_DUPLICATE_COUNTS = frozenset({"ruler-06579"})
"""The engine sees both values of a duplicate key in an event; AWS's documentation says that the last one counts."""

PLACE_BEHIND_TOKEN = frozenset({"ruler-06451", "quamina-00155"})
"""Predicted with a newer reader, which gives the start of an unknown token; AWS was recorded with the place behind."""


def text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4096)
def table(pattern: str) -> RuleTable[str] | str:
    try:
        return RuleTable.build([(pattern, parse(pattern))])
    except InvalidPattern as refusal:
        return str(refusal)


def answer(pattern: str, event: str) -> object:
    rule = table(pattern)
    if isinstance(rule, str):
        return "invalid-pattern"
    try:
        return bool(rule.match_json(event))
    except MalformedEvent:
        return "invalid-event"


def expected(row: dict[str, Any]) -> object:
    if row.get("aws_would_reject_complexity"):
        return "invalid-pattern"
    # The matcher takes the event; it is TestEventPattern that asks for an envelope.
    return False if row.get("api_only") else row["expect"]


CASES = [row for row in rows("conformance/patterns.jsonl") if not any(row.get(flag) for flag in EITHER_ANSWER_WILL_DO)]


def test_every_case_has_the_recorded_verdict() -> None:
    wrong = [row["id"] for row in CASES if answer(row["pattern"], row["event"]) != expected(row)]
    assert len(CASES) > 4500
    assert set(wrong) == LAST_DUPLICATE_COUNTS


def test_every_refusal_has_the_recorded_or_predicted_text() -> None:
    texts = {row["id"]: row.get("aws_error_raw") or row.get("predicted_aws_error") for row in CASES}
    refusals = {row["id"]: row["pattern"] for row in CASES if str(texts[row["id"]]).startswith("Event pattern")}
    wrong = [case for case, pattern in refusals.items() if table(pattern) != texts[case]]
    assert len(refusals) > 180
    assert set(wrong) == PLACE_BEHIND_TOKEN


def test_every_refusal_recorded_from_the_api_has_its_text() -> None:
    recorded = [str(step["error_message"]) for step in rows("conformance/api.jsonl") if step.get("error_message")]
    refusals = [message for message in recorded if "[Source: (String)" in message]
    assert len(refusals) == 3
    for message in refusals:
        pattern = message.partition('(String)"')[2].rpartition('"; line')[0]
        assert table(pattern) == message


def test_every_pattern_and_event_of_the_corpus_has_the_engine_s_verdict() -> None:
    pairs = rows("corpus/pattern_event_pairs.jsonl")
    too_complex = '"*:*:*:*:*:event-bus/*"'

    def wanted(pair: dict[str, Any]) -> object:
        return "invalid-pattern" if pair["expect"] is None or too_complex in text(pair["pattern"]) else pair["expect"]

    wrong = [pair for pair in pairs if answer(text(pair["pattern"]), text(pair["event"])) != wanted(pair)]
    assert len(pairs) > 600
    assert wrong == []


def test_every_detection_has_its_verdict_with_all_detections_in_one_table() -> None:
    detections = rows("corpus/detections.jsonl")
    patterns = list(dict.fromkeys(text(row["pattern"]) for row in detections))
    together = RuleTable.build([(pattern, parse(pattern)) for pattern in patterns])
    wrong = [
        row["name"]
        for row in detections
        if (text(row["pattern"]) in together.match_json(text(row["event"]))) != row["expect"]
    ]
    assert len(detections) > 600
    assert wrong == []


def test_all_detections_in_one_table_match_as_each_does_alone() -> None:
    detections = rows("corpus/detections.jsonl")
    patterns = list(dict.fromkeys(text(row["pattern"]) for row in detections))
    together = RuleTable.build([(pattern, parse(pattern)) for pattern in patterns])
    alone = [(pattern, RuleTable.build([(pattern, parse(pattern))])) for pattern in patterns]
    for row in detections[::5]:
        event = text(row["event"])
        found = [pattern for pattern, rule in alone if rule.match_json(event)]
        assert sorted(together.match_json(event)) == sorted(found)
