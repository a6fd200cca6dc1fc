"""What hypothesis draws for comparing matchers: patterns and events as texts, so that a failure shows all it takes."""

import json
from typing import NamedTuple

from hypothesis import strategies as st

from tests.core.generated_events import Node, Object, event, json_text
from tests.core.generated_rules import ACCOUNTS, PLAIN_TEXTS, SOURCES, Dice, Group, pattern_text, rule


class Parts(NamedTuple):
    """What the hub knows of an event without looking into its detail."""

    source: str
    detail_type: str
    account: str
    resources: list[str]
    detail: str


class Change(NamedTuple):
    """Rules to put by their keys and keys to remove; neither stands for a merge."""

    put: list[tuple[int, str]]
    removed: list[int]


@st.composite
def rules_and_events(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    dice = _dice(draw)
    rules = _rules(dice, 1 + dice.below(4))
    return [pattern_text(one) for one in rules], [json_text(event(dice, rules)) for _ in range(1 + dice.below(3))]


@st.composite
def rules_and_parts_of_events(draw: st.DrawFn) -> tuple[list[str], list[Parts]]:
    dice = _dice(draw, enveloped=True)
    rules = _rules(dice, 1 + dice.below(4))
    return [pattern_text(one) for one in rules], [_parts(dice, event(dice, rules)) for _ in range(1 + dice.below(3))]


@st.composite
def changes_and_events(draw: st.DrawFn) -> tuple[list[Change], list[str]]:
    """Keys are put anew while they are there, and removed only then."""
    dice = _dice(draw)
    rules: list[Group] = []
    keys: set[int] = set()
    changes: list[Change] = []
    for _ in range(2 + dice.below(4)):
        kind = dice.below(8)
        if kind == 0:
            changes.append(Change([], []))
        elif kind < 4 and keys:
            removed = {dice.one(sorted(keys)) for _ in range(1 + dice.below(2))}
            changes.append(Change([], sorted(removed)))
            keys -= removed
        else:
            put = {dice.below(5): rule(dice, rules) for _ in range(1 + dice.below(2))}
            changes.append(Change([(key, pattern_text(one)) for key, one in put.items()], []))
            keys |= put.keys()
            rules += put.values()
    return changes, [json_text(event(dice, rules)) for _ in range(1 + dice.below(2))] if rules else ["{}"]


def _dice(draw: st.DrawFn, *, enveloped: bool = False) -> Dice:
    random = draw(st.randoms(use_true_random=False))
    return Dice(random, enveloped=enveloped or random.randrange(2) == 0)


def _rules(dice: Dice, count: int) -> list[Group]:
    rules: list[Group] = []
    for _ in range(count):
        rules.append(rule(dice, rules))
    return rules


def _parts(dice: Dice, made: Object) -> Parts:
    members = {json.loads(key): node for key, node in made.members}
    detail = members.get("detail")
    resources = members.get("resources")
    return Parts(
        _text_of(members.get("source")) or dice.one(SOURCES),
        _text_of(members.get("detail-type")) or dice.one(PLAIN_TEXTS),
        _text_of(members.get("account")) or dice.one(ACCOUNTS),
        [text for node in (resources if isinstance(resources, list) else [resources]) if (text := _text_of(node))],
        json_text(detail if isinstance(detail, Object) else Object([])),
    )


def _text_of(node: Node | None) -> str | None:
    """A string that UTF-8 can write; None for anything else."""
    text = json.loads(node) if isinstance(node, str) and node.startswith('"') else None
    return None if text is None or any("\ud800" <= char <= "\udfff" for char in text) else text
