"""The reference data's patterns and events through TestEventPattern, over HTTP, against a real daemon.

Patterns and events go out as the texts that are recorded, with keys given twice, odd numbers and escapes. Those that
are recorded without an envelope stand one level down, under `detail`, the pattern as the event.
"""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest

from router.limits import PATTERN_CHARS_RAISED
from tests.core.test_pattern_conformance import CASES, LAST_DUPLICATE_COUNTS, PLACE_BEHIND_TOKEN, expected
from tests.e2e.hub import REGION, WORKLOAD, HubProcess
from tests.shared import needs_shared, rows

pytestmark = needs_shared

ENVELOPE = (
    f'{{"version":"0","id":"1","detail-type":"order","source":"shop","account":"{WORKLOAD}",'
    f'"time":"2026-11-23T10:00:00Z","region":"{REGION}","resources":[],"detail":'
)
EVENT = f"{ENVELOPE}{{}}}}"
NEEDED = json.loads(EVENT)
HEADERS = {
    "X-Amz-Target": "AWSEvents.TestEventPattern",
    "Content-Type": "application/x-amz-json-1.1",
    "Authorization": f"AWS4-HMAC-SHA256 Credential={WORKLOAD}/20260101/{REGION}/events/aws4_request, "
    "SignedHeaders=host, Signature=0",
}
WHOLE_JSON = frozenset({"ruler-06911", "ruler-06912", "ruler-06913", "ruler-06914", "aws-00166"})
"""Events that are refused for being no object or having no envelope; as a detail they would do."""
TOO_COMPLEX = (
    "Event pattern is not valid. Reason: Rule is too complex - try using fewer wildcard characters or fewer repeating "
    "character sequences after a wildcard character"
)
TOO_COMPLEX_FOR_AWS = '"*:*:*:*:*:event-bus/*"'
"""AWS's published example; the engine alone, whose verdicts the pairs have, takes it."""

Answer = bool | tuple[str, str]
"""The result, or code and message of a refusal."""
Ask = Callable[[str, str], Answer]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with HubProcess(tmp_path_factory.mktemp("patterns"), {}) as hub:
        connection = HTTPConnection("127.0.0.1", hub.port, timeout=30)

        def answer(pattern: str, event: str) -> Answer:
            body = json.dumps({"EventPattern": pattern, "Event": event})
            connection.request("POST", "/", body, HEADERS)
            response = connection.getresponse()
            answered = json.loads(response.read())
            if response.status == 200:
                assert set(answered) == {"Result"}
                result: bool = answered["Result"]
                return result
            assert response.status == 400
            return answered["__type"].rpartition("#")[2], answered["message"]

        yield answer
        connection.close()
        assert hub.metric("crossbus_api_bugs_total") == 0


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def test_every_valid_pattern_has_the_recorded_result(ask: Ask) -> None:
    cases = [row for row in CASES if isinstance(expected(row), bool) and not row.get("api_only")]
    whole = [row for row in cases if row.get("aws_envelope")]
    wrong = set()
    for row in cases:
        pattern, event = row["pattern"], row["event"]
        if not row.get("aws_envelope"):
            pattern, event = f'{{"detail":{pattern}}}', f"{ENVELOPE}{event}}}"
        if ask(pattern, event) != expected(row):
            wrong.add(row["id"])
    assert len(cases) > 4300
    assert len(whole) > 90
    assert wrong == LAST_DUPLICATE_COUNTS


def test_every_invalid_pattern_is_refused_in_the_words_of_aws(ask: Ask) -> None:
    cases = [row for row in CASES if expected(row) == "invalid-pattern"]
    recorded = [row for row in cases if row.get("aws_error_raw")]
    wrong = set()
    for row in cases:
        event = row["event"] if row.get("aws_envelope") else EVENT
        told = row.get("aws_error_raw") or row.get("predicted_aws_error") or TOO_COMPLEX
        answer = ask(row["pattern"], event)
        if row["id"] in PLACE_BEHIND_TOKEN and not isinstance(answer, bool):
            answer = answer[0], answer[1].rpartition(", column: ")[0]
            told = told.rpartition(", column: ")[0]
        if answer != ("InvalidEventPatternException", told):
            wrong.add(row["id"])
    assert len(cases) > 190
    assert len(recorded) > 20
    assert wrong == set()


def test_every_invalid_event_is_refused(ask: Ask) -> None:
    refused = ("ValidationException", "Parameter Event is not valid.")
    cases = [row for row in CASES if expected(row) == "invalid-event" or row.get("api_only")]
    broken = [row for row in cases if row["id"] not in WHOLE_JSON]
    answers = {row["id"]: ask(row["pattern"], row["event"]) for row in cases}
    in_envelopes = {row["id"]: ask(row["pattern"], f"{ENVELOPE}{row['event']}}}") for row in broken}
    assert (len(cases), len(broken)) == (18, 13)
    assert set(answers.values()) == {refused}
    assert set(in_envelopes.values()) == {refused}


def test_every_pattern_and_event_of_the_corpus_has_the_engine_s_result(ask: Ask) -> None:
    pairs = rows("corpus/pattern_event_pairs.jsonl")
    refusals = 0
    wrong = []
    for pair in pairs:
        pattern = compact(pair["pattern"])
        answer = ask(pattern, compact({**NEEDED, **pair["event"]}))
        if TOO_COMPLEX_FOR_AWS in pattern:
            right = answer == ("InvalidEventPatternException", TOO_COMPLEX)
        elif pair["expect"] is None:
            reason = pair["error"].partition(": ")[2]
            right = not isinstance(answer, bool) and answer[0] == "InvalidEventPatternException" and reason in answer[1]
        else:
            right = answer is pair["expect"]
        refusals += not isinstance(answer, bool)
        if not right:
            wrong.append((pattern, answer))
    assert len(pairs) > 600
    assert refusals == 22
    assert wrong == []


def test_every_detection_has_its_result(ask: Ask) -> None:
    detections = rows("corpus/detections.jsonl")
    too_long = set()
    wrong = []
    for row in detections:
        pattern = compact(row["pattern"])
        answer = ask(pattern, compact(row["event"]))
        if len(pattern) > PATTERN_CHARS_RAISED:
            too_long.add(pattern)
            assert not isinstance(answer, bool)
            assert answer[0] == "ValidationException"
            assert answer[1].endswith("Member must have length less than or equal to 4096")
        elif answer is not row["expect"]:
            wrong.append(row["name"])
    assert len(detections) > 600
    assert len(too_long) == 1
    assert wrong == []
