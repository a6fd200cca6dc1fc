"""Rules for comparing matchers: they share fields, names and values, which are few in one set of rules.

A rule is a tree, so that an event can be made for it; its text is what matchers get. What matches what is not known
here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")

# In the order of UTF-16, which decides how array elements are bound, the emoji comes before U+FF61; "-" before ".".
NAMES = ("a", "b", "c", "a.b", "b.c", "d", "a-", "é", "\uff61", "😀", 'q"', "")
SOURCES = ("aws.ec2", "aws.s3", "shop", "Shop", "10.0.0.1", "010.0.0.1", "ключ")
ACCOUNTS = ("111111111111", "222222222222")
PLAIN_TEXTS = ("a", "ab", "abc", "b", "ba", "abab", "A", "aB", "")
ODD_TEXTS = (
    *("é", "É", "ß", "SS", "\u212a", "k", "ǆ", "ǅ", "😀", "a😀", "𐐀", "𐐨", "\ud800", "\udc00a", "\ud83d"),
    *("a*b", "a\\b", "*", "\\", '"', "\x00", " a", "1", "true", "null"),
)
ADDRESSES = (
    *("10.0.0.1", "10.0.0.01", "010.000.000.001", "10.0.0.9", "10.0.1.0", "10.0.0.256", "10.0.0", "0010.000.000.001"),
    *("::1", "0:0::1", "::", "::ffff:a00:1", "2001:db8::1", "2001:DB8::1", ":::", "::ffff:10.0.0.1"),
)
NETWORKS = ("10.0.0.0/29", "10.0.0.1/31", "10.0.0.0/8", "0.0.0.0/0", "::/64", "2001:db8::/32", "::ffff:a00:0/24")
EXACT_NUMBERS = (
    *("0", "1", "1.0", "-1", "2.5", "1e1", "10", "-0", "0.1", "1E+2", "100", "5e-324", "1.5e300"),
    *("9007199254740992", "9007199254740994", "18446744073709552000", "123456789012345.6", "1e21"),
)
INEXACT_NUMBERS = (
    *("1e400", "1E400", "1e-400", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("12345678901234567890", "0.12345678901234567890", "18446744073709551615", "1.00000000000000000001"),
)
CONSTANTS = ("true", "false", "null")


@dataclass(slots=True)
class Leaf:
    """The tests of a field, each with the text of a value that it may hold for; None where the field may be absent."""

    tests: list[tuple[str, str | None]]


@dataclass(slots=True)
class Group:
    fields: list[tuple[str, "Leaf | Group | Either"]]


@dataclass(slots=True)
class Either:
    branches: list[Group]


class Theme(NamedTuple):
    """The few names and values that one set of rules and its events are made of, so that they meet."""

    names: Sequence[str]
    texts: Sequence[str]
    numbers: Sequence[str]


def _theme(random: Random) -> Theme:
    texts, numbers = random.choices(PLAIN_TEXTS, k=3), ["1", random.choice(EXACT_NUMBERS)]
    if random.randrange(3) == 0:
        return Theme(NAMES[:3], texts, numbers)
    names = [random.choice(NAMES), *_neighbours(random, NAMES)]
    texts += [*_neighbours(random, ODD_TEXTS), *_neighbours(random, ADDRESSES)]
    return Theme(names, texts, [*numbers, random.choice(INEXACT_NUMBERS)])


def _neighbours(random: Random, choices: Sequence[str]) -> Sequence[str]:
    """Two that are easily taken for each other."""
    at = random.randrange(len(choices) - 1)
    return choices[at : at + 2]


THEMES = [_theme(Random(seed)) for seed in range(500)]


class Dice:
    """Choices, of what is told and of what the theme has."""

    def __init__(self, random: Random, *, enveloped: bool) -> None:
        self._below: Callable[[int], int] = random.randrange
        self.enveloped = enveloped
        self._names, self._texts, self._numbers = self.one(THEMES)

    def below(self, limit: int) -> int:
        return self._below(limit)

    def one(self, choices: Sequence[T]) -> T:
        return choices[self._below(len(choices))]

    def name(self) -> str:
        return self.one(self._names)

    def text(self) -> str:
        return self.one(self._texts)

    def number(self) -> str:
        return self.one(self._numbers)

    def scalar(self) -> str:
        match self.below(8):
            case 0:
                return self.one(CONSTANTS)
            case 1 | 2:
                return self.number()
            case _:
                return self.quoted(self.text())

    def quoted(self, text: str) -> str:
        return quoted(text, raw=self.below(4) == 0)


def quoted(text: str, *, raw: bool = False) -> str:
    """A JSON string; `raw` ones have no escapes that they can do without."""
    return json.dumps(text, ensure_ascii=not (raw and text.isprintable()))


# rules


def rule(dice: Dice, others: Sequence[Group]) -> Group:
    """A new rule, or one of the others with one field changed."""
    if others and dice.below(2):
        changed = _copied(dice.one(others))
        leaf = dice.one(_leaves(changed))
        if dice.below(2):
            leaf.tests[dice.below(len(leaf.tests))] = _test(dice)
        else:
            leaf.tests = _leaf(dice).tests
        return changed
    if not dice.enveloped:
        return _group(dice, 0)
    fields: list[tuple[str, Leaf | Group | Either]] = []
    if dice.below(4):
        fields.append(("source", _literals(dice, SOURCES)))
    match dice.below(8):
        case 0:
            fields.append(("detail-type", _literals(dice, PLAIN_TEXTS)))
        case 1:
            fields.append(("account", _literals(dice, ACCOUNTS)))
        case 2:
            fields.append(("resources", _leaf(dice)))
        case 3:
            fields.append(("$or", _either_source(dice)))
        case _:
            pass
    if not fields or dice.below(5):
        fields.insert(dice.below(len(fields) + 1), ("detail", _group(dice, 1)))
    return Group(fields)


def _copied(group: Group) -> Group:
    return Group([(name, _copied_inner(inner)) for name, inner in group.fields])


def _copied_inner(inner: "Leaf | Group | Either") -> "Leaf | Group | Either":
    if isinstance(inner, Leaf):
        return Leaf(list(inner.tests))
    return _copied(inner) if isinstance(inner, Group) else Either([_copied(one) for one in inner.branches])


def _literals(dice: Dice, texts: Sequence[str]) -> Leaf:
    if dice.below(8) == 0:
        return _leaf(dice)
    chosen = [quoted(dice.one(texts)) for _ in range(1 + dice.below(2))]
    return Leaf([(text, text) for text in chosen])


def _either_source(dice: Dice) -> Either:
    return Either(
        [
            Group([("source", _literals(dice, SOURCES))]),
            Group([("source", _literals(dice, SOURCES)), ("account", _literals(dice, ACCOUNTS))]),
        ]
    )


def _leaves(group: Group) -> list[Leaf]:
    found: list[Leaf] = []
    for _, inner in group.fields:
        if isinstance(inner, Leaf):
            found.append(inner)
        else:
            for one in inner.branches if isinstance(inner, Either) else [inner]:
                found += _leaves(one)
    return found


def _group(dice: Dice, depth: int) -> Group:
    fields: list[tuple[str, Leaf | Group | Either]] = []
    for _ in range(dice.one((1, 1, 2, 2, 3))):
        kind = dice.below(10)
        if kind < 4 and depth < 3:
            fields.append((dice.name(), _group(dice, depth + 1)))
        elif kind == 9 and depth < 3:
            fields.append(("$or", Either([_group(dice, 3) for _ in range(2 + dice.below(2))])))
        else:
            fields.append((dice.name(), _leaf(dice)))
    return Group(fields)


def _leaf(dice: Dice) -> Leaf:
    return Leaf([_test(dice) for _ in range(dice.one((1, 1, 1, 2, 3)))])


def _test(dice: Dice) -> tuple[str, str | None]:
    """A test's text and that of a value that it holds for, or at least often does."""
    kind = dice.below(20)
    if kind < 5:
        text = dice.scalar()
        return text, text
    if kind < 7:
        return ('{"exists":true}', dice.scalar()) if dice.below(4) == 0 else ('{"exists":false}', None)
    if kind < 9:
        return _numeric(dice)
    if kind == 9:
        return f'{{"cidr":"{dice.one(NETWORKS)}"}}', f'"{dice.one(ADDRESSES)}"'
    if kind < 13:
        return _anything_but(dice)
    text = dice.text()
    shown = quoted(text)
    match kind:
        case 13:
            return f'{{"exactly":{shown}}}', shown
        case 14:
            return f'{{"equals-ignore-case":{shown}}}', quoted(in_other_case(dice, text))
        case 15:
            return f'{{"prefix":{shown}}}', quoted(text + dice.text())
        case 16:
            return f'{{"suffix":{shown}}}', quoted(dice.text() + text)
        case 17:
            return f'{{"prefix":{{"equals-ignore-case":{shown}}}}}', quoted(in_other_case(dice, text) + dice.text())
        case 18:
            return f'{{"suffix":{{"equals-ignore-case":{shown}}}}}', quoted(dice.text() + in_other_case(dice, text))
        case _:
            return f'{{"wildcard":{quoted(_wildcard(dice, text))}}}', shown


