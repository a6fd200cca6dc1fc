"""Explanations: what was expected, what was there, and why a rule that looks right does not match."""

import json
from typing import Any, get_args

import msgspec
import pytest

from router.core import explain as explaining
from router.core.explain import ExplainedField, Explanation, NearestRule, explain, got_text, nearest
from router.core.operators import Test, number
from router.core.pattern import InvalidPattern, parse
from router.core.pattern_text import SHOWN_CHARS_MAX, joined, listed, quoted, readable, shown
from router.core.ruletable_values import NotAnObject
from tests.shared import needs_shared, rows

ENVELOPE = {
    "version": "0",
    "id": "e-1",
    "detail-type": "AWS API Call via CloudTrail",
    "source": "aws.secretsmanager",
    "account": "111111111111",
    "time": "2026-11-23T10:00:00Z",
    "region": "us-east-1",
    "resources": [],
}


def explained(pattern: object, detail: object = None, **envelope: object) -> Explanation:
    event = {**ENVELOPE, "detail": {} if detail is None else detail, **envelope}
    return explain(parse(json.dumps(pattern)), json.dumps(event))


def summary(pattern: object, detail: object) -> str:
    return explained({"detail": pattern}, detail).summary


def field(pattern: object, detail: object) -> ExplainedField:
    (only,) = explained({"detail": pattern}, detail).fields
    return only


def note(pattern: object, detail: object) -> str | None:
    return field(pattern, detail).note


# texts


@pytest.mark.parametrize(
    ("test", "text"),
    [
        ("GetSecretValue", '"GetSecretValue"'),
        ("10.0.0.1", '"10.0.0.1"'),
        (True, "true"),
        (None, "null"),
        (300.0, "300"),
        (-1.5, "-1.5"),
        (1e300, "1e+300"),
        ({"prefix": "aws."}, 'prefix "aws."'),
        ({"suffix": ".png"}, 'suffix ".png"'),
        ({"prefix": {"equals-ignore-case": "a"}}, 'prefix "a" in any case'),
        ({"suffix": {"equals-ignore-case": "a"}}, 'suffix "a" in any case'),
        ({"equals-ignore-case": "a"}, '"a" in any case'),
        ({"wildcard": "a\\*b*\\\\"}, 'wildcard "a\\\\*b*\\\\\\\\"'),
        ({"anything-but": "x"}, 'anything but "x"'),
        ({"anything-but": [1, 2]}, "anything but 1, 2"),
        ({"anything-but": {"prefix": ["a", "b"]}}, 'anything but prefix "a", prefix "b"'),
        ({"numeric": ["=", 5]}, "5"),
        ({"numeric": [">=", 5, "<", 10]}, "number >= 5 and < 10"),
        ({"numeric": [">", 5, "<=", 10]}, "number > 5 and <= 10"),
        ({"numeric": ["<", 0.5]}, "number < 0.5"),
        ({"cidr": "10.0.0.0/8"}, "cidr 10.0.0.0/8"),
        ({"cidr": "::/0"}, "cidr ::/0"),
        ({"cidr": "2001:db8::/32"}, "cidr 2001:db8::/32"),
        ({"exists": True}, "present"),
        ({"exists": False}, "absent"),
    ],
)
def test_each_test_has_a_readable_text(test: object, text: str) -> None:
    assert field({"a": [test]}, {}).expected[0].test == text


def test_every_kind_of_test_has_a_text() -> None:
    from router.core import pattern_text

    assert set(pattern_text._TEXTS) == set(get_args(Test))


def test_texts_are_one_line_bounded_and_can_be_encoded() -> None:
    assert quoted("a\nb") == '"a\\nb"'
    assert quoted("x" * 1000) == f'"{"x" * SHOWN_CHARS_MAX}…" (1000 characters)'
    assert quoted("\ud800") == '"\\ud800"'
    assert shown(number("9" * 400)) == f"{'9' * SHOWN_CHARS_MAX}… (400 characters)"
    assert shown(number("12345678901234567890")) == "12345678901234567890"
    assert readable("detail.a b") == "detail.a b"
    assert readable('a"b') == '"a\\"b"'
    assert readable("") == '""'
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert [joined("a"), joined("ab"), joined("abc")] == ["a", "a and b", "a, b and c"]


# verdicts


