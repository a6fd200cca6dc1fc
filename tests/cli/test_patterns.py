"""`crossbus test-pattern`: what it takes, what it shows, how it ends; and how the answer of `explain` is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.cli.client import HubClient
from tests.cli.terminal import run

EVENT = {
    "version": "0",
    "id": "e-1",
    "detail-type": "order",
    "source": "shop",
    "account": "111111111111",
    "time": "2026-11-23T10:00:00Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {"state": "Paid", "items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}]},
}


def tried(pattern: object, event: object = EVENT, *options: str) -> tuple[int, str, str]:
    return run("test-pattern", json.dumps(pattern), json.dumps(event), *options)


def test_a_match_ends_with_0_and_shows_its_fields() -> None:
    status, shown, complaints = tried({"source": ["shop"], "detail": {"state": ["Paid", {"prefix": "Pay"}]}})
    assert (status, complaints) == (0, "")
    assert shown.splitlines() == [
        "matches",
        "",
        "       field         expected              got",
        '  yes  detail.state  "Paid", prefix "Pay"  "Paid"',
        '  yes  source        "shop"                "shop"',
    ]


def test_a_difference_ends_with_1_and_says_why() -> None:
    status, shown, complaints = tried({"source": ["shop"], "detail": {"state": ["paid"]}})
    assert (status, complaints) == (1, "")
    assert shown.splitlines() == [
        'does not match: differs in detail.state: expected one of "paid", got "Paid" '
        "(only upper and lower case differ)",
        "",
        "       field         expected  got",
        '   NO  detail.state  "paid"    "Paid"',
        "       (only upper and lower case differ)",
        '  yes  source        "shop"    "shop"',
    ]


def test_fields_in_different_elements_and_other_branches_are_shown() -> None:
    _, shown, _ = tried({"detail": {"items": {"sku": ["a"], "count": [2]}}})
    assert shown.startswith("does not match: no single element of detail.items satisfies both ")
    _, shown, _ = tried({"$or": [{"source": ["shop"]}, {"source": ["x"]}]})
    assert "\nthat is the nearest of 2 branches; fields of the others:\n" in shown
    assert shown.endswith('   NO  source  "x"       "shop"\n')


def test_long_cells_are_cut() -> None:
    _, shown, _ = tried({"detail": {"state": ["x" * 200]}})
    assert max(map(len, shown.splitlines()[2:])) < 120


def test_odd_events_are_hinted_at_and_odd_patterns_warned_of() -> None:
    status, shown, _ = tried({"source": ["shop "], "Source": ["shop"]}, {"Source": "shop"})
    assert status == 1
    assert "\nhint: this looks like an entry of PutEvents: " in shown
    assert "\nhint: the event has no id, " in shown
    assert '\nwarning: source: expected "shop", got "shop ": ' in shown
    assert "\nwarning: Source: " in shown


def test_the_explanation_is_printed_as_json() -> None:
    status, shown, _ = tried({"source": ["x"]}, EVENT, "--json")
    assert (status, json.loads(shown)["summary"]) == (1, 'differs in source: expected one of "x", got "shop"')


def test_json_comes_as_argument_as_a_file_and_from_stdin(tmp_path: Path) -> None:
    pattern, event = tmp_path / "pattern.json", tmp_path / "event.json"
    pattern.write_text('{"source": ["shop"]}')
    event.write_text("\ufeff" + json.dumps(EVENT))
    assert run("test-pattern", str(pattern), f"@{event}")[0] == 0
    assert run("test-pattern", f"@{pattern}", "-", stdin=json.dumps(EVENT).encode())[0] == 0
    assert run("test-pattern", "-", str(event), stdin=b'{"source": ["x"]}')[0] == 1


@pytest.mark.parametrize(
    ("pattern", "event", "said"),
    [
        ('{"source": "shop"}', "{}", 'Event pattern is not valid. Reason: "source" must be an object or an array at ['),
        ('{"source": [{"EXISTS": true}]}', "{}", "Event pattern is not valid. Reason: Unrecognized match type EXISTS"),
        ('"{}"', "{}", "Event pattern is not valid. Reason: Filter is not an object"),
        ('{"source": ["a"]}', "[]", "Parameter Event is not valid. Reason: expected a JSON object"),
        ('{"source": ["a"]}', '{"a": ', "Parameter Event is not valid. Reason: expected strict JSON"),
        ('{"source": ["a"]}', "missing.json", "expected the event as JSON, as a file or as -, got 'missing.json': No"),
        ("", "{}", "expected the pattern as JSON, as a file or as -, got ''"),
        ("a\0b", "{}", "expected the pattern as JSON, as a file or as -, got 'a\\x00b'"),
        ("-", "-", "stdin can be the pattern or the event, not both"),
    ],
)  # fmt: skip
def test_what_is_not_valid_ends_with_2(pattern: str, event: str, said: str) -> None:
    status, shown, complaints = run("test-pattern", pattern, event)
    assert (status, shown) == (2, "")
    assert complaints.startswith(f"crossbus: {said}")


def test_what_was_meant_by_a_refused_pattern_follows() -> None:
    assert tried({"source": [{"EXISTS": True}]})[2].splitlines()[1].startswith("crossbus: source: expected an operator")
    assert tried("{}")[2].splitlines()[1].startswith("crossbus: expected an object, got JSON written as text")


def test_text_that_is_not_utf_8_ends_with_2() -> None:
    assert run("test-pattern", "-", "{}", stdin=b"\xff")[2].startswith("crossbus: stdin: expected UTF-8, got ")


# explain, with a hub's answer


def answered(monkeypatch: pytest.MonkeyPatch, *arguments: str, **answer: Any) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and what the hub was asked, where the hub answers so."""
    asked: list[Any] = []

    def hub(self: HubClient, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        asked.append(body)
        where = {"bus": "default", "account": "111111111111", "region": "us-east-1"}
        return {**where, "rules": 2, "looked_at": 2, "matched": [], "withheld": [], "nearest": None, **answer}

    monkeypatch.setattr(HubClient, "hub", hub)
    status, shown, complaints = run("explain", "{}", *arguments)
    assert complaints == ""
    return status, shown, asked[0]


def test_rules_that_match_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    withheld = [{"rule": "b", "state": "DISABLED", "reason": "matches, but it is DISABLED"}]
    status, shown, asked = answered(monkeypatch, matched=["a"], withheld=withheld)
    assert (status, shown) == (
        0,
        "matches 1 of 2 rules of default in 111111111111/us-east-1:\n  a\n  b matches, but it is DISABLED\n",
    )
    assert asked == {"bus": "default", "event": "{}", "account": "111111111111", "region": "us-east-1"}


def test_without_a_match_the_nearest_rule_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = json.loads(tried({"source": ["x"]}, EVENT, "--json")[1])
    near = {"rule": "a", "state": "ENABLED", "failing": 1, "summary": "differs in …", "explanation": explanation}
    status, shown, _ = answered(monkeypatch, nearest=near, looked_at=1)
    assert status == 1
    assert shown.splitlines() == [
        "no rule gets it, of 2 rules of default in 111111111111/us-east-1 (looked at 1 of them)",
        "the nearest is a: differs in …",
        "",
        "       field   expected  got",
        '   NO  source  "x"       "shop"',
    ]


def test_one_rule_is_shown_with_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = json.loads(tried({"source": ["x"]}, EVENT, "--json")[1])
    near = {"rule": "a", "state": "ENABLED", "failing": 1, "summary": "differs in …", "explanation": explanation}
    status, shown, _ = answered(monkeypatch, "--rule", "a", nearest=near, rules=1, looked_at=1)
    assert (status, shown.splitlines()[:2]) == (
        1,
        ["a does not get it (default in 111111111111/us-east-1)", "differs in …"],
    )
    status, shown, _ = answered(monkeypatch, "--rule", "a", matched=["a"], rules=1, looked_at=1)
    assert (status, shown) == (0, "a gets it (default in 111111111111/us-east-1)\n")


def test_a_bus_is_named_by_its_arn_or_with_account_and_region(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = "arn:aws:events:eu-west-1:222222222222:event-bus/central"
    assert answered(monkeypatch, "--bus", arn)[2] == {"bus": arn, "event": "{}"}
    assert answered(monkeypatch, "--bus", arn, "--rule", "r")[2] == {"bus": arn, "event": "{}", "rule": "r"}
    there = ("--bus", "central", "--account", "222222222222", "--region", "eu-west-1")
    asked = answered(monkeypatch, *there)[2]
    assert asked == {"bus": "central", "event": "{}", "account": "222222222222", "region": "eu-west-1"}


def test_the_answer_is_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    status, shown, _ = answered(monkeypatch, "--json", matched=["a"])
    assert (status, json.loads(shown)["matched"]) == (0, ["a"])
