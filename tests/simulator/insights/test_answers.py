"""What queries answer, worked out by hand: every command, operator and function."""

import math
from typing import Any

import pytest

from router.simulator.insights.wire import Broken, Done
from tests.simulator.insights.asking import LOG, START_MS, ask, rows, value

CALLS: list[object] = [
    {"name": "Get", "who": {"arn": "eve"}, "ms": 10, "ok": True, "tags": {"items": [{"k": "team", "v": "a"}]}},
    {"name": "Get", "who": {"arn": "bob"}, "ms": 2.5, "ok": False},
    {"name": "Put", "who": {"arn": "eve"}, "ms": 30, "ok": True, "error": "AccessDenied"},
    {"name": "Get", "who": {"arn": "eve"}, "ms": "20", "detail-type": "x", "a.b": {"c.d": 1}},
    "user=me, method:GET, latency := 7 end",
    '{"name": "cut off',
]


def names(text: str) -> list[str | None]:
    return [row.get("name") for row in rows(text, CALLS)]


def test_without_a_field_the_time_and_text_are_shown_newest_first() -> None:
    found, end = ask("filter name = 'Put' or @message like 'user'", CALLS)
    assert [list(row) for row in found] == [["@timestamp", "@message", "@ptr"]] * 2
    assert found[0]["@timestamp"] == "2023-11-14 22:13:24.000"
    assert found[0]["@message"] == CALLS[4]
    assert isinstance(end, Done)
    assert (end.matched, end.scanned) == (2, 6)


def test_every_event_has_its_own_pointer() -> None:
    found, _ = ask("fields name", CALLS)
    assert len({row["@ptr"] for row in found}) == len(CALLS)


def test_what_the_hub_knows_of_an_event() -> None:
    (row,) = rows("fields @log, @logStream, @timestamp, @ingestionTime, @other | filter name = 'Put'", CALLS)
    assert row == {
        "@log": LOG,
        "@logStream": "one",
        "@timestamp": "2023-11-14 22:13:22.000",
        "@ingestionTime": "2023-11-14 22:14:20.000",
    }


def test_fields_of_json_by_path_and_missing_ones_absent() -> None:
    text = "fields name, who.arn, tags.items.0.v, tags.items[0].k, ok, who, nothing, `detail-type` | sort ms"
    assert rows(text, CALLS[:4]) == [
        {"name": "Get", "who.arn": "bob", "ok": "0"},
        {"name": "Get", "who.arn": "eve", "tags.items.0.v": "a", "tags.items.0.k": "team", "ok": "1"},
        {"name": "Get", "who.arn": "eve", "detail-type": "x"},
        {"name": "Put", "who.arn": "eve", "ok": "1"},
    ]


def test_names_with_periods_are_found() -> None:
    assert rows("fields a.b.c.d | filter ispresent(a.b.c.d)", CALLS) == [{"a.b.c.d": "1"}]


def test_a_name_that_begins_with_at_is_doubled() -> None:
    assert rows("fields @@version, @version", [{"@version": 3}]) == [{"@@version": "3"}]


