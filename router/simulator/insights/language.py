"""The Logs Insights language: from a query's text to its commands.

Promises: whatever the text, the answer is a list of commands or a `MalformedQuery` with its place, in time and depth
that the limits here bound. What AWS has and this hub has not is refused by name, never left out. Which functions there
are is `functions`' to say. Sources: the user guide's pages "CWL_QuerySyntax…".
"""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from router.simulator.insights.regexes import glob, translate
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
    SortKey,
    Star,
    Stats,
    Text,
)
from router.simulator.insights.tokens import Reader, Token

COMMANDS_MAX = 50  # ours
DEPTH_MAX = 50  # ours: parentheses, arguments and signs within each other
LIMIT_MAX = 100_000  # AWS

_NOT_HERE = frozenset(
    "addtotals anomaly countfrequent diff expand filterindex head join lookup pattern relevantfields source subqueries "
    "tail unmask unnest".split()
)
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_T = TypeVar("_T")


def parse(text: str) -> list[Command]:
    """The commands of a query. Raises MalformedQuery."""
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._reader = Reader(text)
        self._depth = 0

    # commands

    def query(self) -> list[Command]:
        commands: list[Command] = []
        reader = self._reader
        if reader.peek().kind == "end":
            raise MalformedQuery("the query has no command", 0, len(reader.text))
        while True:
            if reader.peek().is_sign("|"):  # in front of the first command
                reader.take()
            start = reader.peek().start
            commands.append(self._command())
            if len(commands) > COMMANDS_MAX:
                raise MalformedQuery(f"the query has more than {COMMANDS_MAX} commands", start, reader.last_end)
            if len(commands) > 1 and isinstance(commands[-2], Dedup) and not isinstance(commands[-1], Limit):
                raise MalformedQuery("only limit may come after dedup", start, reader.last_end)
            if reader.peek().kind == "end":
                return commands
            if not reader.peek().is_sign("|"):
                raise reader.unexpected("'|' or the end of the query")
            reader.take()

    def _command(self) -> Command:
        reader = self._reader
        token = reader.peek()
        name = token.value.lower() if token.kind == "name" and not token.quoted else ""
        known: dict[str, Callable[[int], Command]] = {
            "fields": self._fields,
            "display": self._display,
            "filter": self._filter,
            "stats": self._stats,
            "sort": self._sort,
            "limit": self._limit,
            "dedup": self._dedup,
            "parse": self._parse,
        }
        if name in _NOT_HERE:
            raise MalformedQuery(f"this hub has not the command {name}", token.start, token.end)
        if name not in known:
            raise reader.unexpected("one of " + ", ".join(known))
        reader.take()
        return known[name](token.start)

    def _fields(self, start: int) -> Fields:
        return Fields(columns=self._columns(), start=start, end=self._reader.last_end)

    def _display(self, start: int) -> Display:
        return Display(columns=self._columns(), start=start, end=self._reader.last_end)

    def _filter(self, start: int) -> Filter:
        return Filter(condition=self._expression(), start=start, end=self._reader.last_end)

    def _stats(self, start: int) -> Stats:
        columns = self._columns()
        by = self._columns() if self._reader.take_word("by") else ()
        return Stats(columns=columns, by=by, start=start, end=self._reader.last_end)

    def _sort(self, start: int) -> Sort:
        def key() -> SortKey:
            value = self._expression()
            descending = self._reader.take_word("desc")
            if not descending:
                self._reader.take_word("asc")
            return SortKey(value, descending)

        return Sort(keys=self._listed(key), start=start, end=self._reader.last_end)

    def _limit(self, start: int) -> Limit:
        self._reader.take_word("any")
        token = self._reader.peek()
        if token.kind != "number" or not token.value.isdigit():
            raise self._reader.unexpected("a whole number")
        if not 1 <= token.number <= LIMIT_MAX:
            raise MalformedQuery(f"expected a limit of 1 to {LIMIT_MAX}, got {token.value}", token.start, token.end)
        self._reader.take()
        return Limit(count=int(token.number), start=start, end=token.end)

    def _dedup(self, start: int) -> Dedup:
        return Dedup(keys=self._listed(self._expression), start=start, end=self._reader.last_end)

    def _parse(self, start: int) -> Parse:
        reader = self._reader
        value: Expression = Field(parts=("@message",), start=start, end=start)
        if reader.peek().kind != "text" and not reader.peek().is_sign("/"):
            value = self._primary()
        pattern = self._pattern()
        if isinstance(pattern, Regex):
            if not pattern.groups:
                raise MalformedQuery("expected a named group such as (?<name>\\w+)", pattern.start, pattern.end)
            return Parse(value=value, regex=pattern, names=pattern.groups, start=start, end=reader.last_end)
        if not reader.take_word("as"):
            raise reader.unexpected("'as' and a name for each *")
        names = self._listed(self._new_name)
        stars = pattern.value.count("*")
        if stars != len(names):
            raise MalformedQuery(
                f"expected as many names as there are * in the glob: {stars}, got {len(names)}",
                pattern.start,
                reader.last_end,
            )
        regex = glob(pattern.value, pattern.start, pattern.end)
        numbered = tuple((name, number) for number, name in enumerate(names, 1))
        return Parse(value=value, regex=regex, names=numbered, start=start, end=reader.last_end)

    def _new_name(self) -> str:
        token = self._reader.peek()
        if token.kind != "name" or not token.parts:
            raise self._reader.unexpected("a name")
        return self._reader.take().value

    def _columns(self) -> tuple[Named, ...]:
        return self._listed(self._column)

    def _column(self) -> Named:
        value = self._expression()
        if self._reader.take_word("as"):
            return Named(value, self._new_name())
        if isinstance(value, Field):
            return Named(value, value.name)
        return Named(value, self._reader.text[value.start : value.end])

    def _listed(self, one: Callable[[], _T]) -> tuple[_T, ...]:
        items = [one()]
        while self._reader.take_sign(","):
            items.append(one())
        return tuple(items)

    # expressions, by how closely they bind

    def _expression(self) -> Expression:
        return self._nested(lambda: self._logic("or", lambda: self._logic("and", self._negation)))

    def _nested(self, read: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            token = self._reader.peek()
            raise MalformedQuery(f"the expression is nested more than {DEPTH_MAX} deep", token.start, token.end)
        value = read()
        self._depth -= 1
        return value

    def _logic(self, operator: str, one: Callable[[], Expression]) -> Expression:
        values = [one()]
        while self._reader.take_word(operator):
            values.append(one())
        if len(values) == 1:
            return values[0]
        return Logic(
            operator="and" if operator == "and" else "or",
            values=tuple(values),
            start=values[0].start,
            end=self._reader.last_end,
        )

    def _negation(self) -> Expression:
        token = self._reader.peek()
        if not self._reader.take_word("not"):
            return self._comparison()
        value = self._nested(self._negation)
        return Not(value=value, start=token.start, end=self._reader.last_end)

    def _comparison(self) -> Expression:
        left = self._sum()
        reader = self._reader
        token = reader.peek()
        for operator in _COMPARISONS:
            if reader.take_sign(operator):
                right = self._sum()
                return Comparison(operator=operator, left=left, right=right, start=left.start, end=reader.last_end)  # type: ignore[arg-type]
        if reader.take_sign("=~"):
            return Like(value=left, pattern=self._pattern(), start=left.start, end=reader.last_end)
        negated = reader.take_word("not")
        value: Expression
        if reader.take_word("like"):
            value = Like(value=left, pattern=self._pattern(), start=left.start, end=reader.last_end)
        elif reader.take_word("in"):
            value = In(value=left, items=self._items(), start=left.start, end=reader.last_end)
        elif negated:
            raise reader.unexpected("'like' or 'in' after 'not'")
        else:
            return left
        return Not(value=value, start=token.start, end=reader.last_end) if negated else value

    def _pattern(self) -> Text | Regex:
        regex = self._reader.regex()
        if regex is not None:
            return translate(*regex)
        token = self._reader.peek()
        if token.kind != "text":
            raise self._reader.unexpected("a text in quotes or a regular expression between slashes")
        self._reader.take()
        return Text(value=token.value, start=token.start, end=token.end)

    def _items(self) -> tuple[Text | Number, ...]:
        self._reader.need_sign("[")
        items = self._listed(self._literal)
        self._reader.need_sign("]")
        return items

    def _literal(self) -> Text | Number:
        reader = self._reader
        start = reader.peek().start
        negative = reader.take_sign("-")
        token = reader.peek()
        if token.kind == "number":
            reader.take()
            return Number(value=-token.number if negative else token.number, start=start, end=token.end)
        if token.kind == "text" and not negative:
            reader.take()
            return Text(value=token.value, start=start, end=token.end)
        if token.is_word("true", "false") and not negative:
            reader.take()
            return Number(value=float(token.value.lower() == "true"), start=start, end=token.end)
        raise reader.unexpected("a text in quotes or a number")

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/", "%"), self._power))

    def _chain(self, signs: tuple[str, ...], one: Callable[[], Expression]) -> Expression:
        left = one()
        links = 0
        while self._reader.peek().is_sign(*signs):
            token = self._reader.take()
            links += 1
            if links > DEPTH_MAX:
                raise MalformedQuery(f"more than {DEPTH_MAX} operations in a row", left.start, token.end)
            left = self._arithmetic(token, left, one())
        return left

    def _power(self) -> Expression:
        left = self._sign()
        if self._reader.peek().is_sign("^"):
            token = self._reader.take()
            return self._arithmetic(token, left, self._nested(self._power))
        return left

    def _arithmetic(self, token: Token, left: Expression, right: Expression) -> Arithmetic:
        return Arithmetic(
            operator=token.value,  # type: ignore[arg-type]
            left=left,
            right=right,
            start=left.start,
            end=self._reader.last_end,
        )

    def _sign(self) -> Expression:
        token = self._reader.peek()
        if self._reader.take_sign("-"):
            value = self._nested(self._sign)
            return Negative(value=value, start=token.start, end=self._reader.last_end)
        return self._primary()

    def _primary(self) -> Expression:
        reader = self._reader
        token = reader.peek()
        if token.is_sign("("):
            reader.take()
            inner = self._expression()
            reader.need_sign(")")
            return replace(inner, start=token.start, end=reader.last_end)
        if token.kind in ("text", "number") or token.is_word("true", "false"):
            return self._literal()
        if token.kind == "period":
            reader.take()
            return Period(ms=token.ms, months=token.months, start=token.start, end=token.end)
        if token.kind != "name" or not token.parts:
            raise reader.unexpected("a field, a function, a text or a number")
        reader.take()
        if reader.peek().is_sign("(") and not token.quoted and len(token.parts) == 1:
            return self._call(token)
        return Field(parts=token.parts, start=token.start, end=token.end)

    def _call(self, token: Token) -> Call:
        reader = self._reader
        reader.need_sign("(")
        arguments: list[Expression] = []
        if not reader.peek().is_sign(")"):
            arguments.append(self._argument())
            while reader.take_sign(","):
                arguments.append(self._argument())
        reader.need_sign(")")
        return Call(function=token.value.lower(), arguments=tuple(arguments), start=token.start, end=reader.last_end)

    def _argument(self) -> Expression:
        token = self._reader.peek()
        if self._reader.take_sign("*"):
            return Star(start=token.start, end=token.end)
        return self._expression()
