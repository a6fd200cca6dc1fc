"""What is wrong with a pattern that nothing refuses: rules that can never match, branches that decide nothing, values
that look like slips of the pen.

The envelope's fields are known (`version`, `id`, `detail-type`, `source`, `account`, `time`, `region` and `replay-name`
are texts, `resources` is a list of texts, `detail` an object; every event has all of them but `replay-name`, and
`resources` may be empty), so what a pattern asks of them can be judged for certain. What producers put into `detail` is
not known: there, only what holds for every JSON object is certain. `Certainty` says which it is. Sources: EventBridge
user guide, "eb-events" and "eb-create-pattern".

A pattern that is refused gets its refusal, and where the reason can be told, what was meant (`pattern_slips.py`).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from typing import Any, Literal

import msgspec

from router.core.explain import Distance, distance_of, explain_object, paths_of
from router.core.operators import (
    Absent,
    AnythingBut,
    Constant,
    EqualsIgnoreCase,
    Exists,
    Number,
    Prefix,
    PrefixIgnoreCase,
    Range,
    Suffix,
    SuffixIgnoreCase,
    Test,
    Text,
    Wildcard,
)
from router.core.pattern import Branch, Field, InvalidPattern, Pattern, parse
from router.core.pattern_branches import Chain, covers, fields_as_written, in_one_branch
from router.core.pattern_slips import OPERATORS, slips
from router.core.pattern_text import expected, listed, one_of, quoted, readable

Certainty = Literal["refused", "never", "unreachable", "suspect"]
"""`refused`: no rule can have the pattern. `never`: no event on a bus matches it. `unreachable`: a value or an `$or`
branch of it can be left out without a change. `suspect`: it may match, but hardly as it was meant."""

TEXTS = ("version", "id", "detail-type", "source", "account", "time", "region", "replay-name")
"""The envelope's fields that are texts."""
ENVELOPE = (*TEXTS, "resources", "detail")
BRANCHES_COMPARED_MAX = 256
"""Of a pattern with more branches, only equal ones are found."""

