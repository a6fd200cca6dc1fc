"""Patterns: what each operator means, what is refused, and in which words."""

import json

import pytest

from router.core.pattern import COMBINATIONS_MAX, InvalidPattern, parse
from router.core.ruletable import matches

VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"


def holds(tests: str, value: str) -> bool:
    return matches(parse(f'{{"a": [{tests}]}}'), f'{{"a": {value}}}')


def reason(text: str) -> str:
    with pytest.raises(InvalidPattern) as refusal:
        parse(text)
    return str(refusal.value).removeprefix("Event pattern is not valid. Reason: ")


@pytest.mark.parametrize(
    ("tests", "matching", "failing"),
    [
        ('"x"', ['"x"', '["y", "x"]', '[["x"]]'], ['"X"', '"x "', "1", "null", "[]", '{"x": "x"}']),
        ('"x", "y"', ['"x"', '"y"'], ['"xy"']),
        ("true", ["true"], ['"true"', "1", "false", "null"]),
        ("null", ["null", "[null]"], ['"null"', "[]", "false", "0"]),
        ("300", ["300", "300.0", "3.0e2", "3E+2"], ['"300"', "300.5", "true"]),
        ("1", ["1", "1.0"], ["true", '"1"']),
        ("0", ["0", "-0", "-0.0", "0e5"], ["false", "null"]),
        ("12345678901234567890", ["12345678901234567890"], ["12345678901234567891", "12345678901234567890.0"]),
        ("1e400", ["1e400"], ["1e401", "1E400"]),
        ('"10.0.0.1"', ['"10.0.0.1"', '"010.0.0.1"', '"::ffff:a00:1"'], ['"10.0.0.2"', '"10.0.0.1 "']),
        ('{"exactly": "10.0.0.1"}', ['"10.0.0.1"'], ['"010.0.0.1"']),
        ('{"prefix": "ab"}', ['"ab"', '"abc"'], ['"a"', '"Abc"', '"xab"', "1"]),
        ('{"prefix": ""}', ['""', '"x"'], ["1", "null", "[]"]),
        ('{"suffix": "bc"}', ['"bc"', '"abc"'], ['"b"', '"bcd"']),
        ('{"suffix": ""}', ['""', '"x"'], ["true"]),
        ('{"prefix": {"equals-ignore-case": "aB"}}', ['"Ab"', '"ABc"'], ['"a"', '"xab"']),
        ('{"suffix": {"equals-ignore-case": "aB"}}', ['"xAb"', '"AB"'], ['"abx"']),
        ('{"equals-ignore-case": "aB"}', ['"ab"', '"AB"'], ['"abc"', '"a"', "1"]),
        ('{"equals-ignore-case": ""}', ['""'], ['"x"']),
        ('{"equals-ignore-case": "k"}', ['"K"'], ['"\\u212a"']),
        ('{"equals-ignore-case": "\\u212a"}', ['"k"', '"\\u212a"'], ['"K"']),
        ('{"equals-ignore-case": "ß"}', ['"ß"', '"SS"'], ['"ss"', '"ẞ"']),
        ('{"equals-ignore-case": "ÉT"}', ['"ét"'], ['"et"']),
        ('{"wildcard": "a*c"}', ['"ac"', '"abc"', '"a*c"', '"a\\nc"'], ['"acd"', '"a"', "1"]),
        ('{"wildcard": "*"}', ['""', '"x"'], ["1", "null"]),
        ('{"wildcard": "*a*"}', ['"a"', '"xay"'], ['"x"']),
        ('{"wildcard": "a\\\\*c"}', ['"a*c"'], ['"abc"']),
        ('{"wildcard": "a?c"}', ['"a?c"'], ['"abc"']),
        ('{"wildcard": ""}', ['""'], ['"x"']),
        ('{"wildcard": "ab*ba"}', ['"abba"', '"abxba"'], ['"aba"']),
        ('{"numeric": ["=", 3]}', ["3", "3.0"], ['"3"', "4"]),
        ('{"numeric": [">", 0, "<=", 5]}', ["5", "0.1"], ["0", "5.1", '"3"', "null", "1e400"]),
        ('{"numeric": ["<", 1]}', ["0.9", "-1e300"], ["1", "1.00000000000000000001"]),
        ('{"numeric": [">=", 1]}', ["1", "9"], ["0"]),
        ('{"cidr": "10.0.0.5/24"}', ['"10.0.0.1"', '"10.0.0.255"'], ['"10.0.1.0"', '"x"', "167772161"]),
        ('{"cidr": "2001:db8::/32"}', ['"2001:DB8:0::1"'], ['"2001:db9::1"', '"10.0.0.1"']),
        ('{"exists": true}', ["null", '""', "[0]"], ["[]", "{}", '{"b": 1}', "[[]]"]),
        ('{"exists": false}', ["[]", "{}", '{"b": 1}', "[[]]"], ["null", '""', "[0]"]),
        ('{"anything-but": "x"}', ['"y"', "12", "null", '["x", "y"]'], ['"x"', "[]", '["x"]']),
        ('{"anything-but": 3}', ["4", '"3"', "null"], ["3", "3.0"]),
        ('{"anything-but": ["x", "y"]}', ['"z"'], ['"x"', '["x", "y"]']),
        ('{"anything-but": [3, 4]}', ["5", "[3, 5]"], ["3", "[3, 4]"]),
        ('{"anything-but": {"prefix": "ab"}}', ['"b"', "12"], ['"abc"']),
        ('{"anything-but": {"prefix": ["ab", "c"]}}', ['"b"'], ['"abc"', '"c"']),
        ('{"anything-but": {"suffix": "bc"}}', ['"b"', "null"], ['"abc"']),
        ('{"anything-but": {"equals-ignore-case": ["X", "y"]}}', ['"z"', "1"], ['"x"', '"Y"']),
        ('{"anything-but": {"wildcard": "a*c"}}', ['"ab"', "1"], ['"abc"']),
        ('{"anything-but": "x"}, {"anything-but": "y"}', ['"x"', '"z"'], ["[]"]),
        ('{"anything-but": "x"}, {"exists": false}', ['"y"', "[]"], ['"x"']),
        ('"\\ud800"', ['"\\ud800"'], ['"\\ud801"', '"?"']),
    ],
)
def test_operator_matches_these_values_and_no_others(tests: str, matching: list[str], failing: list[str]) -> None:
    assert [value for value in matching if not holds(tests, value)] == []
    assert [value for value in failing if holds(tests, value)] == []


