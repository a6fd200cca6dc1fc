"""From a query's commands to one SELECT of DuckDB, a step (`WITH s1 AS (…)`) a command.

Theory. Every step selects all columns of the one before it, so that what was computed stays in reach; `stats` starts
anew with its own. Columns are called `c1`, `c2`…; the query's names live here, in `_Scope`. An order is a list of
terms over columns, applied where rows are cut off and at the end, so that "the first ten" never sorts more than it
must.

Promises: no text of the query is in the SQL (texts, numbers, patterns and paths are parameters, `$p1`…; a limit and a
percentile are written anew as numbers); the size of the SQL is bounded; the same query gives the same SQL. What cannot
be translated raises `MalformedQuery`.

The table `events` has pos, grp, ts, ing, stream, log, message and the discovered fields f1, f2… as text; which those
are is `Plan.fields`. It has only those of ing, stream, log and message that are `Plan.used`.
"""

from itertools import combinations
from typing import Any

import msgspec

from router.simulator.insights.functions import AGGREGATES, FUNCTIONS, Function, Using
from router.simulator.insights.language import parse
from router.simulator.insights.syntax import (
    Arithmetic,
    Call,
    Command,
    Comparison,
    Dedup,
    Display,
    Expression,
    Field,
    Fields,
    Filter,
    In,
    Like,
    Limit,
    Logic,
    MalformedQuery,
    Named,
    Negative,
    Not,
    Number,
    Parse,
    Period,
    Regex,
    Sort,
    Star,
    Stats,
    Text,
)
from router.simulator.insights.values import NOTHING, NUMERAL, Value, as_number, as_text, as_truth, order_of

SQL_CHARS_MAX = 200_000  # ours
FIELDS_MAX = 200  # AWS: the fields that are discovered in a JSON event
RESULTS_DEFAULT = 10_000  # AWS, where a query has no limit

_MESSAGE = Value("message", "text")
_SYSTEM: dict[str, Value] = {
    "@timestamp": Value("ts", "time"),
    "@ingestionTime": Value("ing", "time"),
    "@logStream": Value("stream", "text"),
    "@log": Value("log", "text"),
    "@message": _MESSAGE,
    "@ptr": Value("cb_ptr(grp, pos)", "text"),
}
_OPTIONAL = frozenset({"ing", "stream", "log", "message"})
_NEWEST_FIRST = ["ts DESC", "pos DESC"]
_EXACT_CHARS_MAX = 15
_POINTERS_MAX = 8  # ours: ways in which one name's periods may be read


class Plan(msgspec.Struct, frozen=True):
    """What the worker runs. `fields` are the JSON pointers that give each field, the first that is there counts.

    `columns` name what `select` gives, in order, all as text; `count` gives how many events matched.
    """

    select: str
    select_parameters: dict[str, Any]
    count: str
    count_parameters: dict[str, Any]
    columns: list[str]
    fields: list[list[str]]
    used: list[str]
    """Which of the columns ing, stream, log and message the query looks at; the others need not be there."""
    texts: list[int]
    """The columns that are the events' text as it is, where nothing else looks at it. It stays out of the database:
    `select` then ends with grp and pos, and who runs it fills them in."""


def translate(text: str, limit: int | None = None) -> Plan:
    """The plan of a query; `limit` is the request's own. Raises MalformedQuery."""
    return _Translation(text).plan(parse(text), limit)


class _Scope:
    """The names that a command may use. `raw`: those of events, where any name may be a field of the JSON."""

    def __init__(self, *, raw: bool) -> None:
        self.raw = raw
        self.names: dict[str, Value] = {}

    def find_text(self, text: str) -> Value | None:
        """A column that is called like this expression, blanks aside."""
        wanted = "".join(text.split()).lower()
        return next((value for name, value in self.names.items() if "".join(name.split()).lower() == wanted), None)