def test_every_field_is_explained_with_what_was_expected_and_what_was_there() -> None:
    seen = explained(
        {"source": ["aws.secretsmanager"], "detail": {"eventName": ["GetSecretValue", {"prefix": "Put"}]}},
        {"eventName": "ListSecrets"},
    )
    assert json.loads(msgspec.json.encode(seen)) == {
        "matched": False,
        "summary": 'differs in detail.eventName: expected one of "GetSecretValue", prefix "Put", got "ListSecrets"',
        "branches": 1,
        "fields": [
            {
                "path": "detail.eventName",
                "holds": False,
                "expected": [{"test": '"GetSecretValue"', "holds": False}, {"test": 'prefix "Put"', "holds": False}],
                "got": ['"ListSecrets"'],
                "got_count": 1,
                "note": None,
            },
            {
                "path": "source",
                "holds": True,
                "expected": [{"test": '"aws.secretsmanager"', "holds": True}],
                "got": ['"aws.secretsmanager"'],
                "got_count": 1,
                "note": None,
            },
        ],
        "note": None,
        "other_fields": [],
        "hints": [],
    }
    assert seen.failing == 1


def test_a_match_is_a_match() -> None:
    seen = explained({"source": [{"prefix": "aws."}, "x"]})
    assert (seen.matched, seen.summary, seen.failing) == (True, "matches", 0)
    assert [test.holds for test in seen.fields[0].expected] == [True, False]


def test_absence_that_holds_is_the_test_that_holds() -> None:
    only = field({"a": ["x", {"exists": False}]}, {})
    assert (only.holds, [test.holds for test in only.expected], only.got) == (True, [False, True], ())


@pytest.mark.parametrize(
    ("tests", "detail", "text"),
    [
        (["GetSecretValue"], {"a": "ListSecrets"}, 'expected one of "GetSecretValue", got "ListSecrets"'),
        ([{"prefix": "Get"}], {"a": "List"}, 'expected prefix "Get", got "List"'),
        ([{"exists": False}], {"a": 1}, "expected absent, got 1"),
        ([{"exists": True}], {}, "expected present, got nothing (detail has no a)"),
        (["x"], {"a": list("abcd")}, 'expected one of "x", got "a", "b", "c" and 1 more'),
        (["x"], {"a": list("ab") * 9}, 'expected one of "x", got "a", "b", "a" and 15 more'),
        (
            list("abcdefgh"),
            {"a": 1},
            'expected one of "a", "b", "c", "d", "e", "f" and 2 more, got 1',
        ),
    ],
)
def test_the_summary_says_what_differs(tests: object, detail: object, text: str) -> None:
    assert summary({"a": tests}, detail) == f"differs in detail.a: {text}"


def test_the_summary_names_the_first_fields_and_counts_the_others() -> None:
    text = summary({name: [1] for name in "abcde"}, dict.fromkeys("abcde", 2))
    assert text.startswith("differs in detail.a: expected one of 1, got 2; in detail.b: expected one of 1, got 2; ")
    assert text.endswith("; and in 2 more")


def test_values_are_bounded_and_counted() -> None:
    seen = field({"a": ["x"]}, {"a": ["y" * 1000] * 1000})
    assert (len(seen.got), seen.got_count) == (explaining.GOT_MAX, 1000)
    assert all(len(text) < 200 for text in seen.got)
    assert got_text(seen).endswith(" and 997 more")


def test_text_that_is_no_object_is_refused() -> None:
    pattern = parse('{"source": ["a"]}')
    for text in ("", "[]", '"x"', "{"):
        with pytest.raises(NotAnObject):
            explain(pattern, text)


def test_what_cannot_be_encoded_is_escaped() -> None:
    pattern = parse('{"\\ud800": ["\\ud801"]}')
    seen = explain(pattern, '{"\\ud800": "\\ud802"}')
    assert b'got \\"\\\\ud802\\"' in msgspec.json.encode(seen)
    assert seen.fields[0].path == "\\ud800"


# near misses

AN_OBJECT = "detail.user.name is an object, and a list of tests looks only at values: name a field inside it"


