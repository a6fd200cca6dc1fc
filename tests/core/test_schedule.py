"""Schedule expressions: what AWS takes and refuses, and when they fire, held against a search minute by minute."""

import os
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.core.schedule import Fires, InvalidSchedule, Schedule, fires, next_after, parse
from tests.shared import needs_shared, rows

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
DEEP = bool(os.environ.get("CROSSBUS_TEST_DEEP"))
REFUSED_TEXT = "Parameter ScheduleExpression is not valid."
RECORDED = [row for row in rows("conformance/api.jsonl") if row["file"] == "test_events_schedule"]


def recorded_expression(row: dict[str, Any]) -> str:
    """The request's, or where only the answer was recorded, the one in the test's name."""
    name: str = row["test"]
    return str(row["request"]["ScheduleExpression"]) if "request" in row else name[name.index("[") + 1 : -1]


RECORDED_BAD = sorted({recorded_expression(row) for row in RECORDED if row.get("error_message") == REFUSED_TEXT})
RECORDED_GOOD = sorted({recorded_expression(row) for row in RECORDED if row.get("status") == 200})


def at(text: str) -> int:
    """A time such as 2026-11-23 10:00 in milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def told(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def upcoming(expression: str, after: str, count: int = 3) -> list[str | None]:
    schedule = parse(expression)
    found: list[str | None] = []
    moment: int | None = at(after)
    for _ in range(count):
        moment = None if moment is None else next_after(schedule, moment, at(after))
        found.append(told(moment))
    return found


# what is taken


@needs_shared
def test_the_recorded_answers_are_there() -> None:
    assert (len(RECORDED_BAD), len(RECORDED_GOOD)) == (14, 17)
    assert set(RECORDED_BAD) <= {*BAD_RATES, *BAD_CRONS}


@pytest.mark.parametrize("expression", RECORDED_BAD)
def test_what_aws_was_recorded_to_refuse_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule):
        parse(expression)


@pytest.mark.parametrize("expression", RECORDED_GOOD)
def test_what_aws_was_recorded_to_take_is_taken(expression: str) -> None:
    parse(expression)


BAD_RATES = [
    "rate(10 seconds)",
    "rate(10 years)",
    "rate(1 minutes)",
    "rate(1 hours)",
    "rate(1 days)",
    "rate(10 minute)",
    "rate(10 hour)",
    "rate(10 day)",
    "rate()",
    "rate(10)",
    "rate(10 minutess)",
    "rate(foo minutes)",
    "rate(0 minutes)",
    "rate(-10 minutes)",
    "rate(10 MINUTES)",
    "rate( 10 minutes )",
    " rate(10 minutes)",
]
BAD_CRONS = [
    "cron(0 1 * * * *)",
    "cron(0 dummy ? * MON-FRI *)",
    "cron(7 20 * * NOT *)",
    "cron(71 8 1 * ? *)",
    "cron(INVALID)",
]


@pytest.mark.parametrize("expression", BAD_RATES + BAD_CRONS)
def test_what_aws_refuses_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule):
        parse(expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "expected rate(value unit) or cron(six fields), got ''"),
        ("Rate(1 minute)", "expected rate(value unit) or cron(six fields), got 'Rate(1 minute)'"),
        ("rate(1  minute)", "expected rate(value unit) or cron(six fields), got 'rate(1  minute)'"),
        ("rate(1 minute) ", "expected rate(value unit) or cron(six fields), got 'rate(1 minute) '"),
        ("rate(1.5 hours)", "expected rate(value unit) or cron(six fields), got 'rate(1.5 hours)'"),
        ("rate(١ minute)", "expected rate(value unit) or cron(six fields), got 'rate(١ minute)'"),
        ("rate(0 minute)", "expected a value of at least 1, got 0"),
        ("rate(2 hour)", "expected hours with the value 2"),
        ("rate(01 days)", "expected day with the value 1"),
        ("CRON(0 0 * * ? *)", "expected rate(value unit) or cron(six fields), got 'CRON(0 0 * * ? *)'"),
        ("cron(0 0 * * ? *", "expected rate(value unit) or cron(six fields), got 'cron(0 0 * * ? *'"),
        ("cron(0 0 ? * frı *)", "expected rate(value unit) or cron(six fields), got 'cron(0 0 ? * frı *)'"),
        ("cron(0 0 * * ?)", "expected six fields with one space between, got 5 in 'cron(0 0 * * ?)'"),
        ("cron(0  0 * * ? *)", "expected six fields with one space between, got 7 in 'cron(0  0 * * ? *)'"),
        ("cron(0 0 ? * ? *)", "expected `?` as either the day of the month or the day of the week, got ? and ?"),
        ("cron(0 0 1 * 2 *)", "expected `?` as either the day of the month or the day of the week, got 1 and 2"),
        ("cron(? 0 * * ? *)", "expected a value, a range or `*` as minute, with a step or without, got '?'"),
        ("cron(0,,1 0 * * ? *)", "expected a value, a range or `*` as minute, with a step or without, got ''"),
        ("cron(*-5 0 * * ? *)", "expected a value, a range or `*` as minute, with a step or without, got '*-5'"),
        ("cron(/5 0 * * ? *)", "expected a value, a range or `*` as minute, with a step or without, got '/5'"),
        ("cron(-1 0 * * ? *)", "expected a value, a range or `*` as minute, with a step or without, got '-1'"),
        ("cron(60 0 * * ? *)", "expected 0 to 59 as minute, got 60"),
        ("cron(0 20-24 * * ? *)", "expected 0 to 23 as hour, got 24"),
        ("cron(0 MON * * ? *)", "expected 0 to 23 as hour, got MON"),
        ("cron(0 0 0 * ? *)", "expected 1 to 31 as day of the month, got 0"),
        ("cron(0 0 32W * ? *)", "expected 1 to 31 as day of the month, got 32"),
        ("cron(0 0 L-0 * ? *)", "expected L-1 to L-30 as day of the month, got L-0"),
        ("cron(0 0 L-31 * ? *)", "expected L-1 to L-30 as day of the month, got L-31"),
        ("cron(0 0 1,L * ? *)", "expected 1 to 31 as day of the month, got L"),
        (
            "cron(0 0 1,15W * ? *)",
            "expected a value, a range or `*` as day of the month, with a step or without, got '15W'",
        ),
        (
            "cron(0 0 1 13 ? *)",
            "expected 1 to 12 or JAN, FEB, MAR, APR, MAY, JUN, JUL, AUG, SEP, OCT, NOV, DEC as month, got 13",
        ),
        ("cron(0 0 ? * 0 *)", "expected 1 to 7 or SUN, MON, TUE, WED, THU, FRI, SAT as day of the week, got 0"),
        ("cron(0 0 ? * MONL *)", None),
        ("cron(0 0 ? * 8L *)", "expected 1 to 7 or SUN, MON, TUE, WED, THU, FRI, SAT as day of the week, got 8"),
        (
            "cron(0 0 ? * 3#1,6#3 *)",
            "expected a value, a range or `*` as day of the week, with a step or without, got '3#1'",
        ),
        (
            "cron(0 0 ? * 3#6 *)",
            "expected a value, a range or `*` as day of the week, with a step or without, got '3#6'",
        ),
        ("cron(0 0 1 * ? 1969)", "expected 1970 to 2199 as year, got 1969"),
        ("cron(0 0 1 * ? 10000)", "expected 1970 to 2199 as year, got 10000"),
        (f"rate({'1' * 250} days)", "expected at most 256 characters, got 261"),
    ],
)
def test_a_refusal_says_what_was_expected(expression: str, reason: str | None) -> None:
    if reason is None:
        parse(expression)
        return
    with pytest.raises(InvalidSchedule) as refused:
        parse(expression)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("lax", "means"),
    [
        ("cron(00 08 01 01 ? *)", "cron(0 8 1 1 ? *)"),
        ("cron(0 18 ? jan-Mar mon-FRI *)", "cron(0 18 ? 1-3 2-6 *)"),
        ("cron(5/0 * * * ? *)", "cron(5 * * * ? *)"),
        ("cron(*/0 * * * ? *)", "cron(* * * * ? *)"),
        ("cron(10-20/0 * * * ? *)", "cron(10 * * * ? *)"),
        ("cron(5/100 * * * ? *)", "cron(5 * * * ? *)"),
        ("cron(*/100 * * * ? *)", "cron(0 * * * ? *)"),
        ("cron(50-10/5 * * * ? *)", "cron(0,5,10,50,55 * * * ? *)"),
        ("cron(0 22-2 * * ? *)", "cron(0 0-2,22,23 * * ? *)"),
        ("cron(0 0 ? * FRI-MON *)", "cron(0 0 ? * 1,2,6,7 *)"),
        ("cron(0 0 ? NOV-FEB 2 *)", "cron(0 0 ? 1,2,11,12 MON *)"),
        ("cron(0 0 ? * L *)", "cron(0 0 ? * SAT *)"),
        ("cron(0 0 ? * FRIL *)", "cron(0 0 ? * 6L *)"),
        ("cron(0 0 ? * */2 *)", "cron(0 0 ? * 1,3,5,7 *)"),
        ("cron(0 0 1 1 ? 2190-2500)", "cron(0 0 1 1 ? 2190-2199)"),
        ("cron(0 0 1 1 ? 2198-1971)", "cron(0 0 1 1 ? 1970,1971,2198,2199)"),
        ("rate(010 minutes)", "rate(10 minutes)"),
        ("rate(60 minutes)", "rate(1 hour)"),
        ("rate(24 hours)", "rate(1 day)"),
    ],
)
def test_forms_that_mean_the_same(lax: str, means: str) -> None:
    assert parse(lax) == parse(means)


# when


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(0 10 * * ? *)", "2026-11-23 10:00", ["2026-11-24 10:00", "2026-11-25 10:00", "2026-11-26 10:00"]),
        ("cron(0 10 * * ? *)", "2026-11-23 09:59", ["2026-11-23 10:00", "2026-11-24 10:00", "2026-11-25 10:00"]),
        ("cron(59 23 31 DEC ? *)", "2026-12-31 23:58", ["2026-12-31 23:59", "2027-12-31 23:59", "2028-12-31 23:59"]),
        ("cron(0 0 29 2 ? *)", "2096-02-29 00:00", ["2104-02-29 00:00", "2108-02-29 00:00", "2112-02-29 00:00"]),
        ("cron(0 0 L * ? *)", "2028-01-31 00:00", ["2028-02-29 00:00", "2028-03-31 00:00", "2028-04-30 00:00"]),
        ("cron(0 0 L-2 * ? *)", "2027-01-31 00:00", ["2027-02-26 00:00", "2027-03-29 00:00", "2027-04-28 00:00"]),
        ("cron(0 0 L-30 * ? *)", "2027-01-31 00:00", ["2027-03-01 00:00", "2027-05-01 00:00", "2027-07-01 00:00"]),
        ("cron(0 0 LW * ? *)", "2027-01-01 00:00", ["2027-01-29 00:00", "2027-02-26 00:00", "2027-03-31 00:00"]),
        ("cron(0 0 1W * ? *)", "2027-04-30 00:00", ["2027-05-03 00:00", "2027-06-01 00:00", "2027-07-01 00:00"]),
        ("cron(0 0 15W * ? *)", "2027-05-01 00:00", ["2027-05-14 00:00", "2027-06-15 00:00", "2027-07-15 00:00"]),
        ("cron(0 0 31W * ? *)", "2027-01-01 00:00", ["2027-01-29 00:00", "2027-03-31 00:00", "2027-05-31 00:00"]),
        ("cron(0 0 15W 8 ? *)", "2027-08-01 00:00", ["2027-08-16 00:00", "2028-08-15 00:00", "2029-08-15 00:00"]),
        ("cron(15 10 ? * 6L 2002-2005)", "2005-10-28 10:15", ["2005-11-25 10:15", "2005-12-30 10:15", None]),
        ("cron(0 2 ? * SAT#3 *)", "2026-11-23 10:00", ["2026-12-19 02:00", "2027-01-16 02:00", "2027-02-20 02:00"]),
        ("cron(0 0 ? 2 3#5 *)", "2026-11-23 10:00", ["2028-02-29 00:00", "2056-02-29 00:00", "2084-02-29 00:00"]),
        ("cron(0/5 5 ? JAN 1-5 2022)", "2022-01-31 05:50", ["2022-01-31 05:55", None, None]),
        ("cron(0/20 8 ? * 2-6 *)", "2026-11-20 08:20", ["2026-11-20 08:40", "2026-11-23 08:00", "2026-11-23 08:20"]),
        ("cron(0 0 30 2 ? *)", "2026-11-23 10:00", [None, None, None]),
        ("cron(0 0 1 1 ? 2500)", "2026-11-23 10:00", [None, None, None]),
        ("cron(0 0 1 1 ? *)", "2199-01-01 00:00", [None, None, None]),
        ("cron(59 23 31 12 ? 2199)", "2199-12-31 23:58", ["2199-12-31 23:59", None, None]),
        ("cron(0 0 1 1 ? 1970)", "1969-12-31 23:59", ["1970-01-01 00:00", None, None]),
        ("rate(1 minute)", "2026-11-23 10:00", ["2026-11-23 10:01", "2026-11-23 10:02", "2026-11-23 10:03"]),
        ("rate(7 hours)", "2026-11-23 10:00", ["2026-11-23 17:00", "2026-11-24 00:00", "2026-11-24 07:00"]),
        ("rate(30 days)", "2028-02-10 10:00", ["2028-03-11 10:00", "2028-04-10 10:00", "2028-05-10 10:00"]),
        ("rate(1000 days)", "2197-12-31 10:00", [None, None, None]),
    ],
)  # fmt: skip
def test_the_next_times(expression: str, after: str, expected: list[str | None]) -> None:
    assert upcoming(expression, after) == expected


def test_a_rate_keeps_to_the_moment_it_was_anchored_at() -> None:
    anchor = at("2026-11-23 10:00") + 12_345
    rate = parse("rate(5 minutes)")
    assert next_after(rate, anchor, anchor) == anchor + 5 * MINUTE_MS
    assert next_after(rate, anchor + 5 * MINUTE_MS - 1, anchor) == anchor + 5 * MINUTE_MS
    assert next_after(rate, anchor + 5 * MINUTE_MS, anchor) == anchor + 10 * MINUTE_MS
    assert next_after(rate, anchor - DAY_MS - 1, anchor) == anchor - DAY_MS, "also before it"


def test_what_fired_meanwhile_is_counted() -> None:
    anchor = at("2026-11-23 10:00")
    rate = parse("rate(5 minutes)")
    assert fires(rate, anchor, anchor + 5 * MINUTE_MS - 1, anchor) == Fires(0, None)
    assert fires(rate, anchor, anchor + DAY_MS, anchor) == Fires(288, anchor + DAY_MS)
    end = at("2199-12-31 23:59")
    assert fires(rate, end - 10 * MINUTE_MS, end + DAY_MS, end) == Fires(2, end)
    assert fires(rate, end, end - DAY_MS, anchor) == Fires(0, None)
    cron = parse("cron(0/15 9-10 ? * MON-FRI *)")
    monday = at("2026-11-23 00:00")
    assert fires(cron, monday, monday + 7 * DAY_MS, 0) == Fires(40, at("2026-11-27 10:45"))
    assert fires(cron, at("2026-11-23 09:15"), at("2026-11-23 10:30"), 0) == Fires(5, at("2026-11-23 10:30"))
    assert fires(cron, at("2026-11-23 10:45"), at("2026-11-24 08:59"), 0) == Fires(0, None)
    assert fires(cron, monday, monday, 0) == Fires(0, None)
    assert fires(cron, end, end + DAY_MS, 0) == Fires(0, None)


# against a search


def first_days() -> list[date]:
    """Where two months begin: year ends, leap days of each kind, months of every length and beginning."""
    return [
        date(2023, 12, 1), date(2024, 2, 1), date(2025, 1, 15), date(2026, 11, 1), date(2027, 2, 1), date(2027, 4, 20),
        date(2028, 1, 31), date(2099, 12, 1), date(2100, 2, 1), date(2026, 7, 1), date(2198, 12, 1), date(1972, 2, 1),
    ]  # fmt: skip


WINDOW_DAYS = 730 if DEEP else 61
NAMES = {
    "month": dict(zip("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), range(1, 13), strict=True)),
    "weekday": dict(zip("SUN MON TUE WED THU FRI SAT".split(), range(1, 8), strict=True)),
}


def number(text: str) -> int:
    return next((names[text] for names in NAMES.values() if text in names), None) or int(text)


def holds(field: str, value: int, low: int, high: int) -> bool:
    """Whether a value is one that a field of lists, ranges and steps means: it walks each part's values in order."""
    for part in field.split(","):
        body, _, step = part.partition("/")
        if body == "*":
            start, end = low, high
        elif "-" in body:
            start, end = (number(text) for text in body.split("-"))
        else:
            start = number(body)
            end = high if step else start
        walked = start
        for index in range(high - low + 1):
            if walked == value and index % int(step or 1) == 0:
                return True
            if walked == end:
                break
            walked = low if walked == high else walked + 1
    return False