def test_plain_text_and_broken_json_have_no_fields() -> None:
    assert names("filter not ispresent(name) | fields name") == [None, None]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("ms = 10", [0]), ("ms = '10'", [0]), ("ms = '1e1'", [0]), ("ms = 20", [3]), ("ms > 9", [0, 2, 3]),
        ("ms >= 10 and ms < 30", [0, 3]), ("ms <= 2.5", [1]), ("ms != 10", [1, 2, 3, 4, 5]),
        ("name = 'Get'", [0, 1, 3]),
        ("name != 'Get'", [2, 4, 5]), ("name > 'Get'", [2]), ("name = who.arn", []), ("who.arn < name", []),
        ("name like 'e'", [0, 1, 3]), ("name like /^(?i)p/", [2]), ("name =~ /u/", [2]),
        ("name not like 'e'", [2, 4, 5]),
        ("name in ['Put', 'Del']", [2]), ("ms in [10, '2.5']", [0, 1]), ("ms not in [10, 2.5]", [2, 3, 4, 5]),
        ("ok", [0, 2]), ("ok = 1", [0, 2]), ("ok = true", [0, 2]), ("ok = false", [1]), ("not ok", [1, 3, 4, 5]),
        ("ispresent(error)", [2]), ("error = 'AccessDenied' or ms = 10", [0, 2]), ("ms + 1 = 11", [0]),
        ("ms * 2 > 39 and (name = 'Get' or ok)", [2, 3]), ("strcontains(name, 'u')", [2]), ("name", []),
        ("ms", [0, 1, 2, 3]),
        (f"@timestamp = {START_MS}", [0]), (f"@timestamp > {START_MS + 4000}", [5]),
        ("@timestamp < '2023-11-14 22:13:21.000'", [0]), ("@timestamp = '2023-11-14 22:13:21.000'", [1]),
        ("(ms = 10) = 1", [0]), ("1 = 1", [0, 1, 2, 3, 4, 5]), ("'b' > 'a'", [0, 1, 2, 3, 4, 5]),
        ("isempty(error)", [0, 1, 3, 4, 5]),
    ],
)  # fmt: skip
def test_filter(condition: str, wanted: list[int]) -> None:
    found = rows(f"filter {condition} | fields toMillis(@timestamp) as t | sort t", CALLS)
    assert [(int(row["t"]) - START_MS) // 1000 for row in found] == wanted


def test_identifiers_of_many_digits_are_compared_as_text() -> None:
    events = [{"id": "12345678901234567890"}, {"id": "12345678901234567891"}]
    assert rows("filter id = '12345678901234567890' | fields id", events) == [{"id": "12345678901234567890"}]


EVENT: dict[str, Any] = {
    "n": -2.5, "s": "  xyZfooxyZ ", "t": "xyZfooxyZ", "u": "äé😀", "ip": "10.1.2.3", "v6": "fe80::1", "empty": "",
    "blank": " \t", "q": "4", "big": 1e300, "whole": 7.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("abs(n)", "2.5"), ("ceil(n)", "-2"), ("floor(n)", "-3"), ("greatest(n, 3, q)", "4"),
        ("least(n, 3, q)", "-2.5"),
        ("log(1)", "0"), ("log(q)", "1.3863"), ("log(0)", None), ("sqrt(q)", "2"), ("sqrt(n)", None),
        ("1 + 2 * 3", "7"), ("(1 + 2) * 3", "9"), ("2 ^ 3", "8"), ("2 ^ 3 ^ 2", "512"), ("-2 ^ 2", "4"),
        ("10 % 3", "1"),
        ("7 / 2", "3.5"), ("1 / 0", None), ("1 % 0", None), ("7 - 2 - 1", "4"), ("n + s", None), ("big * big", None),
        ("1 / 3", "0.3333"), ("2 / 3", "0.6667"), ("0 - 0.00001", "0"), ("whole", "7.0"), ("whole + 0", "7"),
        ("q + 1", "5"),
        ("1000000 * 1000000", "1000000000000"), ("true", "1"), ("n < 0", "1"), ("n > 0", "0"),
        ("strlen(u)", "3"), ("toupper(t)", "XYZFOOXYZ"), ("tolower(t)", "xyzfooxyz"), ("trim(s)", "xyZfooxyZ"),
        ("ltrim(s)", "xyZfooxyZ "), ("rtrim(s)", "  xyZfooxyZ"), ("ltrim(t, 'xyZ')", "fooxyZ"),
        ("rtrim(t, 'xyZ')", "xyZfoo"),
        ("trim(t, 'xyZ')", "foo"), ("substr(t, 3)", "fooxyZ"), ("substr(t, 3, 3)", "foo"), ("substr(t, 0, 1)", "x"),
        ("substr(t, 99)", ""), ("replace(t, 'xyZ', '-')", "-foo-"), ("concat(t, '-', q, 1)", "xyZfooxyZ-41"),
        ("strcontains(t, 'foo')", "1"), ("strcontains(t, 'bar')", "0"), ("strcontains(missing, 'x')", "0"),
        ("isempty(empty)", "1"), ("isempty(missing)", "1"), ("isempty(blank)", "0"), ("isblank(blank)", "1"),
        ("isblank(missing)", "1"), ("isblank(t)", "0"), ("ispresent(t)", "1"), ("ispresent(missing)", "0"),
        ("ispresent(empty)", "1"), ("coalesce(missing, empty, t)", ""), ("coalesce(missing, 1)", "1"),
        ("coalesce(missing, gone)", None), ("isValidIp(ip)", "1"), ("isValidIp(v6)", "1"), ("isValidIp(t)", "0"),
        ("isValidIpv4(ip)", "1"), ("isValidIpv4('256.1.1.1')", "0"), ("isValidIpv4('1.2.3')", "0"),
        ("isValidIpv4(v6)", "0"),
        ("isValidIpv6(v6)", "1"), ("isValidIpv6('1:2:3:4:5:6:7:8')", "1"), ("isValidIpv6('::')", "1"),
        ("isValidIpv6('1::8')", "1"),
        ("isValidIpv6('1:2:3:4:5:6:7:8:9')", "0"), ("isValidIpv6('1::2::3')", "0"), ("isValidIpv6('12345::')", "0"),
        ("isIpv4InSubnet(ip, '10.0.0.0/8')", "1"), ("isIpv4InSubnet(ip, '10.1.2.0/30')", "1"),
        ("isIpv4InSubnet(ip, '10.1.2.4/30')", "0"), ("isIpv4InSubnet(v6, '10.0.0.0/8')", "0"),
        ("isIpv4InSubnet(gone, '0.0.0.0/0')", "0"),
        ("bin(1m)", "2023-11-14 22:13:00.000"), ("bin(1h)", "2023-11-14 22:00:00.000"),
        ("bin(1d)", "2023-11-14 00:00:00.000"),
        ("bin(1w)", "2023-11-13 00:00:00.000"), ("bin(1mo)", "2023-11-01 00:00:00.000"),
        ("bin(1q)", "2023-10-01 00:00:00.000"),
        ("bin(1y)", "2023-01-01 00:00:00.000"), ("datefloor(@timestamp, 7s)", "2023-11-14 22:13:14.000"),
        ("dateceil(@timestamp, 1h)", "2023-11-14 23:00:00.000"),
        ("dateceil(@timestamp, 1mo)", "2023-12-01 00:00:00.000"),
        ("dateceil(fromMillis(0), 1h)", "1970-01-01 00:00:00.000"),
        ("datefloor(fromMillis(-1), 1h)", "1969-12-31 23:00:00.000"),
        ("fromMillis(1700000000123)", "2023-11-14 22:13:20.123"), ("toMillis(@timestamp)", "1700000000000"),
        ("fromMillis('x')", None), ("fromMillis(big)", None), ("datefloor(big, 1mo)", None),
        ("toMillis(fromMillis(5)) + 1", "6"),
        ("concat(@timestamp, '')", "2023-11-14 22:13:20.000"),
    ],
)  # fmt: skip
def test_function(expression: str, wanted: str | None) -> None:
    assert value(expression, EVENT) == wanted


