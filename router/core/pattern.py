"""Event patterns: text in, an immutable `Pattern` out, or AWS's own words about what is wrong and where.

`parse` follows the published engine's compiler token by token, because the text and place of an error depend on when
it looks at what. A pattern becomes branches (what `$or` expands to); a branch is its fields by path, and a field is
the tests of which one must hold. Path steps are joined with `.`, so that `{"a.b": …}` and `{"a": {"b": …}}` are the
same field. Of a field given twice the last one counts, in whatever branch it stands. Sources: EventBridge user guide,
"eb-create-pattern" and "eb-create-pattern-operators"; recorded answers of TestEventPattern.
"""

from typing import NoReturn, TypeVar

import msgspec

from router.core.operators import (
    Absent,
    AddressRange,
    AnythingBut,
    Constant,
    EqualsIgnoreCase,
    Excludable,
    Exists,
    Number,
    OddNumber,
    Prefix,
    PrefixIgnoreCase,
    Range,
    Suffix,
    SuffixIgnoreCase,
    Test,
    Text,
    Wildcard,
    ip_address,
    looks_like_address,
    number,
)
from router.core.pattern_complexity import LIVE_PREFIXES_MAX, live_prefixes
from router.core.pattern_json import JsonReader, JsonSyntaxError, Token

_T = TypeVar("_T")

COMBINATIONS_MAX = 1000

_RESERVED_IN_OR = frozenset(
    [
        *("exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric", "cidr"),
        *("=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case"),
        *("date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range"),
        *("ip-address-in-range", "ip-address-not-in-range"),
    ]
)
_ONE_KEY = "Only one key allowed in match expression"
_TOO_MANY = "Too many elements in numeric expression"
_TOO_COMPLEX = (
    "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard "
    "character"
)
_NOT_EXCLUDABLE = {
    "equals-ignore-case": "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
    "wildcard": "wildcard match pattern must be a string",
    "prefix": "prefix/suffix match pattern must be a string",
    "suffix": "prefix/suffix match pattern must be a string",
}


class InvalidPattern(ValueError):
    """The pattern is refused; `str()` is the whole message that AWS answers with InvalidEventPatternException."""


class _Refused(ValueError):
    """A reason that has no place in the text."""


class Field(msgspec.Struct, frozen=True):
    """One condition of a branch: some value at `path` satisfies one of `tests`."""

    path: str
    tests: tuple[Test, ...]


Branch = tuple[Field, ...]
"""Conditions that all hold; sorted by path, which is the order in which the engine binds array elements."""


class Pattern(msgspec.Struct, frozen=True):
    """A parsed pattern. It matches when one branch does; `combinations` is the product over all `$or` lists."""

    text: str
    branches: tuple[Branch, ...]
    combinations: int
    wildcards: bool


def parse(text: str) -> Pattern:
    """The pattern that `text` is, or InvalidPattern.

    Its length and the number of wildcard rules on a bus are the caller's to check.
    """
    try:
        rules, combinations = _Compiler(JsonReader(text)).compile()
        branches = tuple(_branch(rule) for rule in rules)
        _check_limits(branches, combinations)
    except (JsonSyntaxError, _Refused) as error:
        raise InvalidPattern(f"Event pattern is not valid. Reason: {error}") from None
    wildcards = any(_wildcard_groups(field) for branch in branches for field in branch)
    return Pattern(text, branches, combinations, wildcards)


_Rule = dict[str, tuple[Test, ...]]


def _branch(rule: _Rule) -> Branch:
    return tuple(Field(path, rule[path]) for path in sorted(rule, key=_utf16))


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def _wildcard_groups(field: Field) -> list[list[tuple[str, ...]]]:
    groups = []
    for test in field.tests:
        tests = test.tests if isinstance(test, AnythingBut) else (test,)
        wildcards = [one.parts for one in tests if isinstance(one, Wildcard)]
        if wildcards:
            groups.append(wildcards)
    return groups


def _check_limits(branches: tuple[Branch, ...], combinations: int) -> None:
    if combinations > COMBINATIONS_MAX:
        raise _Refused(
            f"Rule is too complex - $or makes {combinations} combinations, at most {COMBINATIONS_MAX} are allowed"
        )
    for field in {id(field.tests): field for branch in branches for field in branch}.values():
        if live_prefixes(_wildcard_groups(field)) > LIVE_PREFIXES_MAX:
            raise _Refused(_TOO_COMPLEX)