@pytest.mark.parametrize(
    ("tests", "value", "text"),
    [
        (["a"], "a ", "the event's value has white space around it"),
        ([{"prefix": "a"}], " ab", "the event's value has white space around it"),
        (["ListBuckets "], "ListBuckets", "the pattern's value has white space around it"),
        (["Get"], "get", "only upper and lower case differ"),
        ([{"prefix": "Get"}], "getX", "only upper and lower case differ"),
        ([{"suffix": ".PNG"}], "a.png", "only upper and lower case differ"),
        ([5], "5", "the event has it as text, the pattern asks for 5 without quotes"),
        ([{"numeric": [">", 3]}], "5.5", "the event has it as text, the pattern asks for 5.5 without quotes"),
        ([{"numeric": [">", 3]}], "2", None),
        ([{"numeric": [">", 3]}], "five", None),
        ([True], "true", "the event has it as text, the pattern asks for true without quotes"),
        ([True], "false", None),
        (["5"], 5, 'the event has 5, the pattern the text "5"'),
        (["true"], True, 'the event has true, the pattern the text "true"'),
        (["x"], None, None),
        ([{"anything-but": "a"}], "a", None),
        (["x"], "y", None),
        (["x "], "y ", None),
    ],
)
def test_a_near_miss_in_the_value_is_told(tests: object, value: object, text: str | None) -> None:
    assert note({"a": tests}, {"a": value}) == text


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({}, "detail has no user"),
        ({"user": {}}, "detail.user has no name"),
        ({"user": {"Name": "x"}}, 'the event has "Name" there, and keys must be the same to the letter'),
        ({"User": {"name": "x"}}, 'the event has "User" there, and keys must be the same to the letter'),
        ({"user": {"name ": "x"}}, 'the event has "name " there, and keys must be the same to the letter'),
        ({"user": {"na_me": "x"}}, 'the event has "na_me" there, and keys must be the same to the letter'),
        (
            {"user": {"name": {"first": 1}}},
            AN_OBJECT,
        ),
        ({"user": []}, "detail.user is an empty array"),
        ({"user": {"name": []}}, "detail.user.name is an empty array"),
        ({"user": "eve"}, 'detail.user is "eve", with nothing inside it'),
        ({"user": 5}, "detail.user is 5, with nothing inside it"),
        ({"user": None}, "detail.user is null, with nothing inside it"),
        ({"user": '{"name": 1}'}, "detail.user is text with JSON in it, and patterns do not look into text"),
        ({"user": [[], [{"x": 1}]]}, "detail.user is an empty array"),
        ({"user.name": [{}]}, AN_OBJECT),
    ],
)
def test_where_a_path_stops_is_told(detail: object, text: str) -> None:
    seen = field({"user": {"name": ["eve"]}}, detail)
    assert (seen.note, seen.got) == (text, ())


def test_a_missing_envelope_field_needs_no_note() -> None:
    assert explained({"nothing": ["x"]}).fields[0].note is None
    assert explained({"Source": ["x"]}).fields[0].note == (
        'the event has "source" there, and keys must be the same to the letter'
    )


# arrays


def test_fields_that_hold_in_different_elements_are_told_apart() -> None:
    seen = explained(
        {"detail": {"items": {"first": ["Anna"], "last": ["Jones"]}, "n": [1]}},
        {"n": 1, "items": [{"first": "Anna", "last": "Smith"}, {"first": "Eve", "last": "Jones"}]},
    )
    assert not seen.matched
    assert [one.holds for one in seen.fields] == [True, True, True]
    assert seen.note == seen.summary
    assert seen.note == (
        'no single element of detail.items satisfies both detail.items.first (one of "Anna") and detail.items.last '
        '(one of "Jones")'
    )


def test_three_fields_of_which_each_two_agree_are_named_together() -> None:
    items = [{"a": 1, "b": 1}, {"b": 1, "c": 1}, {"a": 1, "c": 1}]
    text = summary({"items": {"a": [1], "b": [1], "c": [1]}}, {"items": items})
    assert text.startswith("no single element of detail.items satisfies all of detail.items.a (one of 1), ")


def test_the_innermost_array_that_they_share_is_named() -> None:
    detail = {"x": [{"y": [{"a": 1}, {"b": 1}]}]}
    text = summary({"x": {"y": {"a": [1], "b": [1]}}}, detail)
    assert text.startswith("no single element of detail.x.y satisfies both ")


def test_absence_in_the_element_of_another_field_is_not_held_against_it() -> None:
    pattern = {"items": {"a": [1], "b": [{"exists": False}]}, "n": [1]}
    detail = {"items": [{"a": 1}, {"b": 2}]}
    assert summary(pattern, {**detail, "n": 1}) == "matches"
    assert summary(pattern, {**detail, "n": 2}) == "differs in detail.n: expected one of 1, got 2"
    both = {"items": [{"a": 1, "b": 2}], "n": 2}
    assert summary(pattern, both).startswith("differs in detail.items.b: expected absent, got 2; in detail.n: ")


# branches


def test_the_nearest_branch_comes_first_and_the_others_fields_after_it() -> None:
    seen = explained(
        {"source": ["aws.secretsmanager"], "detail": {"$or": [{"a": [2], "b": [2]}, {"c": [3]}, {"e": [1], "d": [1]}]}},
        {"e": 1, "d": 4},
    )
    assert (seen.branches, [one.path for one in seen.fields]) == (3, ["detail.d", "detail.e", "source"])
    assert seen.summary == "differs in detail.d: expected one of 1, got 4"
    assert [(one.path, one.holds) for one in seen.other_fields] == [
        ("detail.a", False),
        ("detail.b", False),
        ("detail.c", False),
    ]