class _Translation:
    def __init__(self, text: str) -> None:
        self._text = text
        self._steps: list[str] = []
        self._parameters: dict[str, Any] = {}
        self._columns = 0
        self._fields: dict[str, tuple[str, list[str]]] = {}
        self._scope = _Scope(raw=True)
        self._order = self._among_equals = list(_NEWEST_FIRST)
        self._shown: dict[str, Value] = {}
        self._listed = False
        """Whether a command said what is shown; the event's time and text otherwise."""
        self._display: dict[str, Value] | None = None
        self._matched: int | None = None
        """How many steps lead to the rows that matched."""
        self._limit: int | None = None
        self._chars = 0
        self._start, self._end = 0, 0
        self._used: set[str] = set()

    def plan(self, commands: list[Command], limit: int | None) -> Plan:
        for command in commands:
            self._start, self._end = command.start, command.end
            self._command(command)
        shown = self._display
        if shown is None and not self._listed:
            shown = {name: _SYSTEM[name] for name in ("@timestamp", "@message")} | self._shown
        elif shown is None:
            shown = self._shown
        if self._scope.raw:
            shown = {**{name: value for name, value in shown.items() if name != "@ptr"}, "@ptr": self._system("@ptr")}
        self._cut_off()
        rows = self._limit if self._limit is not None else RESULTS_DEFAULT
        if limit is not None:
            rows = min(rows, limit) if self._limit is not None else limit
        texts = [
            number for number, value in enumerate(shown.values()) if value == _MESSAGE and "message" not in self._used
        ]
        given = [NOTHING if number in texts else value for number, value in enumerate(shown.values())]
        columns = ", ".join(f"{as_text(value)} AS r{number}" for number, value in enumerate(given))
        if texts:
            columns += ", grp, pos"
        select = self._with(len(self._steps)) + (
            f"SELECT {columns} FROM {self._last()} ORDER BY {', '.join(self._order)} LIMIT {rows:d}"
        )
        matched = self._matched or 0
        count = self._with(matched) + f"SELECT count(*) FROM {f's{matched}' if matched else 'events'}"
        self._check_size(select)
        return Plan(
            select=select,
            select_parameters=self._parameters_in(select),
            count=count,
            count_parameters=self._parameters_in(count),
            columns=list(shown),
            fields=[pointers for _, pointers in self._fields.values()],
            used=sorted(self._used),
            texts=texts,
        )

    # steps

    def _with(self, count: int) -> str:
        steps = ", ".join(f"s{number} AS ({step})" for number, step in enumerate(self._steps[:count], 1))
        return f"WITH {steps} " if steps else ""

    def _parameters_in(self, sql: str) -> dict[str, Any]:
        names = set(_parameter_names(sql))
        return {name: value for name, value in self._parameters.items() if name in names}

    def _last(self) -> str:
        return f"s{len(self._steps)}" if self._steps else "events"

    def _step(self, sql: str) -> None:
        self._steps.append(sql)
        self._chars += len(sql)
        self._check_size("")

    def _check_size(self, sql: str) -> None:
        if self._chars > SQL_CHARS_MAX or len(sql) > 2 * SQL_CHARS_MAX:
            raise MalformedQuery("the query is too complex", self._start, self._end)

    def _cut_off(self) -> None:
        """From here on rows are no longer those that matched."""
        if self._matched is None:
            self._matched = len(self._steps)

    def _keep(self, values: list[Value]) -> list[Value]:
        """New columns that hold these values from the next step on."""
        made, kept = [], []
        for value in values:
            self._columns += 1
            made.append(f"{value.sql} AS c{self._columns}")
            kept.append(Value(f"c{self._columns}", value.kind))
        self._step(f"SELECT *, {', '.join(made)} FROM {self._last()}")
        return kept

    def _parameter(self, value: Any) -> str:
        name = f"p{len(self._parameters) + 1}"
        self._parameters[name] = value
        return f"${name}"

    # commands

    def _command(self, command: Command) -> None:
        match command:
            case Fields():
                self._shown |= self._named(command.columns)
                self._listed = True
            case Display():
                self._display = self._named(command.columns)
            case Filter():
                condition = as_truth(self._value(command.condition))
                self._step(f"SELECT * FROM {self._last()} WHERE {condition}")
            case Stats():
                self._stats(command)
            case Sort():
                self._order = self._sorted([(self._value(key.value), key.descending) for key in command.keys])
            case Limit():
                self._cut_off()
                self._step(f"SELECT * FROM {self._last()} ORDER BY {', '.join(self._order)} LIMIT {command.count:d}")
                self._limit = command.count
            case Dedup():
                self._dedup(command)
            case Parse():
                self._parse(command)

    def _named(self, columns: tuple[Named, ...]) -> dict[str, Value]:
        """The columns by name; those that are computed are kept, so that later commands may use them."""
        shown = {column.name: _MESSAGE if self._is_message(column) else self._value(column.value) for column in columns}
        computed = {
            column.name: shown[column.name]
            for column in columns
            if not isinstance(column.value, Field) or column.value.name != column.name
        }
        if computed:
            kept = self._keep(list(computed.values()))
            shown |= dict(zip(computed, kept, strict=True))
            self._scope.names |= {name: shown[name] for name in computed}
        return shown

    def _is_message(self, column: Named) -> bool:
        """Whether the column shows the events' text under its own name, which does not count as looking at it."""
        plain = isinstance(column.value, Field) and column.value.name == column.name == "@message"
        return plain and self._scope.raw and "@message" not in self._scope.names

    def _sorted(self, keys: list[tuple[Value, bool]]) -> list[str]:
        terms = [
            f"{term} {'DESC' if descending else 'ASC'} NULLS FIRST"
            for value, descending in keys
            for term in order_of(value)
        ]
        return terms + self._among_equals

    def _stats(self, command: Stats) -> None:
        self._cut_off()
        by = [self._value(column.value) for column in command.by]
        made = [self._aggregated(column.value, command) for column in command.columns]
        names = [column.name for column in (*command.by, *command.columns)]
        kept, selected = [], []
        for value in (*by, *made):
            self._columns += 1
            selected.append(f"{value.sql} AS c{self._columns}")
            kept.append(Value(f"c{self._columns}", value.kind))
        groups = ", ".join(str(number) for number in range(1, len(by) + 1))
        self._step(f"SELECT {', '.join(selected)} FROM {self._last()}" + (f" GROUP BY {groups}" if groups else ""))
        self._scope = _Scope(raw=False)
        self._scope.names = dict(zip(names, kept, strict=True))
        self._shown = dict(self._scope.names)
        self._listed = True
        self._display = None
        self._limit = None
        self._among_equals = []
        self._order = self._among_equals = self._sorted([(value, False) for value in kept])

    def _dedup(self, command: Dedup) -> None:
        self._cut_off()
        keys = [as_text(self._value(key)) for key in command.keys]
        missing = " OR ".join(f"{key} IS NULL" for key in keys)
        rank = f"row_number() OVER (PARTITION BY {', '.join(keys)} ORDER BY {', '.join(self._order)})"
        self._step(f"SELECT * FROM {self._last()} QUALIFY {rank} = 1 OR {missing}")

    def _parse(self, command: Parse) -> None:
        text = as_text(self._value(command.value))
        pattern = self._parameter(command.regex.pattern)
        found = f"regexp_matches({text}, {pattern})"
        values = [
            Value(f"(CASE WHEN {found} THEN regexp_extract({text}, {pattern}, {number:d}) END)", "text")
            for _, number in command.names
        ]
        for (name, _), value in zip(command.names, self._keep(values), strict=True):
            self._scope.names[name] = value
            self._shown[name] = value

    # expressions

    def _system(self, name: str) -> Value:
        value = _SYSTEM[name]
        if value.sql in _OPTIONAL:
            self._used.add(value.sql)
        return value

    def _field(self, field: Field) -> Value:
        known = self._scope.names.get(field.name)
        if known is not None:
            return known
        if not self._scope.raw:
            return NOTHING
        if field.name in _SYSTEM:
            return self._system(field.name)
        if field.name.startswith("@") and not field.name.startswith("@@"):
            return NOTHING
        found = self._fields.get(field.name)
        if found is None:
            if len(self._fields) >= FIELDS_MAX:
                raise MalformedQuery(f"the query uses more than {FIELDS_MAX} fields", field.start, field.end)
            found = self._fields[field.name] = (f"f{len(self._fields) + 1}", _pointers(field.parts))
        return Value(found[0], "text")

    def _value(self, expression: Expression, *, aggregates: "Stats | None" = None) -> Value:
        value = self._translated(expression, aggregates)
        if len(value.sql) > SQL_CHARS_MAX:
            raise MalformedQuery("the expression is too complex", expression.start, expression.end)
        return value

    def _translated(self, expression: Expression, aggregates: "Stats | None") -> Value:
        match expression:
            case Field():
                return self._plain_field(expression, aggregates)
            case Text():
                return Value(f"CAST({self._parameter(expression.value)} AS VARCHAR)", "text", expression.value)
            case Number():
                return Value(f"CAST({self._parameter(expression.value)} AS DOUBLE)", "number")
            case Call():
                return self._call(expression, aggregates)
            case Arithmetic():
                return self._arithmetic(expression, aggregates)
            case Negative():
                return Value(f"(-{as_number(self._value(expression.value, aggregates=aggregates))})", "number")
            case Comparison():
                left = self._value(expression.left, aggregates=aggregates)
                right = self._value(expression.right, aggregates=aggregates)
                return _compared(expression.operator, left, right)
            case Like():
                return self._like(expression, aggregates)
            case In():
                value = self._value(expression.value, aggregates=aggregates)
                equal = [_equal(value, self._value(item)) for item in expression.items]
                return Value(f"({' OR '.join(equal)})", "truth")
            case Not():
                return Value(f"(NOT {as_truth(self._value(expression.value, aggregates=aggregates))})", "truth")
            case Logic():
                parts = [as_truth(self._value(part, aggregates=aggregates)) for part in expression.values]
                return Value(f"({f' {expression.operator} '.join(parts)})", "truth")
            case Period() | Regex() | Star():
                raise MalformedQuery("expected a field, a text or a number", expression.start, expression.end)

    def _like(self, expression: Like, aggregates: "Stats | None") -> Value:
        text = as_text(self._value(expression.value, aggregates=aggregates))
        if isinstance(expression.pattern, Regex):
            found = f"regexp_matches({text}, {self._parameter(expression.pattern.pattern)})"
        else:
            found = f"contains({text}, {self._parameter(expression.pattern.value)})"
        return Value(f"coalesce({found}, false)", "truth")

    def _arithmetic(self, expression: Arithmetic, aggregates: "Stats | None") -> Value:
        left = as_number(self._value(expression.left, aggregates=aggregates))
        right = as_number(self._value(expression.right, aggregates=aggregates))
        if expression.operator == "^":
            return Value(f"cb_fin(pow({left}, {right}))", "number")
        if expression.operator in "/%":
            right = f"nullif({right}, 0)"
        return Value(f"cb_fin({left} {expression.operator} {right})", "number")

    def _call(self, call: Call, aggregates: "Stats | None") -> Value:
        if not self._scope.raw and aggregates is None:
            known = self._scope.find_text(self._text[call.start : call.end])
            if known is not None:
                return known
        aggregate = AGGREGATES.get(call.function)
        function = aggregate or FUNCTIONS.get(call.function)
        if function is None:
            raise MalformedQuery(f"this hub has not the function {call.function}", call.start, call.end)
        if aggregate is not None and aggregates is None:
            raise MalformedQuery(f"{call.function} is for stats, and not within another", call.start, call.end)
        if call.function == "bin" and aggregates is not None:
            raise MalformedQuery(
                "expected a function such as count or sum, got bin: it goes after by", call.start, call.end
            )
        self._check_count(call, function)
        inner = None if aggregate is not None else aggregates
        values = [
            NOTHING if index in function.plain else self._value(argument, aggregates=inner)
            for index, argument in enumerate(call.arguments)
            if not (aggregate is not None and isinstance(argument, Star))
        ]
        time = self._system("@timestamp") if self._scope.raw else None
        return function.make(call, values, Using(self._parameter, time))

    def _check_count(self, call: Call, function: Function) -> None:
        got = len(call.arguments)
        if got < function.least or (function.most is not None and got > function.most):
            most = "" if function.most is None else f" to {function.most}"
            wanted = f"{function.least}{most}" if function.most != function.least else str(function.least)
            raise MalformedQuery(f"expected {wanted} arguments of {call.function}, got {got}", call.start, call.end)
        if any(isinstance(argument, Star) for argument in call.arguments) and call.function != "count":
            raise MalformedQuery(f"{call.function}(*) is not possible: name a field", call.start, call.end)

    def _aggregated(self, expression: Expression, stats: Stats) -> Value:
        return self._value(expression, aggregates=stats)

    def _plain_field(self, field: Field, stats: "Stats | None") -> Value:
        if stats is not None and not any(
            isinstance(column.value, Field) and column.value.name == field.name for column in stats.by
        ):
            raise MalformedQuery(f"expected a function such as count or sum, got {field.name}", field.start, field.end)
        return self._field(field)