class _Object:
    """An open object of the pattern: where it stands, and the rules that its fields go into."""

    __slots__ = ("has_fields", "in_or", "path", "rules")

    def __init__(self, path: str | None, rules: list[_Rule], *, in_or: bool) -> None:
        self.path = path
        self.rules = rules
        self.in_or = in_or
        self.has_fields = False


class _Or:
    """An open `$or` list: the rules before it, and those that its branches have made so far."""

    __slots__ = ("before", "made", "owner", "seen")

    def __init__(self, owner: _Object) -> None:
        self.owner = owner
        self.before = list(owner.rules)
        self.made: list[_Rule] = []
        self.seen = 0


class _Compiler:
    """Objects and `$or` lists nest as deep as 4,096 characters allow, so they are kept on a list, not on the stack."""

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader
        self._combinations = 1

    def compile(self) -> tuple[list[_Rule], int]:
        if self._reader.next() is not Token.START_OBJECT:
            raise self._reader.error("Filter is not an object")
        rules: list[_Rule] = []
        open_scopes: list[_Object | _Or] = [_Object(None, rules, in_or=False)]
        while open_scopes:
            scope = open_scopes[-1]
            inner = self._object_entry(scope) if isinstance(scope, _Object) else self._or_entry(scope)
            if inner is scope:
                open_scopes.pop()
                outer = open_scopes[-1] if open_scopes else None
                if isinstance(scope, _Object) and isinstance(outer, _Or):
                    outer.made += scope.rules
            elif inner is not None:
                open_scopes.append(inner)
        return rules, self._combinations

    def _object_entry(self, scope: _Object) -> _Object | _Or | None:
        """Reads one entry: the scope to go into, `scope` itself at its end, or None."""
        reader = self._reader
        if reader.next() is Token.END_OBJECT:
            if not scope.has_fields:
                raise reader.error("Empty objects are not allowed")
            return scope
        scope.has_fields = True
        name = reader.name
        if name == "$or":
            if reader.next() is not Token.START_ARRAY:
                raise reader.error("It must be an Array followed with $or.")
            return _Or(scope)
        if scope.in_or and name in _RESERVED_IN_OR:
            raise reader.error(f"{name} is Ruler reserved fieldName which cannot be used inside $or.")
        token = reader.next()
        if token is Token.START_OBJECT:
            path = name if scope.path is None else f"{scope.path}.{name}"
            return _Object(path, scope.rules, in_or=scope.in_or)
        if token is not Token.START_ARRAY:
            raise reader.error(f'"{name}" must be an object or an array')
        path = f"{scope.path}.{name}" if scope.path else name
        tests = _Tests(reader).read()
        if not scope.rules:
            scope.rules.append({})
        for rule in scope.rules:
            rule[path] = tests
        return None

    def _or_entry(self, scope: _Or) -> _Object | _Or | None:
        reader = self._reader
        token = reader.next()
        if token is Token.END_ARRAY:
            if scope.seen < 2:
                raise reader.error("There must have at least 2 Objects in $or relationship.")
            self._combinations *= scope.seen
            scope.owner.rules[:] = scope.made
            return scope
        if token is not Token.START_OBJECT:
            raise reader.error("Only JSON object is allowed in array of $or relationship.")
        scope.seen += 1
        rules = [dict(rule) for rule in scope.before] or [{}]
        if len(scope.made) + len(rules) > COMBINATIONS_MAX:
            # Refused at the end for its combinations; until then only what is wrong before that matters.
            scope.made.clear()
            rules = [{}]
        return _Object(scope.owner.path, rules, in_or=True)


