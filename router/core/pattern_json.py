"""A pull reader over JSON text that stands, after each token, exactly where AWS's reader (Jackson) stands.

EventBridge answers a bad pattern with the reader's message and its line and column, so the place is part of the
contract: strings are read only when somebody needs their text or moves on, and a field name already looks at the
start of its value. The reader knows JSON only, nothing of patterns. It never recurses, so depth is no concern.

Columns count UTF-16 units from 1. `JsonSyntaxError.args[0]` is the whole message with its location line.
"""

from enum import Enum

SOURCE_UNITS_MAX = 500
"""Jackson quotes at most this many UTF-16 units of the text in a location."""

_SPACE = " \t\r\n"
_HEX = frozenset("0123456789abcdefABCDEF")
_DIGITS = frozenset("0123456789")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_TOKEN_UNITS_MAX = 256


class JsonSyntaxError(ValueError):
    """The text is not JSON; the message ends with the location line."""


class Token(Enum):
    START_OBJECT = "{"
    END_OBJECT = "}"
    START_ARRAY = "["
    END_ARRAY = "]"
    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    TRUE = "true"
    FALSE = "false"
    NULL = "null"
    END = ""


_LITERALS = {"t": ("true", Token.TRUE), "f": ("false", Token.FALSE), "n": ("null", Token.NULL)}
_CLOSERS = {"]": "Array", "}": "Object"}


class _Scope:
    """An open array or object (or the root), where it began, and whether it has had an entry."""

    __slots__ = ("at", "entries", "kind", "line", "line_start")

    def __init__(self, kind: str, line: int, line_start: int, at: int) -> None:
        self.kind = kind
        self.line = line
        self.line_start = line_start
        self.at = at
        self.entries = 0


