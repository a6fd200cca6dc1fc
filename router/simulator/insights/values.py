"""What a part of a query is as SQL: its text, what kind of value it gives, and how one kind becomes another.

Kinds. `text`: VARCHAR, also numbers that came as text; `number`: DOUBLE; `truth`: BOOLEAN, never NULL; `time`: BIGINT,
ms since 1970. NULL is a field that is not there. The `cb_…` macros are defined here too, because they are the other
half of this; the worker creates them. No text of a query is ever part of SQL: it goes along as a parameter.
"""

import re
from typing import Literal

import msgspec

Kind = Literal["text", "number", "truth", "time"]

_NUMERAL = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?"
NUMERAL = re.compile(_NUMERAL, re.ASCII)
"""Text that counts as a number."""

MACROS = (
    # A number, or NULL for what is none. Whole numbers are exact up to 2^53.
    f"CREATE MACRO cb_num(x) AS CASE WHEN regexp_full_match(x, '{_NUMERAL}') THEN cb_fin(TRY_CAST(x AS DOUBLE)) END",
    # The same for `=`: identifiers of many digits are compared as text only.
    "CREATE MACRO cb_short(x) AS CASE WHEN strlen(x) <= 15 THEN cb_num(x) END",
    # As Logs Insights writes a number: whole ones without a fraction, others with at most four digits of it.
    "CREATE MACRO cb_digits(r) AS CASE WHEN abs(r) >= 1e15 THEN CAST(r AS VARCHAR) "
    "WHEN r = trunc(r) THEN CAST(CAST(r AS BIGINT) AS VARCHAR) ELSE rtrim(printf('%.4f', r), '0') END",
    "CREATE MACRO cb_number(x) AS cb_digits(round(CAST(x AS DOUBLE), 4))",
    "CREATE MACRO cb_time(x) AS CASE WHEN x BETWEEN -62135596800000 AND 253402300799999 "
    "THEN strftime(epoch_ms(CAST(x AS BIGINT)), '%Y-%m-%d %H:%M:%S.%g') END",
    # A JSON value as a discovered field: texts without quotes, true and false as 1 and 0; others are none.
    "CREATE MACRO cb_leaf(j) AS CASE left(CAST(j AS VARCHAR), 1) WHEN '\"' THEN json_extract_string(j, '$') "
    "WHEN '{' THEN NULL WHEN '[' THEN NULL WHEN 'n' THEN NULL WHEN 't' THEN '1' WHEN 'f' THEN '0' "
    "ELSE CAST(j AS VARCHAR) END",
    # The order of `sort`: runs of digits by their length, then as they are; the rest by code point.
    "CREATE MACRO cb_natural(x) AS array_to_string(list_transform(regexp_extract_all(x, '[0-9]+|[^0-9]+'), "
    "lambda p: CASE WHEN p[1] BETWEEN '0' AND '9' THEN '0' || lpad(CAST(strlen(p) AS VARCHAR), 7, '0') || p "
    "ELSE p END), '')",
    "CREATE MACRO cb_ptr(g, p) AS to_base64(encode(CAST(g AS VARCHAR) || ':' || CAST(p AS VARCHAR)))",
    "CREATE MACRO cb_ipv4(x) AS CASE WHEN cb_is_ipv4(x) THEN TRY_CAST(split_part(x, '.', 1) AS BIGINT) * 16777216 + "
    "TRY_CAST(split_part(x, '.', 2) AS BIGINT) * 65536 + TRY_CAST(split_part(x, '.', 3) AS BIGINT) * 256 + "
    "TRY_CAST(split_part(x, '.', 4) AS BIGINT) END",
)
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_GROUP = "[0-9a-fA-F]{1,4}"


def _ipv6() -> str:
    short = [
        (f"({_GROUP}(:{_GROUP}){{0,{left - 1}}})?" if left else "")
        + "::"
        + (f"({_GROUP}(:{_GROUP}){{0,{6 - left}}})?" if left < 7 else "")
        for left in range(8)
    ]
    return "|".join([f"({_GROUP}:){{7}}{_GROUP}", *short])


FIRST_MACROS = (
    "CREATE MACRO cb_fin(x) AS CASE WHEN isfinite(x) THEN x END",
    f"CREATE MACRO cb_is_ipv4(x) AS coalesce(regexp_full_match(x, '{_BYTE}(\\.{_BYTE}){{3}}'), false)",
    f"CREATE MACRO cb_is_ipv6(x) AS coalesce(regexp_full_match(x, '{_ipv6()}'), false)",
)
"""Those that others are made of."""


class Value(msgspec.Struct, frozen=True):
    """SQL and its kind. `text` is set where the query has a text or a number as it stands there."""

    sql: str
    kind: Kind
    text: str | None = None


NOTHING = Value("CAST(NULL AS VARCHAR)", "text")


def as_text(value: Value) -> str:
    match value.kind:
        case "text":
            return value.sql
        case "number":
            return f"cb_number({value.sql})"
        case "truth":
            return f"(CASE WHEN {value.sql} THEN '1' ELSE '0' END)"
        case "time":
            return f"cb_time({value.sql})"


def as_number(value: Value) -> str:
    match value.kind:
        case "text":
            return f"cb_num({value.sql})"
        case "number":
            return value.sql
        case "truth":
            return f"(CASE WHEN {value.sql} THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END)"
        case "time":
            return f"CAST({value.sql} AS DOUBLE)"


def as_truth(value: Value) -> str:
    match value.kind:
        case "truth":
            return value.sql
        case "time":
            return f"({value.sql} IS NOT NULL)"
        case _:
            return f"coalesce({as_number(value)} <> 0, false)"


def as_time(value: Value) -> str:
    if value.kind == "time":
        return value.sql
    return f"TRY_CAST(trunc({as_number(value)}) AS BIGINT)"


def order_of(value: Value) -> list[str]:
    """What to order by, ascending: what is missing, then texts in natural order, then numbers ("sort")."""
    if value.kind != "text":
        return [f"({value.sql} IS NOT NULL)", value.sql]
    number = as_number(value)
    return [
        f"({value.sql} IS NOT NULL)",
        f"({number} IS NOT NULL)",
        f"(CASE WHEN {number} IS NULL THEN cb_natural({value.sql}) ELSE '' END)",
        number,
        value.sql,
    ]
