"""What a pattern's `$or` branches have to do with each other: which covers which, and which fields each one is given.

`covers` is careful: it says yes only where it is certain for every event, arrays and absent fields included; a no may
be a yes that is too hard to see. Nothing here knows the envelope.
"""

from collections.abc import Iterable, Iterator

import msgspec

from router.core.operators import (
    Absent,
    AddressRange,
    AnythingBut,
    Constant,
    Exists,
    Number,
    Prefix,
    Range,
    Suffix,
    Test,
    Text,
)
from router.core.pattern import Branch
from router.core.pattern_json import JsonReader, Token

Chain = tuple[tuple[int, int], ...]
"""The branches that a field stands in: (`$or` number, branch number), outermost first."""


def covers(wide: Branch, narrow: Branch) -> bool:
    """Whether it is certain that every event that matches `narrow` matches `wide`.

    Each field of `wide` must be in `narrow`, with tests that imply its own. Where absence counts, the fields must be
    the same ones: in arrays, other fields decide in which elements one is looked for.
    """
    tests = {field.path: field.tests for field in narrow}
    if len(wide) > len(narrow) or not all(
        field.path in tests and _all_imply(tests[field.path], field.tests) for field in wide
    ):
        return False
    return len(wide) == len(narrow) or not any(type(test) is Absent for field in wide for test in field.tests)


def _all_imply(narrow: Iterable[Test], wide: tuple[Test, ...]) -> bool:
    return all(any(_implies(test, other) for other in wide) for test in narrow)


def _implies(narrow: Test, wide: Test) -> bool:
    """Whether every value that satisfies `narrow` is certain to satisfy `wide`."""
    if narrow == wide:
        return True
    match narrow, wide:
        case Absent(), _:
            return False
        case _, Exists():
            return True
        case Text(text), _:
            return wide.holds(text)
        case Number(value), _:
            return wide.holds(value)
        case Constant(constant), _:
            return wide.holds(constant)
        case (Prefix(text), Prefix(start)):
            return text.startswith(start)
        case (Suffix(text), Suffix(end)):
            return text.endswith(end)
        case Range(), Range():
            return _within(narrow, wide)
        case AddressRange(), AddressRange():
            return narrow.version == wide.version and wide.low <= narrow.low and narrow.high <= wide.high
        case AnythingBut(excluded), AnythingBut(fewer):
            return set(fewer) <= set(excluded)
        case _:
            return False


def _within(narrow: Range, wide: Range) -> bool:
    low_fits = wide.low is None or (
        narrow.low is not None
        and (narrow.low > wide.low or (narrow.low == wide.low and (narrow.low_open or not wide.low_open)))
    )
    high_fits = wide.high is None or (
        narrow.high is not None
        and (narrow.high < wide.high or (narrow.high == wide.high and (narrow.high_open or not wide.high_open)))
    )
    return low_fits and high_fits


def in_one_branch(one: Chain, other: Chain) -> bool:
    """Whether some branch is given the fields of both."""
    branches = dict(one)
    return all(branches.get(number, branch) == branch for number, branch in other)


def fields_as_written(text: str) -> Iterator[tuple[str, Chain]]:
    """Every field of a good pattern in the order of the text, with the (`$or`, branch) pairs it stands in."""
    reader = JsonReader(text)
    reader.next()
    scopes = [_Scope("", ())]
    numbers = 0
    while scopes:
        scope = scopes[-1]
        token = reader.next()
        if token in (Token.END_OBJECT, Token.END_ARRAY):
            scopes.pop()
        elif scope.number is not None:
            scopes.append(_Scope(scope.path, (*scope.chain, (scope.number, scope.branches))))
            scope.branches += 1
        else:
            name = reader.name
            value = reader.next()
            path = f"{scope.path}.{name}" if scope.path else name
            if name == "$or":
                numbers += 1
                scopes.append(_Scope(scope.path, scope.chain, number=numbers))
            elif value is Token.START_OBJECT:
                scopes.append(_Scope(path, scope.chain))
            else:
                yield path, scope.chain
                _pass_over(reader)


def _pass_over(reader: JsonReader) -> None:
    """Read to the end of the array that is open."""
    around = reader.depth
    while reader.depth >= around:
        reader.next()


class _Scope(msgspec.Struct):
    """An open object, or with `number` an open `$or` list; `chain` names the branches it stands in."""

    path: str
    chain: Chain
    number: int | None = None
    branches: int = 0