def _parameter_names(sql: str) -> list[str]:
    return [part.partition(" ")[0].rstrip("),") for part in sql.split("$")[1:]]


def _pointers(parts: tuple[str, ...]) -> list[str]:
    """JSON pointers: every step a level, then with some periods as parts of names, as few as possible first."""
    first = parts[0][1:] if parts[0].startswith("@@") else parts[0]
    steps = [step.replace("~", "~0").replace("/", "~1") for step in (first, *parts[1:])]
    found: list[str] = []
    for periods in range(len(steps)):
        for places in combinations(range(1, len(steps)), periods):
            joined = (("." if place in places else "/") + step for place, step in enumerate(steps))
            found.append("".join(joined))
            if len(found) == _POINTERS_MAX:
                return found
    return found


def _compared(operator: str, left: Value, right: Value) -> Value:
    if operator == "=":
        return Value(_equal(left, right), "truth")
    if operator == "!=":
        return Value(f"(NOT {_equal(left, right)})", "truth")
    if left.kind == right.kind == "text":
        return Value(_texts_compared(operator, left, right), "truth")
    sides = (left, right)
    if {"text", "time"} == {left.kind, right.kind} and any(
        side.text is not None and NUMERAL.fullmatch(side.text) is None for side in sides
    ):
        return Value(f"coalesce({as_text(left)} {operator} {as_text(right)}, false)", "truth")
    return Value(f"coalesce({as_number(left)} {operator} {as_number(right)}, false)", "truth")