class JsonReader:
    """Reads one token at a time; `name` is the last field name, `text()` the text of the current value."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._end = len(source)
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._scopes = [_Scope("root", 1, 0, -1)]
        self._token = Token.END
        self._after_name: Token | None = None
        self._value_at = 0
        self._value_line = 1
        self._value_line_start = 0
        self._unread = False
        self._text = ""
        self.name = ""

    @property
    def depth(self) -> int:
        return len(self._scopes) - 1

    # Places and errors

    def location(self, back: int = 0) -> str:
        """The location line for the current place, or for the character just read with `back=1`."""
        return self._place(self._line, self._line_start, self._at - back)

    def _place(self, line: int, line_start: int, at: int) -> str:
        row = self._source[line_start : max(at, 0)]
        column = len(row.encode("utf-16-le", "surrogatepass")) // 2 + (at >= 0)
        return f"[Source: (String){_quoted(self._source)}; line: {line}, column: {column}]"

    def _start(self, scope: _Scope) -> str:
        return self._place(scope.line, scope.line_start, scope.at)

    def error(self, message: str, back: int = 0) -> JsonSyntaxError:
        """An error about the current place, with its location line; to be raised."""
        return JsonSyntaxError(f"{message}\n at {self.location(back)}")

    def _unexpected(self, char: str, comment: str) -> JsonSyntaxError:
        return self.error(f"Unexpected character ({_described(char)}): {comment}", back=1)

    def _unexpected_in_number(self, char: str, comment: str) -> JsonSyntaxError:
        return self.error(f"Unexpected character ({_described(char)}) in numeric value: {comment}", back=1)

    def _ended(self, comment: str) -> JsonSyntaxError:
        return self.error(f"Unexpected end-of-input{comment}")

    # Tokens

    def next(self) -> Token:
        if self._token is Token.NAME and self._after_name is not None:
            token, self._after_name = self._after_name, None
            self._open(token)
            self._token = token
            return token
        if self._unread:
            self._read_string()
        char = self._skip_space()
        scope = self._scopes[-1]
        if not char:
            if scope.kind != "root":
                start = self._start(scope)
                raise self._ended(f": expected close marker for {scope.kind} (start marker at {start})")
            self._token = Token.END
            return Token.END
        if char in "]}":
            return self._close(char, scope)
        if scope.entries and scope.kind != "root":
            if char != ",":
                raise self._unexpected(char, f"was expecting comma to separate {scope.kind} entries")
            char = self._skip_space()
            if not char:
                raise self._ended(f" within/between {scope.kind} entries")
        scope.entries += 1
        if scope.kind == "Object":
            if char != '"':
                raise self._odd_name(char)
            self._read_name()
            self._after_name = self._value(self._skip_colon())
            self._token = Token.NAME
            return Token.NAME
        token = self._value(char)
        self._open(token)
        self._token = token
        return token

    def text(self) -> str:
        """The current token's text: a string's value, a number as written; moves behind a string's closing quote."""
        if self._unread:
            self._read_string()
        if self._token is Token.STRING or self._token is Token.NUMBER:
            return self._text
        return self.name if self._token is Token.NAME else self._token.value

    def _open(self, token: Token) -> None:
        if token is Token.START_OBJECT:
            self._scopes.append(_Scope("Object", self._value_line, self._value_line_start, self._value_at))
        elif token is Token.START_ARRAY:
            self._scopes.append(_Scope("Array", self._value_line, self._value_line_start, self._value_at))

    def _close(self, char: str, scope: _Scope) -> Token:
        if scope.kind != _CLOSERS[char]:
            expected = "}" if char == "]" else "]"
            start = self._start(scope)
            raise self.error(
                f"Unexpected close marker '{char}': expected '{expected}' (for {scope.kind} starting at {start})",
                back=1,
            )
        self._scopes.pop()
        self._token = Token(char)
        return self._token

    def _skip_space(self) -> str:
        """Moves behind the next character that is no white space and returns it; "" at the end."""
        source = self._source
        at, end = self._at, self._end
        while at < end:
            char = source[at]
            at += 1
            if char == "\n" or (char == "\r" and source[at : at + 1] != "\n"):
                self._line += 1
                self._line_start = at
            elif char not in _SPACE:
                self._at = at
                if char < " ":
                    raise self.error(
                        f"Illegal character ({_described(char)}): only regular white space (\\r, \\n, \\t) is allowed "
                        "between tokens",
                        back=1,
                    )
                return char
        self._at = at
        return ""

    def _skip_colon(self) -> str:
        char = self._skip_space()
        if char and char != ":":
            raise self._unexpected(char, "was expecting a colon to separate field name and value")
        if char:
            char = self._skip_space()
        if not char:
            raise self._ended(f" within/between {self._scopes[-1].kind} entries")
        return char

    def _value(self, char: str) -> Token:
        self._value_at = self._at - 1
        self._value_line = self._line
        self._value_line_start = self._line_start
        if char == '"':
            self._unread = True
            return Token.STRING
        if char in "[{":
            return Token(char)
        if char == "-" or char in _DIGITS:
            self._read_number(char)
            return Token.NUMBER
        if char in _LITERALS:
            word, token = _LITERALS[char]
            if self._source.startswith(word, self._at - 1):
                after = self._source[self._at + len(word) - 1 : self._at + len(word)]
                if not _identifier_part(after):
                    self._at += len(word) - 1
                    return token
            raise self._odd_token()
        raise self._odd_value(char)

    def _odd_name(self, char: str) -> JsonSyntaxError:
        return self._unexpected(char, "was expecting double-quote to start field name")

    def _odd_value(self, char: str) -> JsonSyntaxError:
        if char == "}":
            return self._unexpected(char, "expected a value")
        for word in ("NaN", "Infinity"):
            if self._source.startswith(word, self._at - 1):
                self._at += len(word) - 1
                return self.error(
                    f"Non-standard token '{word}': enable `JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow"
                )
        if char.isidentifier() or char == "$":
            return self._odd_token()
        return self._unexpected(char, f"expected a valid value {_VALUES}")

    def _odd_token(self) -> JsonSyntaxError:
        """The place is behind the token, as recorded on AWS (newer readers give its start)."""
        start = self._at - 1
        while self._at < self._end and _identifier_part(self._source[self._at]):
            self._at += 1
        word = self._source[start : self._at]
        if len(word) > _TOKEN_UNITS_MAX:
            word = word[:_TOKEN_UNITS_MAX] + "..."
        return self.error(f"Unrecognized token '{word}': was expecting {_VALUES}")

    # Numbers and strings

    def _read_number(self, first: str) -> None:
        source = self._source
        start = self._at - 1
        if first == "-":
            first = source[self._at : self._at + 1]
            if not first:
                raise self._ended(": expected a digit to follow minus sign, for valid numeric value")
            self._at += 1
            if first not in _DIGITS:
                raise self._unexpected_in_number(
                    first, "expected digit (0-9) to follow minus sign, for valid numeric value"
                )
        if first == "0" and source[self._at : self._at + 1] in _DIGITS:
            raise self.error("Invalid numeric value: Leading zeroes not allowed")
        self._skip_digits()
        if source[self._at : self._at + 1] == ".":
            self._at += 1
            self._digits_or_fail("Decimal point not followed by a digit")
        if source[self._at : self._at + 1] in ("e", "E"):
            self._at += 1
            if source[self._at : self._at + 1] in ("+", "-"):
                self._at += 1
            self._digits_or_fail("Exponent indicator not followed by a digit")
        after = source[self._at : self._at + 1]
        if self._scopes[-1].kind == "root" and after and after not in _SPACE:
            self._at += 1
            raise self._unexpected(after, "Expected space separating root-level values")
        self._text = source[start : self._at]

    def _skip_digits(self) -> None:
        while self._at < self._end and self._source[self._at] in _DIGITS:
            self._at += 1

    def _digits_or_fail(self, comment: str) -> None:
        if self._at >= self._end:
            raise self._ended(" in a Number value")
        char = self._source[self._at]
        if char not in _DIGITS:
            self._at += 1
            raise self._unexpected_in_number(char, comment)
        self._skip_digits()

    def _read_name(self) -> None:
        self.name = self._read_quoted(" in field name", "name")

    def _read_string(self) -> None:
        self._unread = False
        self._text = self._read_quoted(": was expecting closing quote for a string value", "string value")

    def _read_quoted(self, at_end: str, what: str) -> str:
        source, end = self._source, self._end
        parts: list[str] = []
        start = self._at
        while self._at < end:
            char = source[self._at]
            self._at += 1
            if char == '"':
                parts.append(source[start : self._at - 1])
                text = "".join(parts)
                return text if len(parts) == 1 or text.isascii() else _paired(text)
            if char == "\\":
                parts.append(source[start : self._at - 1])
                parts.append(self._read_escape())
                start = self._at
            elif char < " ":
                raise self.error(
                    f"Illegal unquoted character ({_described(char)}): has to be escaped using backslash to be "
                    f"included in {what}",
                    back=1,
                )
        raise self._ended(at_end)

    def _read_escape(self) -> str:
        if self._at >= self._end:
            raise self._ended(" in character escape sequence")
        char = self._source[self._at]
        self._at += 1
        if char != "u":
            if char not in _ESCAPES:
                raise self.error(f"Unrecognized character escape {_described(char)}", back=1)
            return _ESCAPES[char]
        code = self._source[self._at : self._at + 4]
        for digit in code:
            self._at += 1
            if digit not in _HEX:
                raise self._unexpected(digit, "expected a hex-digit for character escape sequence")
        if len(code) < 4:
            raise self._ended(" in character escape sequence")
        return chr(int(code, 16))


def _quoted(source: str) -> str:
    units = source.encode("utf-16-le", "surrogatepass")
    over = len(units) // 2 - SOURCE_UNITS_MAX
    if over > 0:
        source = units[: SOURCE_UNITS_MAX * 2].decode("utf-16-le", "surrogatepass")
    shown = "".join(f"\\u{ord(c):04X}" if _is_control(c) and c not in "\r\n" else c for c in source)
    return f'"{shown}"' + (f"[truncated {over} chars]" if over > 0 else "")


def _is_control(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f"


def _described(char: str) -> str:
    code = ord(char)
    if code > 0xFFFF:
        code = int.from_bytes(char.encode("utf-16-be")[:2], "big")
        char = chr(code)
    if _is_control(char):
        return f"(CTRL-CHAR, code {code})"
    return f"'{char}' (code {code} / 0x{code:x})" if code > 255 else f"'{char}' (code {code})"


def _identifier_part(char: str) -> bool:
    return bool(char) and (char == "$" or ("_" + char).isidentifier())


def _paired(text: str) -> str:
    """Joins escaped surrogate halves into the characters they stand for; lone halves stay."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
