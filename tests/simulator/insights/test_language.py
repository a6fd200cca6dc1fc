"""What is a query and what is none, and where a refusal says that it is wrong."""

import pytest

from router.simulator.insights.language import COMMANDS_MAX, DEPTH_MAX, parse
from router.simulator.insights.regexes import glob, translate
from router.simulator.insights.sql import FIELDS_MAX
from router.simulator.insights.sql import translate as plan
from router.simulator.insights.syntax import (
    Comparison,
    Dedup,
    Display,
    Field,
    Fields,
    Filter,
    In,
    Like,
    Limit,
    Logic,
    MalformedQuery,
    Not,
    Parse,
    Period,
    Regex,
    Sort,
    Stats,
    Text,
)


def refused(text: str) -> MalformedQuery:
    with pytest.raises(MalformedQuery) as caught:
        plan(text)
    return caught.value


def condition(text: str) -> object:
    (command,) = parse(f"filter {text}")
    assert isinstance(command, Filter)
    return command.condition


def test_commands_are_read_in_order() -> None:
    text = """
        # who made the calls
        fields eventName, userIdentity.arn as who
        | filter errorCode = "AccessDenied" # only refused ones
        | parse @message "user=*," as user
        | stats count(*) as n by who, bin(5m)
        | sort n desc, who
        | display who, n
        | dedup who
        | limit 20
    """
    kinds = [Fields, Filter, Parse, Stats, Sort, Display, Dedup, Limit]
    assert [type(command) for command in parse(text)] == kinds


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("eventName", ("eventName",)),
        (
            "userIdentity.sessionContext.sessionIssuer.userName",
            ("userIdentity", "sessionContext", "sessionIssuer", "userName"),
        ),
        ("responseElements.tagSet.items.0.value", ("responseElements", "tagSet", "items", "0", "value")),
        ("items[0].value", ("items", "0", "value")),
        ("`detail-type`", ("detail-type",)),
        ("detail.`user-id`.x", ("detail", "user-id", "x")),
        ("`a.b-c`", ("a", "b-c")),
        ("@timestamp", ("@timestamp",)),
        ("`limit`", ("limit",)),
        ("sort", ("sort",)),
    ],
)
def test_names_of_fields(text: str, parts: tuple[str, ...]) -> None:
    (command,) = parse(f"fields {text}")
    assert isinstance(command, Fields)
    named = command.columns[0]
    assert isinstance(named.value, Field)
    assert (named.value.parts, named.name) == (parts, ".".join(parts))


@pytest.mark.parametrize("text", [r'"say \"hi\""', r"'say \"hi\"'", """'say "hi"'"""])
def test_texts_in_either_quotes(text: str) -> None:
    compared = condition(f"a = {text}")
    assert isinstance(compared, Comparison)
    assert isinstance(compared.right, Text)
    assert compared.right.value == 'say "hi"'


def test_a_hash_within_quotes_and_patterns_begins_no_comment() -> None:
    both = condition('a = "#1" and b like /#2/')
    assert isinstance(both, Logic)
    assert len(both.values) == 2


def test_and_binds_closer_than_or_and_not_closer_than_and() -> None:
    either = condition("a = 1 or not b = 2 and c = 3")
    assert isinstance(either, Logic)
    assert either.operator == "or"
    both = either.values[1]
    assert isinstance(both, Logic)
    assert [type(part) for part in both.values] == [Not, Comparison]


def test_words_and_functions_in_any_case() -> None:
    assert isinstance(condition("a NOT IN [1] AND IsPresent(b) Or c Not Like 'x'"), Logic)
    assert isinstance(parse("FIELDS a | SORT a DESC")[1], Sort)


@pytest.mark.parametrize(
    ("text", "kind"), [("a like 'x'", Like), ("a =~ /x/", Like), ("a not like /x/", Not), ("a in ['x', -1.5]", In)]
)
def test_matches(text: str, kind: type) -> None:
    assert isinstance(condition(text), kind)


