"""The functions of Logs Insights as SQL: which there are, how many arguments they take, what they give.

A function gets its arguments as `Value`s and a way to add parameters, and gives a `Value`; an aggregate likewise. Bad
arguments raise `MalformedQuery`. What AWS has and is not in these tables is refused by name. Source: "Boolean,
comparison, numeric, datetime, and other functions" and "stats" in the user guide.
"""

import ipaddress
from collections.abc import Callable
from typing import Any

import msgspec

from router.simulator.insights.syntax import Call, Expression, MalformedQuery, Number, Period, Text
from router.simulator.insights.values import Kind, Value, as_number, as_text, as_time, order_of


class Using(msgspec.Struct, frozen=True):
    """What a function may ask of the translation: parameters, and the event's time and place where there are events."""

    parameter: Callable[[Any], str]
    time: Value | None


Make = Callable[[Call, list[Value], Using], Value]


class Function(msgspec.Struct, frozen=True):
    """`most` None: any number of arguments. A place in `plain` is an argument that is looked at, not computed."""

    least: int
    most: int | None
    make: Make
    plain: frozenset[int] = frozenset()


def period_of(argument: Expression) -> Period:
    if isinstance(argument, Period):
        return argument
    raise MalformedQuery("expected a period such as 30s, 5m or 1h", argument.start, argument.end)


def floor_time(time: str, period: Period, using: Using) -> str:
    """The beginning of the period that a time is in; weeks begin on Mondays, months and years as on the calendar."""
    if period.months:
        width = f"to_months({using.parameter(period.months)})"
        return f"epoch_ms(time_bucket({width}, epoch_ms({time})))"
    width = using.parameter(period.ms)
    origin = 345_600_000 if period.ms % 604_800_000 == 0 else 0  # 1970-01-05 was a Monday
    return f"({time} - ((({time} - {origin}) % {width} + {width}) % {width}))"


def _bin(call: Call, values: list[Value], using: Using) -> Value:
    if using.time is None:
        raise MalformedQuery("bin() needs @timestamp, which is gone after stats", call.start, call.end)
    return Value(floor_time(_sane(using.time), period_of(call.arguments[0]), using), "time")


def _sane(value: Value) -> str:
    """A time that the calendar has, or NULL."""
    time = as_time(value)
    return f"(CASE WHEN {time} BETWEEN -62135596800000 AND 253402300799999 THEN {time} END)"


def _datefloor(call: Call, values: list[Value], using: Using) -> Value:
    return Value(floor_time(_sane(values[0]), period_of(call.arguments[1]), using), "time")


def _dateceil(call: Call, values: list[Value], using: Using) -> Value:
    period = period_of(call.arguments[1])
    time = _sane(values[0])
    floor = floor_time(time, period, using)
    if period.months:
        width = f"to_months({using.parameter(period.months)})"
        later = f"epoch_ms(epoch_ms({floor}) + {width})"
    else:
        later = f"({floor} + {using.parameter(period.ms)})"
    return Value(f"(CASE WHEN {floor} = {time} THEN {time} ELSE {later} END)", "time")


def _numeric(pattern: str) -> Make:
    """`{0}`, `{1}`… are the arguments as numbers; what is not finite is missing."""

    def make(call: Call, values: list[Value], using: Using) -> Value:
        numbers = [as_number(value) for value in values]
        return Value(f"cb_fin({pattern.format(*numbers, all=', '.join(numbers))})", "number")

    return make


def _textual(pattern: str, kind: Kind = "text") -> Make:
    """`{0}`, `{1}`… are the arguments as texts."""

    def make(call: Call, values: list[Value], using: Using) -> Value:
        texts = [as_text(value) for value in values]
        return Value(pattern.format(*texts, all=", ".join(texts)), kind)

    return make


def _trim(name: str) -> Make:
    def make(call: Call, values: list[Value], using: Using) -> Value:
        texts = [as_text(value) for value in values]
        what = texts[1] if len(texts) > 1 else "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"
        return Value(f"{name}({texts[0]}, {what})", "text")

    return make


def _substr(call: Call, values: list[Value], using: Using) -> Value:
    def whole(value: Value) -> str:
        return f"TRY_CAST(trunc(greatest(0, {as_number(value)})) AS INTEGER)"

    text, first = as_text(values[0]), f"{whole(values[1])} + 1"
    if len(values) == 2:
        return Value(f"substring({text}, {first})", "text")
    return Value(f"substring({text}, {first}, {whole(values[2])})", "text")


def _coalesce(call: Call, values: list[Value], using: Using) -> Value:
    kinds = {value.kind for value in values}
    if len(kinds) == 1:
        return Value(f"coalesce({', '.join(value.sql for value in values)})", values[0].kind)
    return Value(f"coalesce({', '.join(as_text(value) for value in values)})", "text")


def _in_subnet(call: Call, values: list[Value], using: Using) -> Value:
    subnet = call.arguments[1]
    try:
        if not isinstance(subnet, Text):
            raise ValueError
        network = ipaddress.IPv4Network(subnet.value, strict=False)
    except ValueError:
        raise MalformedQuery(
            "expected a subnet of IPv4 as a text, such as '10.0.0.0/8'", subnet.start, subnet.end
        ) from None
    low, high = (using.parameter(int(end)) for end in (network.network_address, network.broadcast_address))
    return Value(f"coalesce(cb_ipv4({as_text(values[0])}) BETWEEN {low} AND {high}, false)", "truth")