_MAY_BE_ABSENT = ("replay-name", "resources")
_FORMS = {
    "account": (re.compile(r"[0-9]{12}").fullmatch, "an account of 12 digits"),
    "region": (re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+-[0-9]{1,2}[a-z]?").fullmatch, "a region such as us-east-1"),
}
_HARDLY_FIELDS = frozenset(OPERATORS) - {"prefix", "cidr"}


class PatternWarning(msgspec.Struct, frozen=True):
    """One thing that is wrong; `path` is empty where it is about the whole pattern, `message` says what to do."""

    code: str
    certainty: Certainty
    path: str
    message: str


def warnings(pattern_text: str) -> list[PatternWarning]:
    """What is wrong with one pattern, each thing once; empty for a good one."""
    try:
        pattern = parse(pattern_text)
    except InvalidPattern as refusal:
        return [
            PatternWarning("refused", "refused", "", _in_one_line(str(refusal))),
            *(PatternWarning("slip", "refused", path, text) for path, text in slips(pattern_text)),
        ]
    fields = {(field.path, id(field.tests)): field for branch in pattern.branches for field in branch}
    dead = {key for key, field in fields.items() if _is_dead(field)}
    alive = [
        branch for branch in pattern.branches if not any((field.path, id(field.tests)) in dead for field in branch)
    ]
    found = [
        *(warning for field in fields.values() for warning in _field_warnings(field, rule_dead=not alive)),
        *_branch_warnings(alive),
        *_given_twice(pattern_text),
    ]
    return list(dict.fromkeys(found))


def _in_one_line(refusal: str) -> str:
    """A refusal without the pattern's whole text, which AWS puts into it."""
    return re.sub(
        r"\n at \[Source: .*?; line: ([0-9]+), column: ([0-9]+)\]", r" (line \1, column \2)", refusal, flags=re.S
    )


def sample_warning(pattern: Pattern, events: Sequence[Mapping[str, Any]]) -> PatternWarning | None:
    """That no event of a sample (as `decode_object` gives them) matches, and how the nearest one differs."""
    paths = paths_of(pattern)
    best: tuple[Distance, int] | None = None
    for index, event in enumerate(events):
        try:
            distance = distance_of(pattern, paths.values(event))
        except ValueError:  # it takes more steps than an event may take, so no bus takes it
            continue
        if not distance.unmatched:
            return None
        if best is None or (distance, index) < best:
            best = (distance, index)
    if best is None:
        return None
    index = best[1]
    near = explain_object(pattern, events[index])
    path = next((field.path for field in near.fields if not field.holds), "")
    said = f"matches none of the {len(events)} sample events; the nearest, event {index + 1}"
    return PatternWarning(
        "no-sample-matches",
        "suspect",
        path,
        f"{'does not match the sample event' if len(events) == 1 else said}: {near.summary}",
    )


# fields


def _is_dead(field: Field) -> bool:
    """Whether no event on a bus satisfies the field."""
    head, inside, _ = field.path.partition(".")
    if head == "detail" and inside:
        return False
    if head not in ENVELOPE or head == "detail" or inside:
        return not any(type(test) is Absent for test in field.tests)  # no event has a value there
    return not any(_may_hold(test, head) for test in field.tests)


def _may_hold(test: Test, name: str) -> bool:
    """Whether an envelope's text, or list of texts, can satisfy the test."""
    if isinstance(test, Absent):
        return name in _MAY_BE_ABSENT
    return not isinstance(test, Number | Range | Constant)


def _field_warnings(field: Field, *, rule_dead: bool) -> Iterator[PatternWarning]:
    path = field.path
    head, inside, rest = path.partition(".")
    certain: Certainty = "never" if rule_dead else "unreachable"
    absent = any(type(test) is Absent for test in field.tests)
    if head not in ENVELOPE:
        yield _no_such_field(path, absent=absent, certain=certain)
    elif head == "detail" and not inside:
        yield _values_of_detail(field.tests, absent=absent, certain=certain)
    elif head != "detail" and inside:
        yield _inside_a_text(head, rest, path, absent=absent, certain=certain)
    else:
        if head != "detail":
            yield from _wrong_kinds(field, head, certain if _is_dead(field) else "unreachable")
            yield from _wrong_forms(field, head)
        elif path.rpartition(".")[2] in _HARDLY_FIELDS:
            operator = path.rpartition(".")[2]
            yield PatternWarning(
                "operator-as-field",
                "suspect",
                path,
                f"{operator} is taken for a field's name here; an operator stands inside a list: write "
                f'[{{"{operator}": …}}] as the value of {readable(path.rpartition(".")[0])}',
            )
        yield from _white_space(field)
        yield from _always_holds(field)


def _vacuous(path: str, what: str) -> PatternWarning:
    return PatternWarning(
        "always-holds",
        "suspect",
        path,
        f"absent holds for every event, because {what}: remove it, or name another field",
    )


def _no_such_field(path: str, *, absent: bool, certain: Certainty) -> PatternWarning:
    head = path.partition(".")[0]
    if absent:
        return _vacuous(path, f"no event has the field {readable(head)}")
    meant = _meant(head)
    if meant is None:
        advice = f"What a producer sends stands under detail: write {readable(f'detail.{path}')}"
    else:
        advice = f"Write {meant}{path[len(head) :]}"
    return PatternWarning(
        "no-such-field",
        certain,
        path,
        f"expected one of {', '.join(ENVELOPE)}, got {quoted(head)}: no event on a bus has that field, so this can "
        f"never match. {advice}",
    )


def _meant(name: str) -> str | None:
    """The envelope's field that a name is a slip for."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    names = {re.sub(r"[^a-z]", "", field): field for field in ENVELOPE}
    if plain in names:
        return names[plain]
    close = get_close_matches(plain, names, n=1, cutoff=0.8)
    return names[close[0]] if close else None


def _values_of_detail(tests: tuple[Test, ...], *, absent: bool, certain: Certainty) -> PatternWarning:
    if absent:
        return _vacuous("detail", "detail is an object and never a value")
    literals = [test.text for test in tests if isinstance(test, Text)]
    if any(_is_json_object(text) for text in literals):
        return PatternWarning(
            "quoted-json",
            certain,
            "detail",
            "expected an object, got JSON written as text: detail is always an object, so this can never match. Write "
            "the object itself, without the list and the quotes around it",
        )
    if literals and all(text.endswith(" via CloudTrail") for text in literals):
        advice = f'That is a detail-type: write "detail-type": [{", ".join(map(quoted, literals))}]'
    else:
        advice = 'Name a field inside it, such as {"detail": {"eventName": [...]}}'
    return PatternWarning(
        "list-under-detail",
        certain,
        "detail",
        f"expected an object, got a list of values ({listed([expected(test) for test in tests])}): detail is always an "
        f"object, so this can never match. {advice}",
    )


def _is_json_object(text: str) -> bool:
    try:
        return type(json.loads(text)) is dict
    except (ValueError, RecursionError):
        return False


def _inside_a_text(head: str, rest: str, path: str, *, absent: bool, certain: Certainty) -> PatternWarning:
    if absent:
        return _vacuous(path, f"{head} is always {_kind(head)}")
    if rest in OPERATORS:
        advice = f'An operator stands inside a list: write "{head}": [{{"{rest}": …}}]'
    else:
        advice = f'Write "{head}": ["…"], or move {readable(rest)} under detail'
    return PatternWarning(
        "inside-a-text",
        certain,
        path,
        f"expected a list of values, got an object: {head} is always {_kind(head)}, so this can never match. {advice}",
    )


def _wrong_kinds(field: Field, head: str, certain: Certainty) -> Iterator[PatternWarning]:
    """Tests that an envelope's text never satisfies."""
    for test in field.tests:
        if _may_hold(test, head):
            continue
        if isinstance(test, Absent):
            text = f"expected a value, got absent: every event has {head}, so this can never hold. Remove it"
        else:
            advice = f"Put quotes around it: {quoted(expected(test))}" if isinstance(test, Number) else "Remove it"
            said = f"{head} is always {_kind(head)}, so this can never hold"
            text = f"expected a text, got {expected(test)}: {said}. {advice}"
        yield PatternWarning("wrong-kind", certain, field.path, text)


def _kind(head: str) -> str:
    return "a list of texts" if head == "resources" else "a text"


def _wrong_forms(field: Field, head: str) -> Iterator[PatternWarning]:
    for test in field.tests:
        if isinstance(test, Text) and head in _FORMS and not _FORMS[head][0](test.text) and "${" not in test.text:
            text = f"expected {_FORMS[head][1]}, got {quoted(test.text)}"
            yield PatternWarning("wrong-form", "suspect", field.path, text)


def _white_space(field: Field) -> Iterator[PatternWarning]:
    tests = [inner for test in field.tests for inner in (test.tests if isinstance(test, AnythingBut) else (test,))]
    for test in tests:
        text, trimmed = _trimmed(test)
        if text != trimmed:
            yield PatternWarning(
                "white-space",
                "suspect",
                field.path,
                f"expected {quoted(trimmed)}, got {quoted(text)}: white space is compared like any character, so it "
                "must be there in the event too. Remove it",
            )


def _trimmed(test: Test) -> tuple[str, str]:
    """A test's text, and the same without white space where a value begins or ends."""
    match test:
        case Text(text) | EqualsIgnoreCase(text):
            return text, text.strip()
        case Prefix(text) | PrefixIgnoreCase(text):
            return text, text.lstrip()
        case Suffix(text) | SuffixIgnoreCase(text):
            return text, text.rstrip()
        case Wildcard(parts):
            text = "*".join(parts)
            return text, text.strip()
        case _:
            return "", ""


def _always_holds(field: Field) -> Iterator[PatternWarning]:
    """Alternatives of which one always holds: a list means or, and not and."""
    kinds = {type(test) for test in field.tests}
    if kinds >= {Exists, Absent}:
        yield PatternWarning(
            "always-holds", "suspect", field.path, "present or absent holds for every event: remove one of the two"
        )
    excluding = [test for test in field.tests if isinstance(test, AnythingBut)]
    for one, other in combinations(excluding, 2):
        if all(isinstance(test, Text | Number) for test in (*one.tests, *other.tests)) and not (
            set(one.tests) & set(other.tests)
        ):
            yield PatternWarning(
                "always-holds",
                "suspect",
                field.path,
                f"{expected(one)} or {expected(other)} holds for every value, because a list means or. Exclude all of "
                "them in one anything-but with a list",
            )


# branches


def _branch_warnings(branches: Sequence[Branch]) -> Iterator[PatternWarning]:
    for branch in branches:
        yield from _values_and_objects(branch)
    if len(branches) > BRANCHES_COMPARED_MAX:
        if len(set(branches)) < len(branches):
            yield PatternWarning(
                "redundant-branch", "unreachable", "$or", "two of its combinations are the same: remove one"
            )
        return
    left_out: set[int] = set()
    for at, branch in enumerate(branches):
        for other_at, other in enumerate(branches):
            if other_at != at and other_at not in left_out and covers(other, branch):
                left_out.add(at)
                yield _redundant(branch, other)
                break


def _values_and_objects(branch: Branch) -> Iterator[PatternWarning]:
    """A field that must have a value, and another inside it: only an array of both kinds has them."""
    needed = {field.path for field in branch if not any(type(test) is Absent for test in field.tests)}
    for path in sorted(needed):
        steps = path.split(".")
        outer = next((".".join(steps[:end]) for end in range(2, len(steps)) if ".".join(steps[:end]) in needed), None)
        if outer is not None:
            yield PatternWarning(
                "value-and-object",
                "suspect",
                path,
                f"{readable(outer)} must be a value and also an object with this field in it: only an array that mixes "
                "the two has both. Remove one, or make them branches of $or",
            )


def _redundant(branch: Branch, other: Branch) -> PatternWarning:
    theirs = {field.path: field.tests for field in other}
    different = [field for field in branch if theirs.get(field.path) != field.tests]
    if not different:
        text = f"two branches ask for the same ({_asked(branch)}): remove one"
    else:
        paths = {field.path for field in different}
        covering = [field for field in other if field.path in paths]
        text = (
            f"the branch with {_asked(different)} decides nothing: every event that matches it matches the branch "
            f"{f'with {_asked(covering)}' if covering else 'without it'} too. Remove it, or make the other narrower"
        )
    return PatternWarning("redundant-branch", "unreachable", "$or", text)


def _asked(fields: Sequence[Field]) -> str:
    return listed([f"{readable(field.path)} {one_of(field.tests)}" for field in fields], 3)


# what is given twice


def _given_twice(text: str) -> Iterator[PatternWarning]:
    """Fields of which one replaces another in some branch; one warning a path."""
    chains: dict[str, list[Chain]] = {}
    for path, chain in fields_as_written(text):
        chains.setdefault(path, []).append(chain)
    for path, places in chains.items():
        if any(one == other for one, other in combinations(places, 2)):
            message = "is given twice: only the last one counts. Join them in one list, or remove one"
        elif any(in_one_branch(one, other) for one, other in combinations(places, 2)):
            message = (
                "is given both outside $or and in a branch of it: there the last one counts and the other is lost. "
                "Keep one of them"
            )
        else:
            continue
        yield PatternWarning("given-twice", "suspect", path, message)