def _texts_compared(operator: str, left: Value, right: Value) -> str:
    """As numbers where both are; a text that stands in the query and is none spares the attempt."""
    plain = f"{left.sql} {operator} {right.sql}"
    if any(side.text is not None and NUMERAL.fullmatch(side.text) is None for side in (left, right)):
        return f"coalesce({plain}, false)"
    a, b = as_number(left), as_number(right)
    return f"coalesce(CASE WHEN {a} IS NOT NULL AND {b} IS NOT NULL THEN {a} {operator} {b} ELSE {plain} END, false)"


def _equal(left: Value, right: Value) -> str:
    if left.kind == right.kind == "text":
        plain = f"coalesce({left.sql} = {right.sql}, false)"
        numeral = all(
            side.text is None or (len(side.text) <= _EXACT_CHARS_MAX and NUMERAL.fullmatch(side.text))
            for side in (left, right)
        )
        if not numeral:
            return plain
        return f"({plain} OR coalesce(cb_short({left.sql}) = cb_short({right.sql}), false))"
    if {"text", "time"} == {left.kind, right.kind}:
        text = left if left.kind == "text" else right
        if text.text is None or NUMERAL.fullmatch(text.text) is None:
            return f"coalesce({as_text(left)} = {as_text(right)}, false)"
    return f"coalesce({as_number(left)} = {as_number(right)}, false)"