@pytest.mark.parametrize(
    ("text", "ms", "months"),
    [
        ("1ms", 1, 0), ("30s", 30_000, 0), ("5min", 300_000, 0), ("5mins", 300_000, 0), ("2hrs", 7_200_000, 0),
        ("1day", 86_400_000, 0), ("2weeks", 1_209_600_000, 0), ("1mo", 0, 1), ("2qtrs", 0, 6), ("1y", 0, 12),
    ],
)  # fmt: skip
def test_periods(text: str, ms: int, months: int) -> None:
    (command,) = parse(f"stats count(*) by bin({text})")
    assert isinstance(command, Stats)
    period = command.by[0].value.arguments[0]  # type: ignore[union-attr]
    assert isinstance(period, Period)
    assert (period.ms, period.months) == (ms, months)


def test_a_column_without_an_alias_is_called_as_it_is_written() -> None:
    (command,) = parse("fields  abs( a - b ), (a+b)*2, concat(a, '  ')")
    assert isinstance(command, Fields)
    assert [column.name for column in command.columns] == ["abs( a - b )", "(a+b)*2", "concat(a, '  ')"]


# refusals


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("", "the query has no command", (0, 0)),
        ("  # nothing", "the query has no command", (0, 11)),
        ("limt 5", "unexpected symbol found limt at line 1 and position 1: expected one of fields", (0, 4)),
        ("fields a |", "unexpected symbol found end of query at line 1 and position 11", (10, 10)),
        ("fields a\n| filter", "found end of query at line 2 and position 9: expected a field", (17, 17)),
        ("fields a b", "unexpected symbol found b at line 1 and position 10: expected '|'", (9, 10)),
        ("filter a = ", "expected a field, a function, a text or a number", (11, 11)),
        ("filter (a = 1", r"expected '\)'", (13, 13)),
        ("filter a = 'x", "the text has no closing quote", (11, 13)),
        ("filter a like /x", "the regular expression has no closing slash", (14, 16)),
        ("filter a like b", "expected a text in quotes or a regular expression", (14, 15)),
        ("filter a not 1", "expected 'like' or 'in' after 'not'", (13, 14)),
        ("filter a in [b]", "expected a text in quotes or a number", (13, 14)),
        ("filter a in []", "expected a text in quotes or a number", (13, 14)),
        ("filter a ~ 1", "unexpected symbol found ~", (9, 10)),
        ("filter `` = 1", "expected a field's name between backticks", (7, 13)),
        ("filter a. = 1", "expected a field's name after the period", (7, 9)),
        ("filter a = 1e999", "the number 1e999 is too large", (11, 16)),
        ("limit 0", "expected a limit of 1 to 100000, got 0", (6, 7)),
        ("limit 100001", "expected a limit of 1 to 100000, got 100001", (6, 12)),
        ("limit 1.5", "expected a whole number", (6, 9)),
        ("stats count(*) by bin(5x)", "expected a period such as 30s, 5m or 1h, got 5x", (22, 24)),
        ("stats count(*) by bin(0s)", "expected a period of 1ms to 100 years, got 0s", (22, 24)),
        ("stats count(*) by bin(5)", "expected a period such as 30s, 5m or 1h", (22, 23)),
        ("stats bin(5m)", "got bin: it goes after by", (6, 13)),
        ("stats a by b", "expected a function such as count or sum, got a", (6, 7)),
        ("stats sum(count(*))", "count is for stats, and not within another", (10, 18)),
        ("stats sum(*)", r"sum\(\*\) is not possible", (6, 12)),
        ("stats pct(a)", "expected 2 arguments of pct, got 1", (6, 12)),
        ("stats pct(a, 101)", "expected a percentile of 0 to 100", (13, 16)),
        ("stats pct(a, b)", "expected a percentile of 0 to 100", (13, 14)),
        ("filter sum(a) > 1", "sum is for stats", (7, 13)),
        ("fields substr(a)", "expected 2 to 3 arguments of substr, got 1", (7, 16)),
        ("fields concat()", "expected 1 arguments of concat, got 0", (7, 15)),
        ("fields jsonParse(a)", "this hub has not the function jsonparse", (7, 19)),
        ("fields isIpv4InSubnet(a, 'x')", "expected a subnet of IPv4", (25, 28)),
        ("fields 5m", "expected a field, a text or a number", (7, 9)),
        ("pattern @message", "this hub has not the command pattern", (0, 7)),
        ("fields a | unnest b into c", "this hub has not the command unnest", (11, 17)),
        ("dedup a | sort a", "only limit may come after dedup", (10, 16)),
        ("parse @message 'a * b *' as c", "as many names as there are", (15, 29)),
        ("parse @message 'a *'", "expected 'as' and a name", (20, 20)),
        ("parse @message /x/", "expected a named group", (15, 18)),
        ("stats count(*) as n | stats count(*) by bin(5m)", r"bin\(\) needs @timestamp", (40, 47)),
        ("stats count(*) as n | stats latest(n)", "latest needs @timestamp", (28, 37)),
    ],
)  # fmt: skip
def test_refusal_says_what_and_where(text: str, said: str, place: tuple[int, int]) -> None:
    error = refused(text)
    assert (error.start, error.end) == place, (error.message, error.start, error.end)
    with pytest.raises(MalformedQuery, match=said):
        raise error