# stats


def test_stats_by_field() -> None:
    assert rows("stats count(*) as calls, sum(ms), avg(ms) by who.arn, name | sort calls desc", CALLS) == [
        {"calls": "2"},
        {"who.arn": "eve", "name": "Get", "calls": "2", "sum(ms)": "30", "avg(ms)": "15"},
        {"who.arn": "bob", "name": "Get", "calls": "1", "sum(ms)": "2.5", "avg(ms)": "2.5"},
        {"who.arn": "eve", "name": "Put", "calls": "1", "sum(ms)": "30", "avg(ms)": "30"},
    ]


def test_aggregates_of_all_events() -> None:
    text = (
        "stats count(), count(ms), count_distinct(name), min(ms), max(ms), min(name), max(name), median(ms), "
        "pct(ms, 50), pct(ms, 100), stddev(ms), sum(ok), earliest(name), latest(name), sortsFirst(name), "
        "sortsLast(name), max(ms) - min(ms) as span, min(@timestamp), sum(ms > 9)"
    )
    mean = (10 + 2.5 + 30 + 20) / 4
    deviation = math.sqrt(sum((number - mean) ** 2 for number in (10, 2.5, 30, 20)) / 3)
    assert rows(text, CALLS) == [
        {
            "count()": "6", "count(ms)": "4", "count_distinct(name)": "2", "min(ms)": "2.5", "max(ms)": "30",
            "min(name)": "Get", "max(name)": "Put", "median(ms)": "15", "pct(ms, 50)": "10", "pct(ms, 100)": "30",
            "stddev(ms)": f"{deviation:.4f}", "sum(ok)": "2", "earliest(name)": "Get", "latest(name)": "Get",
            "sortsFirst(name)": "Get", "sortsLast(name)": "Put", "span": "27.5",
            "min(@timestamp)": "2023-11-14 22:13:20.000", "sum(ms > 9)": "3",
        }
    ]  # fmt: skip