@pytest.mark.parametrize("tests", ['"x"', '{"anything-but": "y"}', '{"exists": true}', '{"prefix": ""}', "null"])
def test_a_missing_field_matches_only_exists_false(tests: str) -> None:
    assert not matches(parse(f'{{"a": [{tests}]}}'), '{"b": "x"}')
    assert matches(parse('{"a": [{"exists": false}]}'), '{"b": "x"}')
    assert matches(parse('{"a": {"b": {"c": [{"exists": false}]}}}'), '{"a": "x"}')


def test_a_nested_and_a_dotted_spelling_are_the_same_field() -> None:
    events = ['{"a": {"b": {"c": 1}}}', '{"a.b": {"c": 1}}', '{"a": {"b.c": 1}}', '{"a.b.c": 1}', '{"a\\u002eb.c": 1}']
    patterns = ['{"a": {"b": {"c": [1]}}}', '{"a.b": {"c": [1]}}', '{"a.b.c": [1]}']
    assert [(p, e) for p in patterns for e in events if not matches(parse(p), e)] == []


def test_fields_of_different_elements_of_one_array_do_not_match_together() -> None:
    people = '{"p": [{"first": "Anna", "last": "Smith"}, {"first": "Tom", "last": "Jones"}]}'
    assert matches(parse('{"p": {"first": ["Anna"], "last": ["Smith"]}}'), people)
    assert not matches(parse('{"p": {"first": ["Anna"], "last": ["Jones"]}}'), people)


def test_consistency_holds_in_arrays_inside_arrays() -> None:
    event = '{"a": [{"n": 1, "b": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}, {"n": 2, "b": [{"x": 5, "y": 6}]}]}'
    assert matches(parse('{"a": {"n": [1], "b": {"x": [3], "y": [4]}}}'), event)
    assert not matches(parse('{"a": {"b": {"x": [1], "y": [4]}}}'), event)
    assert not matches(parse('{"a": {"n": [2], "b": {"x": [3]}}}'), event)


def test_a_field_may_be_absent_from_the_array_element_that_others_are_bound_to() -> None:
    assert matches(parse('{"a": {"b": ["1"], "c": [{"exists": false}]}}'), '{"a": [{"b": "1"}, {"c": "2"}]}')
    assert not matches(parse('{"a": {"b": ["1"], "c": [{"exists": false}]}}'), '{"a": [{"b": "1", "c": "2"}]}')


