"""`crossbus trace`: how a hub's answer is shown."""

import json
import re
from typing import Any

import pytest

from router.cli.client import HubClient
from tests.cli.terminal import run

RULE = "arn:aws:events:us-east-1:111111111111:rule"
QUEUE = "arn:aws:sqs:us-east-1:111111111111:queue"


def attempt(number: int = 1, code: str | None = None, at: str | None = "2026-11-23T10:00:01.500Z") -> dict[str, Any]:
    message = "it said no" if code else None
    return {"number": number, "at": at, "took_ms": 12 if at else None, "code": code, "message": message}


def letter(**members: Any) -> dict[str, Any]:
    made = {"at": "2026-11-23T10:00:02.000Z", "code": "TIMEOUT", "message": "late", "condition": None}
    return {**made, "queue": None, "number": None, **members}


def delivery(state: str, *attempts: dict[str, Any], **members: Any) -> dict[str, Any]:
    made = {"rule_arn": f"{RULE}/orders", "target_id": "t", "target_arn": QUEUE, "state": state}
    return {**made, "attempts_made": len(attempts), "attempts": list(attempts), **members}


def event(*deliveries: dict[str, Any], **members: Any) -> dict[str, Any]:
    made = {"event_id": "e1", "parent_id": None, "source": "shop", "detail_type": "order", "account": "111111111111"}
    made |= {"region": "us-east-1", "bus": "default", "accepted_at": "2026-11-23T10:00:00.000Z", "outcome": "matched"}
    return {**made, "complete": True, "rules": [f"{RULE}/orders"], "deliveries": list(deliveries), **members}


def shown(monkeypatch: pytest.MonkeyPatch, *events: dict[str, Any], states: dict[str, int] | None = None) -> list[str]:
    """The lines that are printed when the hub answers so."""
    asked: list[Any] = []

    def hub(self: HubClient, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        asked.append((method, path, query))
        return {"event_id": "e1", "states": states or {}, "age_s_max": 3600, "events": list(events)}

    monkeypatch.setattr(HubClient, "hub", hub)
    status, text, complaints = run("trace", "e1")
    assert (status, complaints, asked) == (0, "", [("GET", "trace", {"event_id": "e1"})])
    return [line.strip() for line in text.splitlines()]


def test_an_event_is_shown_with_its_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = delivery("delivered", attempt(1, "TIMEOUT"), attempt(2, at="2026-11-23T10:03:00.000Z"))
    assert shown(monkeypatch, event(made), states={"parked": 1, "delivered": 2}) == [
        "event e1: 2 delivered, 1 parked",
        "2026-11-23T10:00:00.000Z  accepted on bus default in 111111111111/us-east-1: order from shop",
        f"rule orders, target t ({QUEUE})",
        "attempt 1 after 1.5 s (took 12 ms): TIMEOUT: it said no",
        "delivered by attempt 2 after 3 min (took 12 ms)",
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"outcome": "unmatched", "rules": []}, "no rule gets it; `crossbus explain` says why"),
        ({"outcome": "dropped: unknown_bus", "rules": []}, "dropped: unknown_bus: there is no such bus"),
        ({"parent_id": "e0"}, "it came from another region, where it was event e0"),
        ({"complete": False}, "the record of that is not kept any more: this is what is still known, .*"),
        ({}, "rule orders matched it and has no targets"),
        ({"deliveries_left_out": 7}, "and 7 more deliveries that are not shown"),
        ({"event_id": "e0"}, ".* as event e0: order from shop"),
    ],
)
def test_what_is_special_about_an_event_is_said(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, Any], expected: str
) -> None:
    lines = shown(monkeypatch, event(**members))
    assert any(re.fullmatch(expected, line) for line in lines), lines


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (delivery("pending"), "pending: attempt 1 is made when its turn comes"),
        (delivery("in_flight", attempt(1, "TIMEOUT")), "in_flight: attempt 2 is being made now"),
        (delivery("unknown"), "unknown: what became of it was not kept"),
        (
            delivery("parked", attempt(1, "TIMEOUT"), next_attempt_at="2026-11-23T10:00:09.000Z", attempts_made=3),
            r"parked: attempt 4 at 2026-11-23T10:00:09\.000Z \((due now|in .*)\)",
        ),
        (
            delivery("parked", attempt(3, "TIMEOUT", at=None), next_attempt_at="2999-11-23T10:00:09.000Z"),
            r"parked: attempt 2 at 2999-11-23T10:00:09\.000Z \(in [0-9.]+ h\)",
        ),
        (delivery("parked", attempt(3, "TIMEOUT"), attempts_made=3), "2 earlier attempts failed"),
        (
            delivery("dead_letter", dead_letter=letter(queue=QUEUE, condition="MaximumRetryAttempts")),
            r"dead_letter: given up 2026-11-23T10:00:02.000Z \(MaximumRetryAttempts\)",
        ),
        (delivery("dead_letter", dead_letter=letter(queue=QUEUE)), f"it is in the queue {QUEUE}"),
        (
            delivery("dead_letter", dead_letter=letter(queue=QUEUE, to_queue=delivery("pending"))),
            f"it goes to the queue {QUEUE}",
        ),
        (
            delivery("dead_letter", dead_letter=letter(queue=QUEUE, number=7, kept=True, queue_failure="A: b")),
            f"its queue {QUEUE} did not take it: A: b",
        ),
        (
            delivery("dead_letter", dead_letter=letter(number=7, kept=True)),
            "kept as number 7: `crossbus dlq redrive 7` delivers it after all",
        ),
        (delivery("dead_letter", dead_letter=letter(number=7, redriven=True)), "it was kept as number 7, and redriven"),
        (delivery("dead_letter", dead_letter=letter(number=7)), "it was kept as number 7, and is not any more"),
        (delivery("pending", redriven_from=7), rf"rule orders, target t \({QUEUE}\), redriven from dead letter 7"),
        (delivery("pending", target_arn=None), r"rule orders, target t \(a target that was removed\)"),
        (
            delivery("delivered", attempt(), event=event(event_id="e2", bus="central")),
            "2026-11-23T10:00:00.000Z  accepted on bus central in 111111111111/us-east-1 as event e2",
        ),
    ],
)
def test_where_a_delivery_stands_is_said(monkeypatch: pytest.MonkeyPatch, made: dict[str, Any], expected: str) -> None:
    lines = shown(monkeypatch, event(made))
    assert any(re.fullmatch(expected, line) for line in lines), lines


def test_the_answer_is_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"event_id": "e1", "states": {}, "age_s_max": 3600, "events": []}
    monkeypatch.setattr(HubClient, "hub", lambda *_: answer)
    assert json.loads(run("trace", "e1", "--json")[1]) == answer
