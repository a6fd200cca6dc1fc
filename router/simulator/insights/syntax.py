"""What a Logs Insights query is made of, once it is read: commands and expressions as values.

`start` and `end` are offsets into the query's text. The text between them names the columns that have no alias, and
tells a refusal where it stands. Nothing here knows SQL or events.
"""

from typing import Literal

import msgspec


class MalformedQuery(Exception):
    """The query cannot be understood, or asks for what this hub does not have; `start` and `end` say where."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


class Node(msgspec.Struct, frozen=True, kw_only=True):
    start: int
    end: int


class Field(Node, frozen=True, kw_only=True):
    """A field by name; `parts` are the steps from the event's root, arrays by index."""

    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.parts)


class Text(Node, frozen=True, kw_only=True):
    value: str


class Number(Node, frozen=True, kw_only=True):
    value: float


class Period(Node, frozen=True, kw_only=True):
    """A length of time: milliseconds, or calendar months where it is made of those."""

    ms: int = 0
    months: int = 0


class Regex(Node, frozen=True, kw_only=True):
    """In RE2's syntax. `groups` are the named groups: name and number."""

    pattern: str
    groups: tuple[tuple[str, int], ...] = ()


class Star(Node, frozen=True, kw_only=True):
    """The `*` of `count(*)`."""


class Call(Node, frozen=True, kw_only=True):
    """A function by its name in lower case."""

    function: str
    arguments: tuple["Expression", ...]


class Arithmetic(Node, frozen=True, kw_only=True):
    operator: Literal["+", "-", "*", "/", "%", "^"]
    left: "Expression"
    right: "Expression"


class Negative(Node, frozen=True, kw_only=True):
    value: "Expression"


class Comparison(Node, frozen=True, kw_only=True):
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    left: "Expression"
    right: "Expression"


class Like(Node, frozen=True, kw_only=True):
    """`like` and `=~`: a text that is contained, or a regular expression that is found."""

    value: "Expression"
    pattern: Text | Regex


class In(Node, frozen=True, kw_only=True):
    value: "Expression"
    items: tuple[Text | Number, ...]


class Not(Node, frozen=True, kw_only=True):
    value: "Expression"


class Logic(Node, frozen=True, kw_only=True):
    """`and` or `or` of two or more; flat, so that a long list is not a deep one."""

    operator: Literal["and", "or"]
    values: tuple["Expression", ...]


Expression = (
    Field | Text | Number | Period | Regex | Star | Call | Arithmetic | Negative | Comparison | Like | In | Not | Logic
)


class Named(msgspec.Struct, frozen=True):
    """An expression and what its column is called: the alias, the field's name, or the text as written."""

    value: Expression
    name: str


class Fields(Node, frozen=True, kw_only=True):
    columns: tuple[Named, ...]


class Display(Node, frozen=True, kw_only=True):
    columns: tuple[Named, ...]


class Filter(Node, frozen=True, kw_only=True):
    condition: Expression


class Stats(Node, frozen=True, kw_only=True):
    columns: tuple[Named, ...]
    by: tuple[Named, ...]


class SortKey(msgspec.Struct, frozen=True):
    value: Expression
    descending: bool


class Sort(Node, frozen=True, kw_only=True):
    keys: tuple[SortKey, ...]


class Limit(Node, frozen=True, kw_only=True):
    count: int


class Dedup(Node, frozen=True, kw_only=True):
    keys: tuple[Expression, ...]


class Parse(Node, frozen=True, kw_only=True):
    """`names` and the numbers of the groups that give them their values."""

    value: Expression
    regex: Regex
    names: tuple[tuple[str, int], ...]


Command = Fields | Display | Filter | Stats | Sort | Limit | Dedup | Parse
