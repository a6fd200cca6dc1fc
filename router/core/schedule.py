"""Schedule expressions: `rate(…)` and `cron(…)` as AWS takes them, and when they fire.

Promises that `parse` accepts and refuses what AWS was seen to accept and refuse (classic.md section 3.2; LocalStack's
recorded answers), and that `next_after` and `fires` agree with each other to the minute. All times are UTC, in
milliseconds; nothing fires before 1970 or after 2199. Knows no rule, no clock and nothing of what a fire does.

Where AWS says nothing, Quartz is followed, whose language this is: names in any case; `a/0` is `a` and `*/0` every
value; steps may be larger than the field; `L`, `LW`, `L-n`, `nW`, `dL` and `d#n` stand alone in their field; `L` as a
day of the week is Saturday. Years after 2199 are taken and never come. `nW` fires in no month that has no day n.
"""

import calendar
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from datetime import date
from typing import assert_never

import msgspec

_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
_EPOCH = date(1970, 1, 1).toordinal()
_YEAR_MAX = 2199
_LAST_MINUTE = (date(_YEAR_MAX + 1, 1, 1).toordinal() - _EPOCH) * _DAY_MINUTES - 1
_CHARS_MAX = 256  # PutRule API reference
_END_MS = (_LAST_MINUTE + 1) * _MINUTE_MS

_RATE = re.compile(r"rate\(([0-9]+) (minute|hour|day)(s?)\)")
_UNIT_MS = {"minute": _MINUTE_MS, "hour": 60 * _MINUTE_MS, "day": _DAY_MINUTES * _MINUTE_MS}
_PART = re.compile(r"(\*|[0-9]+|[A-Z]+)(?:-([0-9]+|[A-Z]+))?(?:/([0-9]+))?")


class InvalidSchedule(ValueError):
    """AWS would refuse the expression; the text says what was expected."""


class Rate(msgspec.Struct, frozen=True):
    """Fires every `period_ms`, counted from when its rule was created or enabled."""

    period_ms: int


class Days(msgspec.Struct, frozen=True):
    """These days of the month."""

    days: tuple[int, ...]


class LastDay(msgspec.Struct, frozen=True):
    """The last day of the month, or the one `before` it; with `weekday` the last one from Monday to Friday."""

    before: int = 0
    weekday: bool = False


class NearestWeekday(msgspec.Struct, frozen=True):
    """The day from Monday to Friday that is nearest to this day, in the same month."""

    day: int


class Weekdays(msgspec.Struct, frozen=True):
    """These days of the week; 1 is Sunday."""

    days: tuple[int, ...]


class LastWeekday(msgspec.Struct, frozen=True):
    """The month's last such day of the week."""

    day: int


class NthWeekday(msgspec.Struct, frozen=True):
    """The month's first, second… such day of the week, where it has one."""

    day: int
    nth: int


DayRule = Days | LastDay | NearestWeekday | Weekdays | LastWeekday | NthWeekday