def test_the_branch_that_matches_is_the_nearest() -> None:
    seen = explained({"$or": [{"source": ["x"]}, {"account": ["111111111111"]}]})
    assert (seen.matched, [one.path for one in seen.fields]) == (True, ["account"])
    assert [one.path for one in seen.other_fields] == ["source"]


# the event as a whole


def test_what_is_odd_about_the_event_is_hinted_at() -> None:
    def hints(event: dict[str, Any]) -> tuple[str, ...]:
        return explain(parse('{"source": ["a"]}'), json.dumps(event)).hints

    assert hints({**ENVELOPE, "detail": {}}) == ()
    entry = hints({"Source": "a", "DetailType": "b", "Detail": "{}"})
    assert entry[0] == "this looks like an entry of PutEvents: on a bus it has source, detail-type and detail"
    record = hints({"eventSource": "s3.amazonaws.com", "eventName": "GetObject"})
    assert record[0].startswith("this looks like a bare CloudTrail record")
    assert hints(ENVELOPE) == ("the event has no detail, which every event on a bus has",)
    without = {name: value for name, value in ENVELOPE.items() if name not in ("id", "time")}
    assert hints({**without, "detail": {}}) == ("the event has no id and time, which every event on a bus has",)
    assert hints({**ENVELOPE, "detail": "{}"}) == ("detail is text: on a bus it is an object",)


# rules


EVENT = json.dumps({**ENVELOPE, "detail": {"eventName": "ListSecrets", "n": 1}})


def rule(**fields: object) -> Any:
    detail = {name: tests for name, tests in fields.items() if name != "source"}
    pattern = {"source": fields["source"]} if "source" in fields else {}
    return parse(json.dumps({**pattern, **({"detail": detail} if detail else {})}))


def test_the_nearest_rule_has_the_fewest_failing_fields_then_the_most_holding_ones() -> None:
    rules = [
        ("far", rule(source=["x"], eventName=["GetSecretValue"])),
        ("unspecific", rule(eventName=["GetSecretValue"])),
        ("near", rule(source=["aws.secretsmanager"], eventName=["GetSecretValue"], n=[1])),
        ("as near", rule(source=["aws.secretsmanager"], eventName=["PutSecretValue"], n=[1])),
    ]
    found = nearest(rules, EVENT)
    assert found is not None
    assert (found.rule, found.failing) == ("near", 1)
    assert found.summary == 'differs in detail.eventName: expected one of "GetSecretValue", got "ListSecrets"'
    assert found.explanation.summary == found.summary


def test_a_rule_that_matches_is_nearest_and_no_rules_have_none() -> None:
    assert nearest([], EVENT) is None
    search = NearestRule(EVENT)
    assert not search.offer("one", rule(n=[2]))
    assert search.offer("two", rule(n=[1]))
    assert not search.offer("three", rule(source=["x"]))
    found = search.nearest()
    assert found is not None
    assert (found.rule, found.failing, found.summary) == ("two", 0, "matches")


# the reference data


@needs_shared
def test_every_case_of_the_reference_has_its_verdict_and_its_explanation_can_be_encoded() -> None:
    from tests.core.test_pattern_conformance import CASES, LAST_DUPLICATE_COUNTS
    from tests.core.test_pattern_conformance import expected as wanted

    too_heavy = set()

    def verdict(row: dict[str, Any]) -> object:
        try:
            pattern = parse(row["pattern"])
        except InvalidPattern:
            return "invalid-pattern"
        try:
            seen = explain(pattern, row["event"])
        except NotAnObject:
            return "invalid-event"
        except ValueError:
            too_heavy.add(row["id"])
            return wanted(row)
        assert msgspec.json.encode(seen)
        assert seen.matched == (seen.summary == "matches")
        assert len(seen.fields) + len(seen.other_fields) > 0
        assert not seen.matched or all(one.holds for one in seen.fields)
        return seen.matched

    wrong = {row["id"] for row in CASES if verdict(row) != wanted(row)}
    assert len(CASES) > 4500
    assert wrong == LAST_DUPLICATE_COUNTS
    assert len(too_heavy) <= 2, "events with thousands of elements may take too many steps"


@needs_shared
def test_the_nearest_of_all_detections_is_one_that_matches_where_one_does() -> None:
    detections = rows("corpus/detections.jsonl")
    rules = list({row["name"]: (row["name"], parse(json.dumps(row["pattern"]))) for row in detections}.values())
    names = {name for name, _ in rules}
    for row in [row for row in detections if row["expect"] and row["name"] in names][::25]:
        found = nearest(rules, json.dumps(row["event"]))
        assert found is not None
        assert found.explanation.matched