class _Tests:
    """The tests in one field's array."""

    def __init__(self, reader: JsonReader) -> None:
        self._reader = reader

    def read(self) -> tuple[Test, ...]:
        reader = self._reader
        tests: list[Test] = []
        while (token := reader.next()) is not Token.END_ARRAY:
            if token is Token.START_OBJECT:
                tests.append(self._operator())
            elif token is Token.STRING:
                tests.append(_literal(reader.text()))
            elif token is Token.NUMBER:
                tests.append(Number(number(reader.text())))
            elif token in _CONSTANTS:
                tests.append(_CONSTANTS[token])
            else:
                raise reader.error("Match value must be String, number, true, false, or null")
        if not tests:
            raise reader.error("Empty arrays are not allowed")
        return tuple(dict.fromkeys(tests))

    def _operator(self) -> Test:
        reader = self._reader
        if reader.next() is not Token.NAME:
            raise reader.error("Match expression name not found")
        name = reader.name
        match name:
            case "exactly":
                return self._closed(Text(self._string("exact match pattern must be a string")))
            case "prefix" | "suffix":
                return self._end_of_text(name)
            case "equals-ignore-case":
                return self._closed(EqualsIgnoreCase(self._string(f"{name} match pattern must be a string")))
            case "wildcard":
                return self._closed(self._wildcard(self._string("wildcard match pattern must be a string")))
            case "numeric":
                if reader.next() is not Token.START_ARRAY:
                    raise reader.error("Value of numeric must be an array.")
                return self._closed(self._numeric(), _TOO_MANY)
            case "anything-but":
                return self._anything_but()
            case "exists":
                token = reader.next()
                if token is not Token.TRUE and token is not Token.FALSE:
                    raise reader.error("exists match pattern must be either true or false.")
                return self._closed(Exists() if token is Token.TRUE else Absent())
            case "cidr":
                # The engine's text says prefix here.
                return self._closed(_cidr(self._string("prefix match pattern must be a string")))
            case _:
                raise reader.error(f"Unrecognized match type {name}")

    def _string(self, otherwise: str) -> str:
        if self._reader.next() is not Token.STRING:
            raise self._reader.error(otherwise)
        return self._reader.text()

    def _closed(self, test: _T, otherwise: str = _ONE_KEY) -> _T:
        if self._reader.next() is not Token.END_OBJECT:
            raise self._reader.error(otherwise)
        return test

    def _end_of_text(self, name: str) -> Test:
        """`prefix` or `suffix`: of a string, or of `{"equals-ignore-case": string}`."""
        reader = self._reader
        token = reader.next()
        if token is Token.START_OBJECT:
            if reader.next() is not Token.NAME:
                raise reader.error(f"{name.capitalize()} expression name not found")
            if reader.name != "equals-ignore-case":
                raise reader.error(f"Unsupported {name} pattern: {reader.name}")
            text = self._string("equals-ignore-case match pattern must be a string")
            folded = PrefixIgnoreCase(text) if name == "prefix" else SuffixIgnoreCase(text)
            return self._closed(self._closed(folded))
        if token is not Token.STRING:
            raise reader.error(f"{name} match pattern must be a string")
        text = reader.text()
        return self._closed(Prefix(text) if name == "prefix" else Suffix(text))

    def _wildcard(self, text: str) -> Wildcard:
        try:
            return Wildcard(_wildcard_parts(text))
        except _Refused as error:
            raise self._reader.error(str(error)) from None

    def _numeric(self) -> Test:
        reader = self._reader
        if reader.next() is not Token.STRING:
            raise reader.error(f"Invalid member in numeric match: {reader.text()}")
        operator = reader.text()
        if operator not in ("=", "<", "<=", ">", ">="):
            reader.next()
            raise reader.error(f"Unrecognized numeric range operator: {operator}")
        first = self._bound("equals" if operator == "=" else operator)
        token = reader.next()
        if token is not Token.END_ARRAY:
            if operator not in (">", ">="):
                raise reader.error(_TOO_MANY)
            return self._two_bounds(token, operator, first)
        bound = self._comparable(first)
        if operator == "=":
            return Number(bound)
        if operator in ("<", "<="):
            return Range(None, False, bound, operator == "<")
        return Range(bound, operator == ">", None, False)

    def _two_bounds(self, token: Token, low_operator: str, low_text: str) -> Range:
        reader = self._reader
        if token is not Token.STRING:
            raise reader.error(f"Bad value in numeric range: {reader.text()}")
        operator = reader.text()
        if operator not in ("<", "<="):
            raise reader.error(f"Bad numeric range operator: {operator}")
        high_text = self._bound(operator)
        if reader.next() is not Token.END_ARRAY:
            raise reader.error("Too many terms in numeric range expression")
        low, high = self._comparable(low_text), self._comparable(high_text)
        if low >= high:
            raise reader.error("Bottom must be less than top")
        return Range(low, low_operator == ">", high, operator == "<")

    def _bound(self, operator: str) -> str:
        if self._reader.next() is not Token.NUMBER:
            raise self._reader.error(f"Value of {operator} must be numeric")
        return self._reader.text()

    def _comparable(self, text: str) -> float:
        value = number(text)
        if isinstance(value, OddNumber):
            raise self._reader.error(f"Cannot compare number : {text}")
        return value

    # anything-but

    def _anything_but(self) -> AnythingBut:
        reader = self._reader
        form = ""
        token = reader.next()
        if token is Token.START_OBJECT:
            if reader.next() is not Token.NAME:
                raise reader.error("Anything-But expression name not found")
            form = reader.name
            if form not in _NOT_EXCLUDABLE:
                raise reader.error(f"Unsupported anything-but pattern: {form}")
            token = reader.next()
        if token is Token.START_ARRAY:
            tests = self._excluded_list(form)
        elif token is Token.STRING or token is Token.NUMBER:
            tests = [self._excluded(form, token)]
        else:
            raise reader.error("Value of anything-but must be an array or single string/number value.")
        excluded = AnythingBut(tuple(dict.fromkeys(tests)))
        self._closed(excluded, _TOO_MANY)
        return self._closed(excluded, _TOO_MANY) if form else excluded

    def _excluded_list(self, form: str) -> list[Excludable]:
        reader = self._reader
        tests: list[Excludable] = []
        texts: list[str] = []
        try:
            while (token := reader.next()) is not Token.END_ARRAY:
                if form == "wildcard" and token is Token.STRING:
                    texts.append(reader.text())
                else:
                    tests.append(self._excluded(form, token))
        except (JsonSyntaxError, _Refused) as error:
            # The engine reports what went wrong inside the list a second time, from where it stands.
            raise reader.error(str(error)) from None
        tests += [self._wildcard(text) for text in texts]
        kinds = {type(test) for test in tests}
        if not form and len(kinds) != 1:
            raise reader.error(
                "Inside anything but list, either all values are number or string, mixed type is not supported"
            )
        if not kinds:
            raise _Refused("Empty arrays are not allowed")
        return tests

    def _excluded(self, form: str, token: Token) -> Excludable:
        reader = self._reader
        if token is not Token.STRING:
            if form or token is not Token.NUMBER:
                raise reader.error(
                    _NOT_EXCLUDABLE.get(form, "Inside anything but list, start|null|boolean is not supported.")
                )
            value = number(reader.text())
            if isinstance(value, OddNumber):
                raise _Refused(f"Cannot compare number : {value.text}")
            return Number(value)
        text = reader.text()
        if form in ("prefix", "suffix") and not text:
            raise reader.error("Null prefix/suffix not allowed")
        match form:
            case "prefix":
                return Prefix(text)
            case "suffix":
                return Suffix(text)
            case "equals-ignore-case":
                return EqualsIgnoreCase(text)
            case "wildcard":
                return self._wildcard(text)
            case _:
                return Text(text)