@pytest.mark.parametrize(
    "text",
    [
        "filter " + "(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1),
        "filter " + "not " * (DEPTH_MAX + 1) + "a",
        "fields " + "-" * 9000 + "1",
        "fields " + "a+" * 4000 + "a",
        "fields " + "a^" * 4000 + "a",
        "fields " + "abs(" * 2000,
        " | ".join(["limit 5"] * (COMMANDS_MAX + 1)),
        "fields " + ", ".join(f"f{number}" for number in range(FIELDS_MAX + 1)),
        "filter " + "concat(" * 25 + "a" + " = b)" * 25,
    ],
)
def test_what_is_too_large_is_refused_at_once(text: str) -> None:
    refused(text)


def test_a_long_list_of_alternatives_is_no_deep_one() -> None:
    plan("filter " + " or ".join(f"a = {number}" for number in range(500)))


# regular expressions


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        (r"a.*b", r"a.*b"),
        (r"(?i)Exception", r"(?i)Exception"),
        (r"^(?i)x$", r"^(?i)x$"),
        (r"(?<name>\w+)", r"(?P<name>\w+)"),
        (r"(?P<name>\w+)", r"(?P<name>\w+)"),
        (r"a\/b", "a/b"),
        (r"[/\]]", r"[/\]]"),
        (r"[[:alpha:]\d]", r"[[:alpha:]\d]"),
        (r"[a[b]", r"[a\[b]"),
        (r"\pL\p{Greek}", r"\pL\p{Greek}"),
        (r"(?s:a.b)(?i-s:c)", r"(?s:a.b)(?i-s:c)"),
        (r"x{1,1000}?", r"x{1,1000}?"),
        (r"a\z", r"a\z"),
    ],
)
def test_pattern_for_re2(source: str, pattern: str) -> None:
    assert translate(source, 0, 1).pattern == pattern


def test_named_groups_are_counted_with_the_others() -> None:
    assert translate(r"(a)(?<b>c)(?:d)(?<e>f)", 0, 1).groups == (("b", 2), ("e", 3))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a(?=b)", r"has \(\?="), ("a(?!b)", r"has \(\?!"), ("(?<=a)b", r"has \(\?<="), ("(?<!a)b", r"has \(\?<!"),
        ("(?>a)", r"has \(\?>"), (r"(a)\1", "back reference"), (r"\k<a>", "has"), ("a++", "possessive"),
        ("a{2,3}+", "possessive"), ("a{1001}", "more than 1000 times"), ("(a", "cannot be read"), ("a)", "cannot be"),
        ("[a", "cannot be read"), ("*a", "cannot be read"), ("(?<a>b)(?<a>c)", "same name"), (r"\QaE", "has"),
        ("(?(1)a|b)", r"has \(\?"), ("a{3,2}", "cannot be read"),
    ],
)  # fmt: skip
def test_what_re2_has_not_is_refused(source: str, said: str) -> None:
    with pytest.raises(MalformedQuery, match=said) as caught:
        translate(source, 3, 9)
    assert (caught.value.start, caught.value.end) == (3, 9)


def test_globs_are_short_but_for_one_at_the_end() -> None:
    assert glob("[*] * the: *", 0, 1) == Regex(pattern=r"(?s)\[(.*?)\]\ (.*?)\ the:\ (.*)", start=0, end=1)
