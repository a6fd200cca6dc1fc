"""Events for comparing matchers: each is made to match one of some rules, and then changed a little.

An event is a tree whose scalars and keys are JSON texts, so that numbers, escapes and keys given twice reach a matcher
as they stand.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from tests.core.generated_rules import Dice, Group, Leaf, in_other_case, quoted

SPELLINGS_OF_ONE = ("1", "1.0", "1e0", "10e-1", "0.1E1")


@dataclass(slots=True)
class Object:
    """A JSON object whose keys are JSON texts; one key may stand there twice."""

    members: list[tuple[str, "Node"]]


Node = str | list["Node"] | Object
"""A JSON value; a scalar is its text."""


def escaped(text: str) -> str:
    """The same with every character written as an escape."""
    units = text.encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'


def event(dice: Dice, rules: Sequence[Group]) -> Object:
    """One that is made to match one of the rules, and then changed."""
    wanted: dict[str, Leaf] = {}
    _choose(dice, dice.one(rules), "", wanted)
    made = Object([])
    for path, leaf in wanted.items():
        value = dice.one(leaf.tests)[1]
        if value is not None:
            _put(dice, made, path.split("."), value)
    for _ in range(dice.one((0, 1, 1, 1, 2, 2, 4))):
        _change(dice, made)
    return made


def _choose(dice: Dice, group: Group, path: str, wanted: dict[str, Leaf]) -> None:
    """The fields of one way through the `$or` lists; of a field given twice the last one counts."""
    for name, inner in group.fields:
        here = f"{path}.{name}" if path else name
        if isinstance(inner, Leaf):
            wanted[here] = inner
        elif isinstance(inner, Group):
            _choose(dice, inner, here, wanted)
        else:
            _choose(dice, dice.one(inner.branches), path, wanted)


def _put(dice: Dice, into: Object, steps: list[str], value: Node) -> None:
    joined = 1 + dice.below(2) if len(steps) > 1 and dice.below(6) == 0 else 1
    key = quoted(".".join(steps[:joined]))
    rest = steps[joined:]
    for at, (other, inner) in enumerate(into.members):
        if other == key:
            if rest and isinstance(inner, Object):
                _put(dice, inner, rest, value)
            else:
                # A value and an object, or two values, at one place: both as elements.
                into.members[at] = (key, [inner, _nested(dice, rest, value)])
            return
    into.members.append((key, _nested(dice, rest, value)))


def _nested(dice: Dice, steps: list[str], value: Node) -> Node:
    if not steps:
        return value
    made = Object([])
    _put(dice, made, steps, value)
    return made


def _change(dice: Dice, event: Object) -> None:
    places = _places(event)
    if not places:
        event.members.append((dice.quoted(dice.name()), dice.scalar()))
        return
    change = dice.one(_CHANGES)
    if change is _split:
        places = [place for place in places if isinstance(_get(*place), Object)] or places
    change(dice, *dice.one(places))


def _copied_node(node: Node) -> Node:
    if isinstance(node, Object):
        return Object([(key, _copied_node(inner)) for key, inner in node.members])
    return [_copied_node(inner) for inner in node] if isinstance(node, list) else node


Container = Object | list[Node]


def _places(event: Object) -> list[tuple[Container, int]]:
    places: list[tuple[Container, int]] = []
    waiting: list[Container] = [event]
    while waiting:
        container = waiting.pop()
        inner = [node for _, node in container.members] if isinstance(container, Object) else container
        places += [(container, at) for at in range(len(inner))]
        waiting += [node for node in inner if not isinstance(node, str)]
    return places


def _get(container: Container, at: int) -> Node:
    return container.members[at][1] if isinstance(container, Object) else container[at]


def _set(container: Container, at: int, node: Node) -> None:
    if isinstance(container, Object):
        container.members[at] = (container.members[at][0], node)
    else:
        container[at] = node


def _delete(dice: Dice, container: Container, at: int) -> None:
    del (container.members if isinstance(container, Object) else container)[at]


def _replace(dice: Dice, container: Container, at: int) -> None:
    _set(container, at, dice.one(("[]", "{}", "[[]]")) if dice.below(6) == 0 else dice.scalar())


def _wrap(dice: Dice, container: Container, at: int) -> None:
    node = _get(container, at)
    _set(container, at, [node] if dice.below(3) else [[node]])


def _split(dice: Dice, container: Container, at: int) -> None:
    """The members of an object over two elements of an array, some in both."""
    node = _get(container, at)
    if not isinstance(node, Object):
        _add_element(dice, container, at)
        return
    elements: list[Node] = [Object([]), Object([])]
    for key, inner in node.members:
        chosen = dice.below(3)
        for element in elements if chosen == 2 else [elements[chosen]]:
            cast("Object", element).members.append((key, _copied_node(inner)))
    _set(container, at, elements)


def _add_element(dice: Dice, container: Container, at: int) -> None:
    node = _get(container, at)
    elements = node if isinstance(node, list) else [node]
    added: Node = dice.scalar()
    if elements and dice.below(3):
        added = _copied_node(dice.one(elements))
        if not isinstance(added, str):
            places: list[tuple[Container, int]] = _places(added) if isinstance(added, Object) else []
            if places:
                _replace(dice, *dice.one(places))
    _set(container, at, [added, *elements] if dice.below(2) else [*elements, added])


def _join_keys(dice: Dice, container: Container, at: int) -> None:
    """`{"a":{"b":1}}` becomes `{"a.b":1}`."""
    node = _get(container, at)
    if not isinstance(container, Object) or not isinstance(node, Object) or not node.members:
        _set(container, at, Object([(dice.quoted(dice.name()), node)]))
        return
    key = container.members[at][0]
    container.members[at : at + 1] = [(f"{key[:-1]}.{inner[1:]}", value) for inner, value in node.members]


def _respell(dice: Dice, container: Container, at: int) -> None:
    """The same, or almost: another case, another spelling of a number, escapes."""
    node = _get(container, at)
    if isinstance(container, Object) and dice.below(2):
        key = json.loads(container.members[at][0])
        container.members[at] = (escaped(key) if dice.below(2) else quoted(key, raw=True), node)
    elif isinstance(node, str) and node.startswith('"'):
        text = json.loads(node)
        _set(container, at, quoted(in_other_case(dice, text)) if dice.below(2) else escaped(text))
    else:
        _set(container, at, dice.one(SPELLINGS_OF_ONE))


def _duplicate(dice: Dice, container: Container, at: int) -> None:
    if not isinstance(container, Object):
        container.insert(at, _copied_node(container[at]))
        return
    key, node = container.members[at]
    other: Node = dice.scalar() if dice.below(2) else _copied_node(node)
    twice = escaped(json.loads(key)) if dice.below(3) == 0 else key
    container.members.insert(at + dice.below(2), (twice, other))


def _add_member(dice: Dice, container: Container, at: int) -> None:
    if isinstance(container, Object):
        added: Node = dice.scalar() if dice.below(3) else _copied_node(_get(container, at))
        container.members.insert(dice.below(len(container.members) + 1), (dice.quoted(dice.name()), added))
    else:
        container.append(Object([(dice.quoted(dice.name()), dice.scalar())]))


_CHANGES: tuple[Callable[[Dice, Container, int], None], ...] = (
    *(_delete, _replace, _replace, _wrap, _split, _split, _split, _add_element, _add_element),
    *(_join_keys, _respell, _duplicate, _add_member),
)


def json_text(node: Node) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return "[" + ",".join(map(json_text, node)) + "]"
    return "{" + ",".join(f"{key}:{json_text(inner)}" for key, inner in node.members) + "}"