def test_stats_of_nothing() -> None:
    assert rows("filter name = 'none' | stats count(*), sum(ms), max(name)", CALLS) == [{"count(*)": "0"}]
    assert rows("filter name = 'none' | stats count(*) by name", CALLS) == []


def test_stats_by_time_are_in_order_of_time() -> None:
    assert rows("stats count(*) by bin(4s)", CALLS) == [
        {"bin(4s)": "2023-11-14 22:13:20.000", "count(*)": "4"},
        {"bin(4s)": "2023-11-14 22:13:24.000", "count(*)": "2"},
    ]


def test_after_stats_only_its_own_columns_are_there() -> None:
    text = "stats count(*) as n by name | fields n * 2 as twice, ms | filter n > 1 and not ispresent(ms)"
    assert rows(text, CALLS) == [{"n": "2", "twice": "4"}, {"name": "Get", "n": "3", "twice": "6"}]


def test_stats_of_stats() -> None:
    assert rows("stats count(*) as n by name | stats max(n) as most, count(*) as kinds", CALLS) == [
        {"most": "3", "kinds": "3"}
    ]


def test_a_column_is_found_again_by_how_it_is_written() -> None:
    text = "stats count(*) by name | sort count( * ) desc | limit 1 | filter COUNT(*) = 3"
    assert rows(text, CALLS) == [{"name": "Get", "count(*)": "3"}]


def test_stats_have_no_pointer() -> None:
    found, end = ask("filter ispresent(ms) | stats count(*)", CALLS)
    assert found == [{"count(*)": "4"}]
    assert isinstance(end, Done)
    assert end.matched == 4


# sort, limit, dedup, display, parse


def test_sort_is_natural_with_numbers_last_as_in_the_user_guide() -> None:
    ascending = [
        "!:",
        "#",
        "*%04",
        "0#",
        "5A",
        "111A",
        "2345_",
        "@",
        "@_",
        "A",
        "A9876fghj",
        "a12345hfh",
        "0",
        "01",
        "1",
        "2",
        "3",
    ]
    events = [{"v": text} for text in sorted(ascending, reverse=True)]
    assert [row["v"] for row in rows("fields v | sort v asc", events)] == ascending
    assert [row["v"] for row in rows("fields v | sort v desc", events)] == ascending[::-1]


def test_sort_by_several_keys_with_missing_ones_first() -> None:
    found = rows("fields name, ms | sort name desc, ms asc", CALLS)
    assert found == [
        {"name": "Put", "ms": "30"},
        {"name": "Get", "ms": "2.5"},
        {"name": "Get", "ms": "10"},
        {"name": "Get", "ms": "20"},
        {},
        {},
    ]
    assert rows("fields name | sort name", CALLS)[:2] == [{}, {}]


def test_limit_takes_the_first_in_order() -> None:
    assert names("fields name | sort ms desc | limit 1") == ["Put"]
    assert len(rows("fields name | limit 2", CALLS)) == 2
    assert names("limit 4 | filter name = 'Get' | fields name") == ["Get"]
    assert len(rows("limit any 3", CALLS)) == 3


def test_requests_own_limit() -> None:
    assert len(rows("fields name", CALLS, limit=2)) == 2
    assert len(rows("fields name | limit 4", CALLS, limit=2)) == 2
    assert len(rows("fields name | limit 1", CALLS, limit=2)) == 1


def test_dedup_keeps_the_first_and_all_without_a_value() -> None:
    assert names("fields name, ms | sort ms | dedup name") == [None, None, "Get", "Put"]
    assert [row.get("ms") for row in rows("fields ms | dedup name | limit 2", CALLS)] == [None, None]
    assert [row.get("ms") for row in rows("fields ms | filter ms > 0 | dedup name, who.arn", CALLS)] == [
        "20",
        "30",
        "2.5",
    ]