def test_the_last_of_duplicate_keys_counts_in_patterns_and_events() -> None:
    assert not matches(parse('{"a": ["x"], "a": ["y"]}'), '{"a": "x"}')
    assert matches(parse('{"a": ["x"], "a": ["y"]}'), '{"a": "y"}')
    assert matches(parse('{"a": ["y"]}'), '{"a": "x", "a": "y"}')
    assert not matches(parse('{"a": ["x"]}'), '{"a": "x", "a": "y"}')


def test_or_matches_when_one_branch_does_together_with_the_fields_outside() -> None:
    pattern = parse('{"s": [1], "$or": [{"a": [1]}, {"b": [1], "c": [1]}]}')
    assert matches(pattern, '{"s": 1, "a": 1}')
    assert matches(pattern, '{"s": 1, "b": 1, "c": 1}')
    assert not matches(pattern, '{"s": 1, "b": 1}')
    assert not matches(pattern, '{"a": 1}')


def test_a_branch_of_or_overrides_the_same_field_before_it() -> None:
    pattern = parse('{"a": [1], "$or": [{"a": [2]}, {"b": [3]}]}')
    assert matches(pattern, '{"a": 2}')
    assert matches(pattern, '{"a": 1, "b": 3}')
    assert not matches(pattern, '{"a": 1}')


def test_combinations_multiply_over_all_or_lists() -> None:
    branches = [{"x": [n]} for n in range(10)]
    nested = {"$or": [{"y": [1]}, {"z": [1]}]}
    assert parse(json.dumps({"a": {"$or": branches}, "b": {"$or": branches}})).combinations == 100
    assert parse(json.dumps({"$or": [*branches, nested]})).combinations == 22


def test_a_thousand_combinations_are_taken_and_one_more_is_refused() -> None:
    ten = [{"x": [n]} for n in range(10)]
    taken = parse(json.dumps({"a": {"$or": ten}, "b": {"$or": ten}, "c": {"$or": ten}}))
    assert len(taken.branches) == COMBINATIONS_MAX
    assert "1100 combinations" in reason(
        json.dumps({"a": {"$or": ten}, "b": {"$or": ten}, "c": {"$or": [*ten, {"y": [1]}]}})
    )


def test_a_pattern_that_would_explode_is_refused_at_once() -> None:
    pairs = {f"k{n}": {"$or": [{"x": [1]}, {"y": [1]}]} for n in range(90)}
    assert f"{2**90} combinations" in reason(json.dumps(pairs))


def test_wildcards_with_more_than_ten_live_prefixes_are_refused() -> None:
    assert reason('{"a": [{"wildcard": "*:*:*:*:*:event-bus/*"}]}').startswith("Rule is too complex - try using fewer")
    parse('{"a": [{"wildcard": "*:*:*:*:event-bus/*"}]}')
    parse('{"a": [{"wildcard": "/Users/*/dir/dir/dir/dir/dir/doc.txt"}]}')