def aws_weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def is_day(day: date, of_month: str, of_week: str) -> bool:
    """Whether the date is one of the day field's days, by looking at its neighbours."""
    one = timedelta(days=1)
    if of_week == "?":
        if of_month.startswith("L"):
            end = day
            while (end + one).month == day.month:
                end += one
            wanted = end - timedelta(days=int(of_month[2:])) if "-" in of_month else end
            while of_month == "LW" and wanted.isoweekday() > 5:
                wanted -= one
            return day == wanted
        if of_month.endswith("W"):
            try:
                middle = day.replace(day=int(of_month[:-1]))
            except ValueError:
                return False
            near = sorted(range(-3, 4), key=abs)
            candidates = (middle + one * distance for distance in near)
            return day == next(c for c in candidates if c.month == day.month and c.isoweekday() <= 5)
        return holds(of_month, day.day, 1, 31)
    if of_week == "L":
        return aws_weekday(day) == 7
    if of_week.endswith("L"):
        return aws_weekday(day) == number(of_week[:-1]) and (day + 7 * one).month != day.month
    if "#" in of_week:
        weekday, nth = of_week.split("#")
        return aws_weekday(day) == number(weekday) and (day.day + 6) // 7 == int(nth)
    return holds(of_week, aws_weekday(day), 1, 7)