class Cron(msgspec.Struct, frozen=True):
    """Fires in each of these minutes; the tuples are sorted, `years` may be empty."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: DayRule
    months: tuple[int, ...]
    years: tuple[int, ...]


Schedule = Rate | Cron


class Fires(msgspec.Struct, frozen=True):
    """How often a schedule fires in some time, and when last."""

    count: int
    last_ms: int | None


def parse(text: str) -> Schedule:
    """Raises InvalidSchedule."""
    if len(text) > _CHARS_MAX:
        raise InvalidSchedule(f"expected at most {_CHARS_MAX} characters, got {len(text)}")
    rate = _RATE.fullmatch(text)
    if rate is not None:
        return _rate(int(rate[1]), unit=rate[2], plural=bool(rate[3]))
    if not text.isascii() or not text.startswith("cron(") or not text.endswith(")"):
        raise InvalidSchedule(f"expected rate(value unit) or cron(six fields), got {text!r}")
    fields = text[len("cron(") : -1].upper().split(" ")
    if len(fields) != 6:
        raise InvalidSchedule(f"expected six fields with one space between, got {len(fields)} in {text!r}")
    minute, hour, day_of_month, month, day_of_week, year = fields
    if (day_of_month == "?") == (day_of_week == "?"):
        raise InvalidSchedule(
            f"expected `?` as either the day of the month or the day of the week, got {day_of_month} and {day_of_week}"
        )
    return Cron(
        _values(minute, _MINUTE),
        _values(hour, _HOUR),
        _day_of_week(day_of_week) if day_of_month == "?" else _day_of_month(day_of_month),
        _values(month, _MONTH),
        _values(year, _YEAR),
    )


def next_after(schedule: Schedule, after_ms: int, anchor_ms: int) -> int | None:
    """The first fire later than `after_ms`, or None when there is none any more.

    `anchor_ms` is when a rate began to count; its times are whole periods from there, in both directions.
    """
    if isinstance(schedule, Rate):
        period = schedule.period_ms
        found = anchor_ms + ((after_ms - anchor_ms) // period + 1) * period
        return found if found < _END_MS else None
    first = max(after_ms // _MINUTE_MS + 1, 0)
    for day, low, high in _times(schedule, first, _LAST_MINUTE):
        if low < high:
            return _at(schedule, day, low)
    return None


def fires(schedule: Schedule, after_ms: int, until_ms: int, anchor_ms: int) -> Fires:
    """What fires later than `after_ms` and not later than `until_ms`; costs days and not fires."""
    if isinstance(schedule, Rate):
        period = schedule.period_ms
        last = (min(until_ms, _END_MS - 1) - anchor_ms) // period
        count = last - (after_ms - anchor_ms) // period
        return Fires(count, anchor_ms + last * period) if count > 0 else Fires(0, None)
    count = 0
    last_ms = None
    first = max(after_ms // _MINUTE_MS + 1, 0)
    for day, low, high in _times(schedule, first, min(until_ms // _MINUTE_MS, _LAST_MINUTE)):
        if low < high:
            count += high - low
            last_ms = _at(schedule, day, high - 1)
    return Fires(count, last_ms)


# parsing


class _Field(msgspec.Struct, frozen=True):
    """`high` is the last value that can come, `accepted` the last one that may be written."""

    name: str
    low: int
    high: int
    accepted: int
    names: Mapping[str, int] = {}


def _numbered(names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), start=1)}


_MINUTE = _Field("minute", 0, 59, 59)
_HOUR = _Field("hour", 0, 23, 23)
_DAY_OF_MONTH = _Field("day of the month", 1, 31, 31)
_MONTH = _Field("month", 1, 12, 12, _numbered("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"))
_DAY_OF_WEEK = _Field("day of the week", 1, 7, 7, _numbered("SUN MON TUE WED THU FRI SAT"))
_YEAR = _Field("year", 1970, _YEAR_MAX, 9999)


def _rate(value: int, *, unit: str, plural: bool) -> Rate:
    if value < 1:
        raise InvalidSchedule(f"expected a value of at least 1, got {value}")
    if plural == (value == 1):
        raise InvalidSchedule(f"expected {unit}{'' if plural else 's'} with the value {value}")
    return Rate(value * _UNIT_MS[unit])


def _values(text: str, field: _Field) -> tuple[int, ...]:
    """The values that a list of values, ranges, `*` and steps stands for, sorted."""
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise InvalidSchedule(
                f"expected a value, a range or `*` as {field.name}, with a step or without, got {part!r}"
            )
        found.update(_range(field, match[1], match[2], match[3]))
    return tuple(sorted(value for value in found if value <= field.high))


def _range(field: _Field, first: str, last: str | None, step_text: str | None) -> list[int]:
    step = None if step_text is None else int(step_text)
    if first == "*":
        return list(range(field.low, field.high + 1, step or 1))
    start = _value(field, first)
    open_end = start if step is None else max(start, field.high)
    end = open_end if last is None else _value(field, last)
    if start <= end:
        values = list(range(start, end + 1))
    else:  # it wraps around
        values = [*range(start, field.high + 1), *range(field.low, end + 1)]
    return values[:1] if step == 0 else values[:: step or 1]


def _value(field: _Field, text: str) -> int:
    value = field.names.get(text) if text.isalpha() else int(text)
    if value is None or not field.low <= value <= field.accepted:
        names = f" or {', '.join(field.names)}" if field.names else ""
        raise InvalidSchedule(f"expected {field.low} to {field.high}{names} as {field.name}, got {text}")
    return value


def _day_of_month(text: str) -> DayRule:
    if text in ("L", "LW"):
        return LastDay(weekday=text == "LW")
    if match := re.fullmatch(r"L-([0-9]+)", text):
        if not 1 <= int(match[1]) <= 30:
            raise InvalidSchedule(f"expected L-1 to L-30 as day of the month, got {text}")
        return LastDay(before=int(match[1]))
    if match := re.fullmatch(r"([0-9]+)W", text):
        return NearestWeekday(_value(_DAY_OF_MONTH, match[1]))
    return Days(_values(text, _DAY_OF_MONTH))


def _day_of_week(text: str) -> DayRule:
    if text == "L":
        return Weekdays((7,))
    if match := re.fullmatch(r"([0-9]+|[A-Z]{3})L", text):
        return LastWeekday(_value(_DAY_OF_WEEK, match[1]))
    if match := re.fullmatch(r"([0-9]+|[A-Z]+)#([1-5])", text):
        return NthWeekday(_value(_DAY_OF_WEEK, match[1]), int(match[2]))
    return Weekdays(_values(text, _DAY_OF_WEEK))


# when


def _times(cron: Cron, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """The days with a fire between two minutes since 1970, both of them included: for each the day, and from which to
    before which of the day's fires are between them, counted from 0. There may be none on the first and last day."""
    if last < first:
        return
    first_day, from_minute = divmod(first, _DAY_MINUTES)
    last_day, to_minute = divmod(last, _DAY_MINUTES)
    for day in _days(cron, first_day, last_day):
        low = _fires_before(cron, from_minute) if day == first_day else 0
        high = _fires_before(cron, to_minute + 1 if day == last_day else _DAY_MINUTES)
        yield day, low, high