def test_a_pattern_knows_whether_it_has_wildcards() -> None:
    assert parse('{"a": [{"wildcard": "x*"}]}').wildcards
    assert parse('{"a": [{"anything-but": {"wildcard": "x*"}}]}').wildcards
    assert not parse('{"a": [{"prefix": "x*"}]}').wildcards


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": []}', "Empty arrays are not allowed\n at [Source: (String)\"{\"a\": []}\"; line: 1, column: 9]"),
        ('{"a": {}}', 'Empty objects are not allowed\n at [Source: (String)"{"a": {}}"; line: 1, column: 9]'),
        ('{"a":\n  1}', '"a" must be an object or an array\n at [Source: (String)"{"a":\n  1}"; line: 2, column: 4]'),
        ('{"🚀": 1}', '"🚀" must be an object or an array\n at [Source: (String)"{"🚀": 1}"; line: 1, column: 9]'),
        ('{"a": [{"cidr": "10.0.0.0/32"}]}', "IPv4 mask bits must be < 32"),
        ('{"a": [{"cidr": "10.0.0.0/"}]}', "Malformed CIDR, one '/' required"),
        ('{"a": [{"anything-but": 1e400}]}', "Cannot compare number : 1e400"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_and_where(text: str, expected: str) -> None:
    assert reason(text) == expected


def test_a_long_pattern_is_quoted_up_to_500_units() -> None:
    text = '{"a": ["' + "x" * 600 + '"], "b": 1}'
    assert reason(text).endswith(
        f'(String)"{text[:500]}"[truncated {len(text) - 500} chars]; line: 1, column: {len(text)}]'
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "{'a': 1}", '{"a": [01]}', '{"a": [NaN]}', '{"a": ["x]}', '{"a": [1.]}', '{"a": ["\\x"]}', '{"a" ["x"]}',
     '{"a": ["\t"]}', '{"a": ["\\u12"]}', '{"a": [tru]}', '{"a": [-]}', '{"a": [1 2]}', '{"a": ["x"}', '{"a": ["x"],}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    assert "line: 1" in reason(text)


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("[1]", "Match value must be String, number, true, false, or null"),
        ("{}", "Match expression name not found"),
        ('{"numeric": 1}', "Value of numeric must be an array."),
        ('{"numeric": [">", 1, 2]}', "Bad value in numeric range: 2"),
        ('{"numeric": [{}]}', "Invalid member in numeric match: {"),
        ('{"anything-but": {}}', "Anything-But expression name not found"),
        ('{"anything-but": {"prefix": []}}', "Empty arrays are not allowed"),
        ('{"anything-but": {"equals-ignore-case": []}}', "Empty arrays are not allowed"),
        ('{"prefix": {}}', "Prefix expression name not found"),
        ('{"cidr": "10.0.0.0/-1"}', "Malformed CIDR, mask bits must not be negative"),
        ('{"cidr": "10.0.0.0/+-1"}', "Malformed CIDR, mask bits must be an integer"),
        ('{"cidr": "1::2::3/64"}', "Invalid IP address: 1::2::3"),
    ],
)
def test_operands_of_the_wrong_kind_are_refused(tests: str, expected: str) -> None:
    assert reason(f'{{"a": [{tests}]}}').partition("\n")[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a"', "Unexpected end-of-input within/between Object entries"),
        ('{"a": ["x",', "Unexpected end-of-input within/between Array entries"),
        ('{"a', "Unexpected end-of-input in field name"),
        ('{"a": ["\\', "Unexpected end-of-input in character escape sequence"),
        ('{"a": ["\\u00', "Unexpected end-of-input in character escape sequence"),
        ('{"a": }', "Unexpected character ('}' (code 125)): expected a value"),
        ('{"a": [+1]}', f"Unexpected character ('+' (code 43)): expected a valid value {VALUES}"),
        ('{"a": [é]}', f"Unrecognized token 'é': was expecting {VALUES}"),
        ('{"a": [€]}', f"Unexpected character ('€' (code 8364 / 0x20ac)): expected a valid value {VALUES}"),
        ('{"a": [🚀]}', f"Unexpected character ('\ud83d' (code 55357 / 0xd83d)): expected a valid value {VALUES}"),
        ('{"a": [nul]}', f"Unrecognized token 'nul': was expecting {VALUES}"),
        ('{"a": [nullx]}', f"Unrecognized token 'nullx': was expecting {VALUES}"),
        ("x" * 300, f"Unrecognized token '{'x' * 256}...': was expecting {VALUES}"),
        ("]", "Unexpected close marker ']': expected '}' "
              "(for root starting at [Source: (String)\"]\"; line: 1, column: 0])"),
        ('{"a": [1.x]}',
         "Unexpected character ('x' (code 120)) in numeric value: Decimal point not followed by a digit"),
        ("1x", "Unexpected character ('x' (code 120)): Expected space separating root-level values"),
        ("-", "Unexpected end-of-input: expected a digit to follow minus sign, for valid numeric value"),
        ("1.", "Unexpected end-of-input in a Number value"),
    ],
)  # fmt: skip
def test_a_syntax_error_is_told_in_the_reader_s_words(text: str, expected: str) -> None:
    assert reason(text).partition("\n")[0] == expected


def test_control_characters_are_escaped_where_a_pattern_is_quoted() -> None:
    assert '(String)"{\\u0001}"' in reason("{\x01}")


def test_the_deepest_pattern_of_4096_characters_is_taken() -> None:
    depth = 680
    text = '{"a":' * depth + "[1]" + "}" * depth
    assert len(text) <= 4096
    assert matches(parse(text), '{"a":' * depth + "1" + "}" * depth)
    assert not matches(parse(text), '{"a":' * depth + "2" + "}" * depth)