def searched(expression: str, start: date, days: int) -> list[int]:
    """Every minute of these days in which it fires."""
    minute, hour, of_month, month, of_week, year = expression[5:-1].split(" ")
    hours = [value for value in range(24) if holds(hour, value, 0, 23)]
    minutes = [value for value in range(60) if holds(minute, value, 0, 59)]
    found: list[int] = []
    for offset in range(days):
        day = start + timedelta(days=offset)
        if holds(year, day.year, 1970, 2199) and holds(month, day.month, 1, 12) and is_day(day, of_month, of_week):
            midnight = at(f"{day} 00:00")
            found += [midnight + (h * 60 + m) * MINUTE_MS for h in hours for m in minutes]
    return found


def parts(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    values = st.integers(low, high).map(str)
    if names:
        values |= st.sampled_from(names)
    bodies = values | st.tuples(values, values).map("-".join)
    steps = st.integers(1, high + 5).map(str)
    stepped = st.tuples(bodies | st.just("*"), steps).map("/".join)
    return st.lists(bodies | stepped, min_size=1, max_size=3).map(",".join) | st.just("*")


@st.composite
def crons(draw: st.DrawFn) -> str:
    weekdays = list(NAMES["weekday"])
    if draw(st.booleans()):
        of_week = "?"
        special = (
            st.sampled_from(["L", "LW"]) | st.integers(1, 30).map("L-{}".format) | st.integers(1, 31).map("{}W".format)
        )
        of_month = draw(parts(1, 31) | special)
    else:
        of_month = "?"
        days = st.integers(1, 7).map(str) | st.sampled_from(weekdays)
        nth = st.tuples(days, st.integers(1, 5).map(str)).map("#".join)
        of_week = draw(parts(1, 7, weekdays) | nth | days.map("{}L".format) | st.just("L"))
    month = draw(st.just("*") | parts(1, 12, list(NAMES["month"])))
    year = draw(st.just("*") | st.just("2024/1") | parts(2020, 2110))
    return f"cron({draw(parts(0, 59))} {draw(parts(0, 23))} {of_month} {month} {of_week} {year})"


def walk(schedule: Schedule, start: int, end: int) -> Iterator[int]:
    moment = next_after(schedule, start - 1, 0)
    while moment is not None and moment < end:
        yield moment
        moment = next_after(schedule, moment, 0)


@settings(max_examples=2000 if DEEP else 150)
@given(
    expression=crons(), start=st.sampled_from(first_days()), inside=st.lists(st.integers(0, 61 * DAY_MS), max_size=20)
)
@example("cron(* * * * ? *)", date(2024, 2, 1), [0, 1])
@example("cron(0 0 31W * ? *)", date(2027, 1, 1), [])
def test_cron_fires_in_the_minutes_that_a_search_finds(expression: str, start: date, inside: list[int]) -> None:
    days = min(WINDOW_DAYS, (date(2199, 12, 31) - start).days)
    expected = searched(expression, start, days)
    schedule = parse(expression)
    begin, end = at(f"{start} 00:00"), at(f"{start} 00:00") + days * DAY_MS
    if len(expected) <= 3000:
        assert list(walk(schedule, begin, end)) == expected
    for offset in inside:
        moment = begin + offset % (days * DAY_MS)
        index = bisect_right(expected, moment)
        if index < len(expected):
            assert next_after(schedule, moment, 0) == expected[index]
        assert fires(schedule, begin - 1, moment, 0) == Fires(index, expected[index - 1] if index else None)
        assert fires(schedule, moment, end - 1, 0).count == len(expected) - index


@given(
    value=st.integers(1, 2000),
    unit=st.sampled_from(["minute", "hour", "day"]),
    anchor=st.integers(0, 4 * 10**12),
    after=st.integers(0, 4 * 10**12),
    span=st.integers(0, 400 * DAY_MS),
)
def test_a_rate_fires_at_whole_periods_from_its_anchor(
    value: int, unit: str, anchor: int, after: int, span: int
) -> None:
    rate = parse(f"rate({value} {unit}{'' if value == 1 else 's'})")
    period = value * {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}[unit]
    found = next_after(rate, after, anchor)
    assert found is not None
    assert (found - anchor) % period == 0
    assert after < found <= after + period
    counted = fires(rate, after, after + span, anchor)
    assert counted.count == (0 if found > after + span else 1 + (after + span - found) // period)
    assert counted.last_ms == (found + (counted.count - 1) * period if counted.count else None)
