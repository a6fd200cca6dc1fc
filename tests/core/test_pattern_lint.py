"""Patterns that nothing refuses and that can never match, or hardly as they were meant; and what was meant."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core import pattern_lint
from router.core.explain import explain
from router.core.pattern import InvalidPattern, parse
from router.core.pattern_branches import covers
from router.core.pattern_lint import BRANCHES_COMPARED_MAX, ENVELOPE, PatternWarning, sample_warning, warnings
from router.core.pattern_slips import SLIPS_MAX, slips
from router.core.ruletable_values import Paths, branch_matches, decode_object
from tests.shared import needs_shared, rows

CLOUDTRAIL = "AWS API Call via CloudTrail"


def text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def found(pattern: object) -> list[tuple[str, str, str]]:
    return [(warning.code, warning.certainty, warning.path) for warning in warnings(text(pattern))]


def only(pattern: object) -> PatternWarning:
    (warning,) = warnings(text(pattern))
    return warning


@pytest.mark.parametrize(
    "pattern",
    [
        {"source": ["aws.s3", {"prefix": "aws."}], "detail-type": [CLOUDTRAIL], "detail": {"eventName": ["Get"]}},
        {"detail-type": [{"suffix": " via CloudTrail"}, {"prefix": "AWS "}]},
        {"account": ["111111111111", {"prefix": "2"}], "region": ["us-gov-west-1", {"anything-but": "eu-west-1"}]},
        {"resources": [{"exists": False}, {"wildcard": "arn:aws:s3:*"}], "replay-name": [{"exists": False}]},
        {"detail": {"a": [1, None, True, {"numeric": [">", 5]}, {"exists": False}], "b": [{"exists": True}]}},
        {"detail": {"requestParameters": {"prefix": ["x"], "cidr": ["10.0.0.0"]}}},
        {"source": ["10.0.0.1", {"cidr": "10.0.0.0/8"}]},
        {"$or": [{"source": ["a"]}, {"detail": {"x": [1]}}], "time": [{"prefix": "2026-"}]},
        {"detail": {"a": [{"anything-but": ["x", "y"]}, {"anything-but": ["x"]}, {"anything-but": {"prefix": "z"}}]}},
    ],
)  # fmt: skip
def test_good_patterns_have_no_warnings(pattern: object) -> None:
    assert warnings(text(pattern)) == []


# what can never match


def test_a_list_of_values_directly_under_detail_never_matches() -> None:
    warning = only({"source": ["aws.s3"], "detail": [CLOUDTRAIL]})
    assert (warning.code, warning.certainty, warning.path) == ("list-under-detail", "never", "detail")
    assert warning.message == (
        'expected an object, got a list of values ("AWS API Call via CloudTrail"): detail is always an object, so this '
        'can never match. That is a detail-type: write "detail-type": ["AWS API Call via CloudTrail"]'
    )
    assert "Name a field inside it" in only({"detail": ["ListBuckets"]}).message
    assert "Name a field inside it" in only({"detail": [{"exists": True}]}).message


def test_detail_as_quoted_json_never_matches() -> None:
    warning = only({"detail": ['{"eventName": ["ListBuckets"]}']})
    assert (warning.code, warning.certainty) == ("quoted-json", "never")
    assert only({"detail": ["{"]}).code == "list-under-detail"
    assert only({"detail": ["[" * 4000]}).code == "list-under-detail"


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("detailType", "Write detail-type"),
        ("detail_type", "Write detail-type"),
        ("DetailType", "Write detail-type"),
        ("Source", "Write source"),
        ("sorce", "Write source"),
        ("resource", "Write resources"),
        ("eventName", "What a producer sends stands under detail: write detail.eventName"),
        ("", 'What a producer sends stands under detail: write detail.'),
    ],
)  # fmt: skip
def test_a_field_that_no_event_has_never_matches(field: str, advice: str) -> None:
    warning = only({field: ["x"]})
    assert (warning.code, warning.certainty, warning.path) == ("no-such-field", "never", field)
    assert warning.message.endswith(f"so this can never match. {advice}")


def test_a_path_below_a_mistaken_field_is_kept() -> None:
    assert only({"Detail": {"a": {"b": ["x"]}}}).message.endswith("Write detail.a.b")


@pytest.mark.parametrize(
    ("pattern", "path", "advice"),
    [
        ({"source": {"name": ["x"]}}, "source.name", 'Write "source": ["…"], or move name under detail'),
        ({"source": {"prefix": ["aws."]}}, "source.prefix", 'stands inside a list: write "source": [{"prefix": …}]'),
        ({"id": {"a": [{"exists": True}]}}, "id.a", 'Write "id": ["…"], or move a under detail'),
        ({"resources": {"arn": ["x"]}}, "resources.arn", 'Write "resources": ["…"], or move arn under detail'),
    ],
)
def test_an_object_where_the_envelope_has_a_text_never_matches(pattern: object, path: str, advice: str) -> None:
    warning = only(pattern)
    assert (warning.code, warning.certainty, warning.path) == ("inside-a-text", "never", path)
    assert warning.message.endswith(advice)


def test_a_number_where_the_envelope_has_a_text_never_matches() -> None:
    warning = only({"account": [111111111111]})
    assert (warning.code, warning.certainty, warning.path) == ("wrong-kind", "never", "account")
    assert warning.message == (
        "expected a text, got 111111111111: account is always a text, so this can never hold. Put quotes around it: "
        '"111111111111"'
    )
    assert found({"source": [None, {"numeric": [">", 5]}]}) == [("wrong-kind", "never", "source")] * 2
    assert "a list of texts" in only({"resources": [True]}).message
    assert found({"source": ["a", 5]}) == [("wrong-kind", "unreachable", "source")]


def test_an_envelope_field_is_never_absent() -> None:
    assert found({"source": [{"exists": False}]}) == [("wrong-kind", "never", "source")]
    assert found({"source": ["a", {"exists": False}]}) == [("wrong-kind", "unreachable", "source")]


def test_in_one_branch_of_several_only_that_branch_never_matches() -> None:
    dead = {"detail": ["x"]}
    assert found({"$or": [dead, {"source": ["a"]}]}) == [("list-under-detail", "unreachable", "detail")]
    assert found({"$or": [dead, {"source": [1]}]}) == [
        ("list-under-detail", "never", "detail"),
        ("wrong-kind", "never", "source"),
    ]


# what hardly matches as it was meant


@pytest.mark.parametrize(
    ("test", "trimmed"),
    [
        ("ListBuckets ", "ListBuckets"),
        ("\tx", "x"),
        ({"equals-ignore-case": " x "}, "x"),
        ({"prefix": " aws."}, "aws."),
        ({"suffix": ".png "}, ".png"),
        ({"prefix": {"equals-ignore-case": " a"}}, "a"),
        ({"suffix": {"equals-ignore-case": "a "}}, "a"),
        ({"wildcard": " a*b"}, "a*b"),
        ({"anything-but": "x "}, "x"),
        ({"anything-but": {"suffix": ["x", "y "]}}, "y"),
    ],
)
def test_white_space_around_a_value_is_told(test: object, trimmed: str) -> None:
    warning = only({"detail": {"eventName": [test]}})
    assert (warning.code, warning.certainty, warning.path) == ("white-space", "suspect", "detail.eventName")
    assert warning.message.startswith(f'expected "{trimmed}", got "')


@pytest.mark.parametrize(
    "test", [{"prefix": "AWS "}, {"suffix": " CloudTrail"}, {"wildcard": "a *"}, {"numeric": ["=", 1]}]
)
def test_white_space_inside_a_value_is_good(test: object) -> None:
    assert warnings(text({"detail": {"a": [test]}})) == []


def test_an_account_and_a_region_have_their_form() -> None:
    assert only({"account": ["11111111111"]}).message == 'expected an account of 12 digits, got "11111111111"'
    assert only({"region": ["us-east1"]}).message == 'expected a region such as us-east-1, got "us-east1"'
    assert warnings(text({"account": ["${local.account}"]})) == []


@pytest.mark.parametrize(
    "pattern",
    [
        {"detail": [{"exists": False}]},
        {"nothing": [{"exists": False}]},
        {"source": {"a": ["x", {"exists": False}]}},
        {"detail": {"a": [{"exists": True}, {"exists": False}]}},
        {"detail": {"a": [{"anything-but": "x"}, {"anything-but": ["y", "z"]}]}},
        {"detail": {"a": [{"anything-but": 1}, {"anything-but": "y"}]}},
    ],
)
def test_a_field_that_always_holds_is_told(pattern: object) -> None:
    warning = only(pattern)
    assert (warning.code, warning.certainty) == ("always-holds", "suspect")


def test_an_operator_without_its_list_is_told() -> None:
    warning = only({"detail": {"a": {"anything-but": ["x"]}}})
    assert (warning.code, warning.certainty, warning.path) == ("operator-as-field", "suspect", "detail.a.anything-but")
    assert warning.message.endswith('write [{"anything-but": …}] as the value of detail.a')


def test_a_value_and_an_object_at_one_place_are_told() -> None:
    pattern = {"detail": {"a": ["x"], "a.b": ["y"]}}
    assert found(pattern) == [("value-and-object", "suspect", "detail.a.b")]
    assert explain(parse(text(pattern)), '{"detail": {"a": ["x", {"b": "y"}]}}').matched, "so it is not never"
    assert warnings(text({"detail": {"a": [{"exists": False}], "a.b": ["y"]}})) == []


# branches


@pytest.mark.parametrize(
    ("narrow", "wide", "certain"),
    [
        ({"a": ["x"]}, {"a": ["x", "y"]}, True),
        ({"a": ["x"]}, {"a": [{"prefix": "x"}]}, True),
        ({"a": [5]}, {"a": [{"numeric": [">", 4]}]}, True),
        ({"a": [5]}, {"a": [{"numeric": [">", 5]}]}, False),
        ({"a": [None]}, {"a": [{"anything-but": "x"}]}, True),
        ({"a": [{"prefix": "xy"}]}, {"a": [{"prefix": "x"}]}, True),
        ({"a": [{"prefix": "x"}]}, {"a": [{"prefix": "xy"}]}, False),
        ({"a": [{"suffix": "xy"}]}, {"a": [{"suffix": "y"}]}, True),
        ({"a": [{"wildcard": "x*"}]}, {"a": [{"exists": True}]}, True),
        ({"a": [{"wildcard": "x*"}]}, {"a": [{"prefix": "x"}]}, False),
        ({"a": [{"exists": False}]}, {"a": [{"exists": True}]}, False),
        ({"a": ["x"]}, {"a": ["x", {"exists": False}]}, True),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": [{"anything-but": "x"}]}, True),
        ({"a": [{"anything-but": ["x"]}]}, {"a": [{"anything-but": ["x", "y"]}]}, False),
        ({"a": [{"cidr": "10.1.0.0/16"}]}, {"a": [{"cidr": "10.0.0.0/8"}]}, True),
        ({"a": [{"cidr": "10.0.0.0/8"}]}, {"a": [{"cidr": "10.1.0.0/16"}]}, False),
        ({"a": [{"cidr": "10.0.0.0/8"}]}, {"a": [{"cidr": "::/1"}]}, False),
        ({"a": [{"numeric": [">", 5, "<", 7]}]}, {"a": [{"numeric": [">=", 5, "<=", 7]}]}, True),
        ({"a": [{"numeric": [">=", 5, "<=", 7]}]}, {"a": [{"numeric": [">", 5]}]}, False),
        ({"a": [{"numeric": [">=", 5, "<=", 7]}]}, {"a": [{"numeric": ["<", 7]}]}, False),
        ({"a": [{"numeric": [">=", 5, "<=", 7]}]}, {"a": [{"numeric": ["<", 8]}]}, True),
        ({"a": [{"numeric": [">", 5]}]}, {"a": [{"numeric": [">", 4]}]}, True),
        ({"a": [{"numeric": [">", 5]}]}, {"a": [{"numeric": ["<", 9]}]}, False),
        ({"a": [{"numeric": ["<", 5]}]}, {"a": [{"numeric": [">", 1]}]}, False),
        ({"a": [{"numeric": ["<", 5]}]}, {"a": [{"numeric": ["<=", 5]}]}, True),
        ({"a": ["x"], "b": ["y"]}, {"a": ["x"]}, True),
        ({"a": ["x"]}, {"a": ["x"], "b": ["y"]}, False),
        ({"a": ["x"], "b": ["y"]}, {"a": ["x"], "c": ["y"]}, False),
        ({"a": ["x"], "b": [{"exists": False}]}, {"a": ["x", "y"], "b": [{"exists": False}]}, True),
        ({"a": ["x"], "b": [{"exists": False}]}, {"b": [{"exists": False}]}, False),
    ],
)
def test_a_branch_covers_another_where_that_is_certain(narrow: object, wide: object, certain: bool) -> None:
    (one,), (other,) = parse(text(narrow)).branches, parse(text(wide)).branches
    assert covers(other, one) is certain


def matches_branch(branch: Any, event: str) -> bool:
    return branch_matches(branch, Paths({field.path for field in branch}).values(decode_object(event)))


TESTS: list[Any] = ["x", "xy", 1, None, {"prefix": "x"}, {"suffix": "y"}, {"numeric": [">", 0]}, {"exists": True}]
TESTS += [{"exists": False}, {"anything-but": "x"}, {"anything-but": ["x", "xy"]}, {"numeric": [">=", 0, "<", 2]}]
VALUES = st.sampled_from(["x", "xy", "yx", 0, 1, 2, None, True])
BRANCHES = st.dictionaries(
    st.sampled_from("bcd"), st.lists(st.sampled_from(TESTS), min_size=1, max_size=3), min_size=1, max_size=3
)
ELEMENTS = st.dictionaries(st.sampled_from("bcd"), VALUES | st.lists(VALUES, max_size=2), max_size=3)


@given(BRANCHES, BRANCHES, ELEMENTS | st.lists(ELEMENTS, max_size=3))
@settings(max_examples=500)
def test_what_matches_a_branch_matches_the_one_that_covers_it(one: object, other: object, value: object) -> None:
    (narrow,), (wide,) = parse(text({"a": one})).branches, parse(text({"a": other})).branches
    event = text({"a": value})
    if covers(wide, narrow) and matches_branch(narrow, event):
        assert matches_branch(wide, event)


def test_with_fewer_fields_absence_is_another_question_in_arrays() -> None:
    narrow, wide = {"a": {"b": [1], "c": [{"exists": False}]}}, {"a": {"c": [{"exists": False}]}}
    event = '{"a": [{"b": 1}, {"c": 2}]}'
    assert explain(parse(text(narrow)), event).matched
    assert not explain(parse(text(wide)), event).matched


def test_a_branch_that_decides_nothing_is_told_with_the_one_that_covers_it() -> None:
    pattern = {"source": ["a"], "detail": {"$or": [{"n": [{"prefix": "Put"}]}, {"n": ["PutObject"], "m": [1]}]}}
    warning = only(pattern)
    assert (warning.code, warning.certainty, warning.path) == ("redundant-branch", "unreachable", "$or")
    assert warning.message == (
        'the branch with detail.m one of 1, detail.n one of "PutObject" decides nothing: every event that matches it '
        'matches the branch with detail.n prefix "Put" too. Remove it, or make the other narrower'
    )


def test_equal_branches_and_narrower_ones_are_told_once() -> None:
    assert "two branches ask for the same" in only({"$or": [{"source": ["a"]}, {"source": ["a"]}]}).message
    several = {"$or": [{"source": ["a"]}, {"source": ["b"]}], "detail": {"$or": [{"x": [1]}, {"x": [1], "y": [2]}]}}
    assert "matches the branch without it too" in only(several).message


def test_of_very_many_branches_only_equal_ones_are_found() -> None:
    many = [{"detail": {"n": [number]}} for number in range(BRANCHES_COMPARED_MAX)]
    assert warnings(text({"$or": [*many, {"detail": {"n": [{"exists": True}]}}]})) == []
    assert found({"$or": [*many, many[0]]}) == [("redundant-branch", "unreachable", "$or")]


def test_a_field_given_twice_is_told() -> None:
    assert found('{"source": ["a"], "source": ["b"]}') == [("given-twice", "suspect", "source")]
    assert found('{"detail": {"a": {"b": [1]}, "a.b": [2]}}') == [("given-twice", "suspect", "detail.a.b")]
    outside = {"source": ["x"], "$or": [{"source": ["a"]}, {"account": ["111111111111"]}]}
    assert "outside $or and in a branch of it" in only(outside).message
    nested = {"$or": [{"detail": {"$or": [{"a": [1]}, {"b": [1]}]}}, {"detail": {"a": [2]}}]}
    assert warnings(text(nested)) == []


# samples


def test_that_no_event_of_a_sample_matches_is_told_with_the_nearest() -> None:
    pattern = parse('{"source": ["a"], "detail": {"n": [1]}}')
    events = [decode_object(event) for event in ('{"source": "b"}', '{"source": "a", "detail": {"n": 2}}', "{}")]
    warning = sample_warning(pattern, events)
    assert warning == PatternWarning(
        "no-sample-matches",
        "suspect",
        "detail.n",
        "matches none of the 3 sample events; the nearest, event 2: differs in detail.n: expected one of 1, got 2",
    )
    assert sample_warning(pattern, [*events, decode_object('{"source": "a", "detail": {"n": 1}}')]) is None
    assert sample_warning(pattern, []) is None
    alone = sample_warning(pattern, events[1:2])
    assert alone is not None
    assert alone.message == "does not match the sample event: differs in detail.n: expected one of 1, got 2"


def test_an_event_of_a_sample_that_takes_too_many_steps_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_heavy(*_: object) -> None:
        raise ValueError("too many steps")

    monkeypatch.setattr(pattern_lint, "distance_of", too_heavy)
    assert sample_warning(parse('{"source": ["a"]}'), [{"source": "b"}]) is None


# what is refused


@pytest.mark.parametrize(
    ("pattern", "path", "said"),
    [
        ({"detail": {"a": [{"EXISTS": True}]}}, "detail.a", "operators are lower case: write exists"),
        ({"source": [{"anythingBut": "x"}]}, "source", ": write anything-but"),
        ({"source": [{"startsWith": "x"}]}, "source", ": write prefix"),
        ({"source": [{"prefxi": "x"}]}, "source", ": write prefix"),
        ({"source": [{"$eq": "x"}]}, "source", 'got "$eq"'),
        ({"source": "aws.s3"}, "source", 'expected a list of values, got "aws.s3": write ["aws.s3"]'),
        ({"detail": {"n": 5}}, "detail.n", "write [5]"),
        ({"detail": '{"a": ["b"]}'}, "detail", "write the object itself, without quotes around it"),
        (json.dumps('{"source": ["a"]}'), "", "write the object itself, without quotes around it"),
        ("[]", "", "expected an object, got a list"),
        ("5", "", "expected an object, got 5"),
        ({"source": []}, "source", "got an empty list"),
        ({"detail": {}}, "detail", "got an empty object"),
        ({"source": [["a"]]}, "source", "take the inner brackets away"),
        ({"source": {"prefix": "aws."}}, "source", 'write [{"prefix": "aws."}]'),
        ({"source": {"anything-but": {}}, "detail": 1}, "source.anything-but", "got an empty object"),
        ({"source": [{"prefix": "a", "suffix": "b"}]}, "source", "write an object for each"),
        ({"source": [{}]}, "source", "expected one operator in each object, got 0"),
        ({"source": [{"prefix": ["a", "b"]}]}, "source", 'write one {"prefix": …} for each'),
        ({"detail": {"a": [{"exists": "true"}]}}, "detail.a", 'expected true or false after exists, got "true"'),
        ({"detail": {"a": [{"numeric": "> 5"}]}}, "detail.a", 'expected a list such as [">=", 5] after numeric'),
        ({"detail": {"a": [{"numeric": [">", "5"]}]}}, "detail.a", 'got the text "5": take the quotes away'),
        ({"$or": {"source": ["a"]}}, "$or", "expected a list of objects, got an object"),
        ({"$or": [{"source": ["a"]}]}, "$or", "expected at least 2 branches, got 1"),
        ({"detail": {"$or": ["a", {"b": [1]}]}}, "detail.$or", 'expected an object for each branch, got "a"'),
        ({"or": [{"source": ["a"]}, {"source": ["b"]}]}, "or", 'expected $or, got "or": write $or'),
        ({"$OR": [{"source": ["a"]}, {"source": ["b"]}]}, "$OR", 'expected $or, got "$OR": write $or'),
    ],
)  # fmt: skip
def test_what_was_meant_by_a_refused_pattern_is_told(pattern: object, path: str, said: str) -> None:
    reason, *meant = warnings(text(pattern))
    assert (reason.code, reason.certainty) == ("refused", "refused")
    assert reason.message.startswith("Event pattern is not valid. Reason: ")
    assert meant[0].path == path
    assert said in meant[0].message
    assert {warning.certainty for warning in meant} == {"refused"}


def test_a_refusal_is_one_short_line() -> None:
    reason = warnings(text({"source": [{"EXISTS": True}], "detail": {"a": ["x" * 500]}}))[0]
    assert reason.message == "Event pattern is not valid. Reason: Unrecognized match type EXISTS (line 1, column 28)"
    assert "\n" not in warnings('{"source": [["a\\n\n"]]')[0].message


def test_text_that_is_no_json_has_only_its_refusal() -> None:
    assert found("{") == [("refused", "refused", "")]
    assert found("{" * 5000) == [("refused", "refused", "")]


def test_good_operators_beside_a_slip_are_passed_over() -> None:
    tests = [{"exactly": "a"}, {"exists": True}, {"numeric": [">", 5]}, {"prefix": "a"}, "x", {"Exists": True}]
    assert [path for path, _ in slips(text({"detail": {"a": tests}}))] == ["detail.a"]


def test_only_the_first_slips_are_told() -> None:
    assert len(slips(text(dict.fromkeys(map(str, range(100)), "x")))) == SLIPS_MAX


# the reference data


def is_whole(event: dict[str, Any]) -> bool:
    """Whether an event can stand on a bus."""
    return event.keys() <= set(ENVELOPE) and isinstance(event.get("detail"), dict)


@needs_shared
def test_no_pattern_that_a_whole_event_matches_is_said_to_match_never() -> None:
    pairs = [*rows("corpus/pattern_event_pairs.jsonl"), *rows("corpus/detections.jsonl")]
    matching = {text(row["pattern"]) for row in pairs if row["expect"] is True and is_whole(row["event"])}
    assert len(matching) > 100
    wrong = [pattern for pattern in matching if any(w.certainty in ("never", "refused") for w in warnings(pattern))]
    assert wrong == []


@needs_shared
def test_the_traps_of_the_corpus_are_found() -> None:
    patterns = {
        text(row["pattern"]) for row in [*rows("corpus/patterns.jsonl"), *rows("corpus/pattern_event_pairs.jsonl")]
    }
    codes = {pattern: {warning.code for warning in warnings(pattern)} for pattern in patterns}
    assert any('"detail": ["MyTestAppDetail"]' in p and "list-under-detail" in found for p, found in codes.items())
    assert any('"NUMERIC"' in p and "slip" in found for p, found in codes.items())
    on_a_bus = [p for p in patterns if parse_or_none(p) and set(json.loads(p)) <= {*ENVELOPE, "$or"}]
    clean = [p for p in on_a_bus if not codes[p]]
    assert len(clean) > 0.9 * len(on_a_bus) > 100


def parse_or_none(pattern: str) -> object:
    try:
        return parse(pattern)
    except InvalidPattern:
        return None