def in_other_case(dice: Dice, text: str) -> str:
    return text.swapcase() if dice.below(3) else dice.text()


def _numeric(dice: Dice) -> tuple[str, str]:
    low, high = sorted((dice.one(EXACT_NUMBERS), dice.number()), key=float)
    bounds = [number for number in (low, high) if number in EXACT_NUMBERS]
    if len(bounds) == 2 and float(low) < float(high) and dice.below(2):
        signs = dice.one(((">", "<"), (">=", "<"), (">", "<="), (">=", "<=")))
        return f'{{"numeric":["{signs[0]}",{low},"{signs[1]}",{high}]}}', dice.one(bounds)
    return f'{{"numeric":["{dice.one(("=", "<", "<=", ">", ">="))}",{bounds[0]}]}}', bounds[0]


def _wildcard(dice: Dice, text: str) -> str:
    """One that holds for the text: with a star for some of it, and with escapes where they are needed."""
    begin = dice.below(len(text) + 1)
    end = begin + dice.below(len(text) + 1 - begin)
    before, after = (part.replace("\\", "\\\\").replace("*", "\\*") for part in (text[:begin], text[end:]))
    return f"{before}*{after}" if begin < len(text) or dice.below(4) else before


def _anything_but(dice: Dice) -> tuple[str, str]:
    form = dice.one(("", "", "number", "prefix", "suffix", "equals-ignore-case", "wildcard"))
    if form == "number":
        excluded = [dice.one(EXACT_NUMBERS) for _ in range(1 + dice.below(2))]
    else:
        texts = [dice.text() for _ in range(1 + dice.below(2))]
        if form == "wildcard":
            texts = [_wildcard(dice, text) for text in texts]
        elif form in ("prefix", "suffix"):
            texts = [text or "a" for text in texts]
        excluded = [quoted(text) for text in texts]
    operand = excluded[0] if len(excluded) == 1 and dice.below(2) else f"[{','.join(excluded)}]"
    if form not in ("", "number"):
        operand = f'{{"{form}":{operand}}}'
    return f'{{"anything-but":{operand}}}', dice.scalar()


def pattern_text(group: Group) -> str:
    return "{" + ",".join(f"{quoted(name)}:{_inner_text(inner)}" for name, inner in group.fields) + "}"


def _inner_text(inner: Leaf | Group | Either) -> str:
    if isinstance(inner, Leaf):
        return f"[{','.join(test for test, _ in inner.tests)}]"
    if isinstance(inner, Group):
        return pattern_text(inner)
    return f"[{','.join(map(pattern_text, inner.branches))}]"