_CONSTANTS = {Token.TRUE: Constant(True), Token.FALSE: Constant(False), Token.NULL: Constant(None)}


def _literal(text: str) -> Text | AddressRange:
    address = ip_address(text)
    return Text(text) if address is None else AddressRange(address[0], address[1], address[1])


def _cidr(text: str) -> AddressRange:
    parts = text.rstrip("/").split("/") if text else [""]
    if len(parts) != 2:
        raise _Refused("Malformed CIDR, one '/' required")
    sign, digits = parts[1][:1], parts[1].lstrip("+-")
    if not digits.isdecimal() or len(parts[1]) - len(digits) > 1 or int(digits) > 2**31 - 1:
        raise _Refused("Malformed CIDR, mask bits must be an integer")
    mask_bits = -int(digits) if sign == "-" else int(digits)
    if mask_bits < 0:
        raise _Refused("Malformed CIDR, mask bits must not be negative")
    address = ip_address(parts[0])
    if address is None:
        kind = "Invalid" if looks_like_address(parts[0]) else "Nonstandard"
        raise _Refused(f"{kind} IP address: {parts[0]}")
    version, low = address
    size = 32 if version == 4 else 128
    if mask_bits >= size:
        raise _Refused(f"IPv{version} mask bits must be < {size}")
    host = (1 << (size - mask_bits)) - 1
    return AddressRange(version, low & ~host, low | host)


def _wildcard_parts(text: str) -> tuple[str, ...]:
    """The texts between the stars; places in errors count bytes from the opening quote."""
    parts, part, at = [], "", 0
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        if char == "*":
            if after == "*":
                _refuse_at("Consecutive wildcard characters", text, at)
            parts.append(part)
            part = ""
        elif char == "\\":
            if after not in ("*", "\\"):
                _refuse_at("Invalid escape character", text, at)
            part += after
            at += 1
        else:
            part += char
        at += 1
    return (*parts, part)


def _refuse_at(what: str, text: str, at: int) -> NoReturn:
    raise _Refused(f"{what} at pos {1 + len(text[:at].encode('utf-8', 'surrogatepass'))}")
