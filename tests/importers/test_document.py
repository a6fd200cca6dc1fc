"""Templates as text: short forms, and what is refused before anything is understood."""

import pytest

from router import limits
from router.importers.document import TemplateRefused, read


def refusal(text: str) -> str:
    with pytest.raises(TemplateRefused) as refused:
        read(text.encode())
    return str(refused.value)


def test_short_forms_become_long_ones() -> None:
    text = "a: !Ref X\nb: !Sub 'x${Y}'\nc: !GetAtt A.B\nd: !Join ['-', [a, !Ref B]]\ne: !If [C, 1, !Ref 'AWS::NoValue']"
    assert read(text.encode()) == {
        "a": {"Ref": "X"},
        "b": {"Fn::Sub": "x${Y}"},
        "c": {"Fn::GetAtt": "A.B"},
        "d": {"Fn::Join": ["-", ["a", {"Ref": "B"}]]},
        "e": {"Fn::If": ["C", 1, {"Ref": "AWS::NoValue"}]},
    }


def test_condition_and_mapping_forms_of_functions_are_read() -> None:
    text = "a: !And [!Condition X, !Not [!Equals [a, b]]]\nb: !Base64\n  Fn::Sub: x"
    assert read(text.encode()) == {
        "a": {"Fn::And": [{"Condition": "X"}, {"Fn::Not": [{"Fn::Equals": ["a", "b"]}]}]},
        "b": {"Fn::Base64": {"Fn::Sub": "x"}},
    }


def test_dates_and_keys_stay_text() -> None:
    assert read(b"Version: 2012-10-17\n111122223333: x") == {"Version": "2012-10-17", "111122223333": "x"}


def test_json_is_read_also_with_tabs_and_a_byte_order_mark() -> None:
    assert read('\ufeff{\t"a": 1.5}'.encode()) == {"a": 1.5}


def test_flow_yaml_that_begins_like_json_is_read() -> None:
    assert read(b"{a: !Ref B}") == {"a": {"Ref": "B"}}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\na: 2", "expected each key once, got 'a' again - at line 2"),
        ('{"a": 1, "a": 2}', "expected each key once, got 'a' again"),
        ("a: !Foo x", "the tag !Foo is no function of templates - at line 1"),
        ("a: !!python/object:os.system x", "the tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: !!set {x}", "the tag tag:yaml.org,2002:set is not supported"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "hash merges (<<) are not supported in templates - at line 3"),
        ("? [a]\n: b", "expected a text as a key, got a list or a mapping"),
        ("a: .nan", "expected a number that JSON has, got .nan"),
        ("a: [", "the template is not YAML: "),
        ('{\t"a": }', "the template is not JSON: "),
        ("- a", "expected a mapping of sections such as Resources, got a list"),
        ("", "expected a mapping of sections such as Resources, got nothing"),
        ("a: &x [*x]", "expected at most 100 values inside each other, got more"),
        ("[" * 200 + "]" * 200, "expected at most 100 values inside each other, got more"),
        ("[" * 5000, "expected at most 100 values inside each other, got more"),
        ('{"a":' + "[" * 200 + "]" * 200 + "}", "expected at most 100 values inside each other, got more"),
    ],
)
def test_what_no_template_may_have_is_refused(text: str, part: str) -> None:
    assert part in refusal(text)


def test_not_utf8_is_refused() -> None:
    with pytest.raises(TemplateRefused, match="not UTF-8"):
        read(b"a: \xff")


def test_aliases_that_multiply_end_at_the_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert refusal("\n".join(lines)) == f"expected at most {limits.TEMPLATE_VALUES_MAX} values in a template, got more"


def test_aliases_within_the_bound_repeat_their_part() -> None:
    assert read(b"a: &x {b: !Ref C}\nd: *x") == {"a": {"b": {"Ref": "C"}}, "d": {"b": {"Ref": "C"}}}


def test_too_large_a_template_is_refused() -> None:
    assert "expected a template of at most 1048576 bytes, got 1048577" in refusal("a" * (1024 * 1024 + 1))