_BLANK = r"'^\s*$'"
FUNCTIONS: dict[str, Function] = {
    "abs": Function(1, 1, _numeric("abs({0})")),
    "ceil": Function(1, 1, _numeric("ceil({0})")),
    "floor": Function(1, 1, _numeric("floor({0})")),
    "greatest": Function(1, None, _numeric("greatest({all})")),
    "least": Function(1, None, _numeric("least({all})")),
    "log": Function(1, 1, _numeric("(CASE WHEN {0} > 0 THEN ln({0}) END)")),
    "sqrt": Function(1, 1, _numeric("(CASE WHEN {0} >= 0 THEN sqrt({0}) END)")),
    "bin": Function(1, 1, _bin, frozenset({0})),
    "datefloor": Function(2, 2, _datefloor, frozenset({1})),
    "dateceil": Function(2, 2, _dateceil, frozenset({1})),
    "frommillis": Function(1, 1, lambda call, values, using: Value(as_time(values[0]), "time")),
    "tomillis": Function(1, 1, lambda call, values, using: Value(f"CAST({as_time(values[0])} AS DOUBLE)", "number")),
    "ispresent": Function(1, 1, lambda call, values, using: Value(f"({values[0].sql} IS NOT NULL)", "truth")),
    "coalesce": Function(1, None, _coalesce),
    "isempty": Function(1, 1, _textual("(coalesce({0}, '') = '')", "truth")),
    "isblank": Function(1, 1, _textual(f"regexp_matches(coalesce({{0}}, ''), {_BLANK})", "truth")),
    "concat": Function(1, None, _textual("concat({all})")),
    "ltrim": Function(1, 2, _trim("ltrim")),
    "rtrim": Function(1, 2, _trim("rtrim")),
    "trim": Function(1, 2, _trim("trim")),
    "strlen": Function(1, 1, _textual("CAST(length({0}) AS DOUBLE)", "number")),
    "toupper": Function(1, 1, _textual("upper({0})")),
    "tolower": Function(1, 1, _textual("lower({0})")),
    "substr": Function(2, 3, _substr),
    "replace": Function(3, 3, _textual("replace({0}, {1}, {2})")),
    "strcontains": Function(2, 2, _textual("coalesce(contains({0}, {1}), false)", "truth")),
    "isvalidip": Function(1, 1, _textual("(cb_is_ipv4({0}) OR cb_is_ipv6({0}))", "truth")),
    "isvalidipv4": Function(1, 1, _textual("cb_is_ipv4({0})", "truth")),
    "isvalidipv6": Function(1, 1, _textual("cb_is_ipv6({0})", "truth")),
    "isipv4insubnet": Function(2, 2, _in_subnet, frozenset({1})),
}


# Aggregates


def _extreme(name: str) -> Make:
    """The field's value with the least or greatest number; of texts, where there is no number, by code point."""

    def make(call: Call, values: list[Value], using: Using) -> Value:
        value = values[0]
        if value.kind == "time":
            return Value(f"{name}({value.sql})", "time")
        if value.kind != "text":
            return _number_of(name, value)
        by_number = f"arg_{name}({value.sql}, {as_number(value)})"
        return Value(f"coalesce({by_number}, {name}({value.sql}))", "text")

    return make


def _number_of(name: str, value: Value) -> Value:
    return Value(f"cb_fin({name}({as_number(value)}))", "number")


def _total(name: str) -> Make:
    return lambda call, values, using: _number_of(name, values[0])


def _count(call: Call, values: list[Value], using: Using) -> Value:
    counted = values[0].sql if values else "*"
    return Value(f"CAST(count({counted}) AS DOUBLE)", "number")


def _count_distinct(call: Call, values: list[Value], using: Using) -> Value:
    return Value(f"CAST(count(DISTINCT {as_text(values[0])}) AS DOUBLE)", "number")


def _pct(call: Call, values: list[Value], using: Using) -> Value:
    rank = call.arguments[1]
    if not isinstance(rank, Number) or not 0 <= rank.value <= 100:
        raise MalformedQuery("expected a percentile of 0 to 100 as a number", rank.start, rank.end)
    return Value(f"quantile_disc({as_number(values[0])}, {rank.value / 100!r})", "number")


def _first(descending: bool, by_time: bool) -> Make:
    def make(call: Call, values: list[Value], using: Using) -> Value:
        value = values[0] if values[0].kind != "truth" else Value(as_number(values[0]), "number")
        if by_time and using.time is None:
            raise MalformedQuery(f"{call.function} needs @timestamp, which is gone after stats", call.start, call.end)
        keys = ["ts", "pos"] if by_time else order_of(value)
        order = ", ".join(f"{key} {'DESC' if descending else 'ASC'}" for key in keys)
        return Value(f"first({value.sql} ORDER BY {order}) FILTER (WHERE {value.sql} IS NOT NULL)", value.kind)

    return make


AGGREGATES: dict[str, Function] = {
    "count": Function(0, 1, _count),
    "count_distinct": Function(1, 1, _count_distinct),
    "sum": Function(1, 1, _total("sum")),
    "avg": Function(1, 1, _total("avg")),
    "min": Function(1, 1, _extreme("min")),
    "max": Function(1, 1, _extreme("max")),
    "stddev": Function(1, 1, _total("stddev_samp")),
    "median": Function(1, 1, _total("median")),
    "pct": Function(2, 2, _pct, frozenset({1})),
    "earliest": Function(1, 1, _first(False, True)),
    "latest": Function(1, 1, _first(True, True)),
    "sortsfirst": Function(1, 1, _first(False, False)),
    "sortslast": Function(1, 1, _first(True, False)),
}