def _days(cron: Cron, first: int, last: int) -> Iterator[int]:
    """The days since 1970 on which it fires, from `first` to `last`."""
    start, end = date.fromordinal(_EPOCH + first), date.fromordinal(_EPOCH + last)
    for year in cron.years[bisect_left(cron.years, start.year) : bisect_right(cron.years, end.year)]:
        for month in cron.months:
            if not (start.year, start.month) <= (year, month) <= (end.year, end.month):
                continue
            of_month = date(year, month, 1).toordinal() - _EPOCH - 1
            for day in _days_of_month(cron.days, year, month):
                if first <= of_month + day <= last:
                    yield of_month + day


def _fires_before(cron: Cron, minute: int) -> int:
    """How many of a day's fires are before a minute of the day."""
    hour, rest = divmod(minute, 60)
    index = bisect_left(cron.hours, hour)
    count = index * len(cron.minutes)
    if index < len(cron.hours) and cron.hours[index] == hour:
        count += bisect_left(cron.minutes, rest)
    return count


def _at(cron: Cron, day: int, index: int) -> int:
    """When a day's fire of that number is."""
    hour, minute = divmod(index, len(cron.minutes))
    return (day * _DAY_MINUTES + cron.hours[hour] * 60 + cron.minutes[minute]) * _MINUTE_MS


def _days_of_month(rule: DayRule, year: int, month: int) -> list[int]:
    """The days of one month, sorted."""
    weekday_before, length = calendar.monthrange(year, month)  # of the first, from Monday, 0

    def week_day(day: int) -> int:
        return (weekday_before + day) % 7 + 1

    match rule:
        case Days(days):
            return [day for day in days if day <= length]
        case LastDay(before, weekday):
            last = length - before
            if weekday:
                last -= {1: 2, 7: 1}.get(week_day(last), 0)
            return [last] if last > 0 else []
        case NearestWeekday(day):
            return [_nearest_weekday(day, week_day(day), length)] if day <= length else []
        case Weekdays(days):
            return [day for day in range(1, length + 1) if week_day(day) in days]
        case LastWeekday(wanted):
            return [length - (week_day(length) - wanted) % 7]
        case NthWeekday(wanted, nth):
            day = 1 + (wanted - week_day(1)) % 7 + 7 * (nth - 1)
            return [day] if day <= length else []
        case _:
            assert_never(rule)


def _nearest_weekday(day: int, week_day: int, length: int) -> int:
    if week_day == 7:
        return day - 1 if day > 1 else day + 2
    if week_day == 1:
        return day + 1 if day < length else day - 2
    return day