def test_display_is_the_last_word() -> None:
    assert rows("fields ms, name | display ms | display name, who.arn | filter ms = 30", CALLS) == [
        {"name": "Put", "who.arn": "eve"}
    ]


def test_fields_add_up_and_their_aliases_can_be_used() -> None:
    text = "fields ms * 2 as twice | fields twice + 1 as more, name | filter more = 21 | sort twice"
    assert rows(text, CALLS) == [{"twice": "20", "more": "21", "name": "Get"}]


def test_parse_by_glob() -> None:
    text = 'parse @message "user=*, method:*, latency := * end" as @user, @method, latency | filter latency > 5'
    assert rows(text + " | display @user, @method, latency", CALLS) == [
        {"@user": "me", "@method": "GET", "latency": "7"}
    ]


def test_parse_by_pattern() -> None:
    text = r"parse @message /user=(?<user>\w+), (method):(?<method>[A-Z]+)/ | filter ispresent(user)"
    assert rows(text, CALLS) == [
        {"@timestamp": "2023-11-14 22:13:24.000", "@message": str(CALLS[4]), "user": "me", "method": "GET"}
    ]


def test_parse_of_another_field_and_of_the_text_without_naming_it() -> None:
    assert rows("parse who.arn 'e*' as rest | stats count(*) by rest | sort rest desc", CALLS)[0] == {
        "rest": "ve",
        "count(*)": "3",
    }
    assert rows("parse 'latency := * ' as l | filter l = 7 | display l", CALLS) == [{"l": "7"}]


# bounds and trust


def test_only_events_in_the_range_of_time_are_looked_at() -> None:
    found, end = ask("fields name", CALLS, from_ms=START_MS + 1000, to_ms=START_MS + 2000)
    assert [row["name"] for row in found] == ["Put", "Get"]
    assert isinstance(end, Done)
    assert end.scanned == 2


def test_too_many_bytes_end_the_query_with_the_reason() -> None:
    _, end = ask("fields name", CALLS, bytes_max=50)
    assert isinstance(end, Broken)
    assert "hold more than 50 bytes" in end.reason


def test_too_large_results_end_the_query_with_the_reason() -> None:
    _, end = ask("fields name", CALLS, result_bytes_max=50)
    assert isinstance(end, Broken)
    assert "larger than 50 bytes" in end.reason


def test_too_much_memory_ends_the_query_with_the_reason() -> None:
    events = [{"v": "x" * 50_000 + str(number)} for number in range(200)]
    _, end = ask("fields v | sort v", events, memory_bytes_max=4 << 20)
    assert isinstance(end, Broken)
    assert "memory" in end.reason


def test_a_pattern_that_is_too_large_ends_the_query_with_the_reason() -> None:
    _, end = ask("filter @message like /((a{1000}){1000}){1000}/", CALLS)
    assert isinstance(end, Broken)
    assert "repetition" in end.reason


ATTACKS = [
    "'; DROP TABLE events; --", "' OR '1'='1", "x'); SELECT * FROM read_text('/etc/passwd'); --", "$p1", "{0}", "%s",
    "a\"b", "a\\'b", "\x00", "c1", "*/", "/*",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_texts_and_names_are_never_sql(attack: str) -> None:
    quoted = attack.replace("\\", "\\\\").replace('"', '\\"')
    events = [{"v": attack, attack: "found"}, {"v": "other"}]
    assert rows(f'filter v = "{quoted}" | fields strlen(v) as n', events) == [{"n": str(len(attack))}]
    assert rows(f'filter v like "{quoted}" | fields concat("{quoted}", v) as n', events) == [{"n": attack * 2}]
    assert rows(f'filter v in ["{quoted}"] | fields replace(v, "{quoted}", "-") as n', events) == [{"n": "-"}]
    name = attack.replace("`", "")
    if name.strip(".") == name:
        assert rows(f"fields `{name}` as `{name}` | filter `{name}` = 'found' | sort `{name}`", events) == [
            {name: "found"}
        ]
        assert rows(f"stats count(*) as `{name}` by v | sort `{name}` | limit 1", events)[0][name] == "1"


def test_the_database_reaches_nothing() -> None:
    import duckdb

    from router.simulator.insights.worker import connect

    connection = connect(1 << 26)
    for statement in (
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SET threads = 8",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)
