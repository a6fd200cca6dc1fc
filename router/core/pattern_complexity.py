"""How many wildcard prefixes one input can keep alive at once: the measure by which AWS refuses wildcards.

The engine reads a value byte by byte, in its quotes, and follows every wildcard that may still match; the most it ever
follows at the same time is the complexity (EventBridge user guide, "eb-create-pattern-operators": rules with
wildcards; above 10 is refused). Wildcards under one anything-but share what they have in common; others add up.
"""

from collections.abc import Iterable, Sequence

LIVE_PREFIXES_MAX = 10
_STATES_MAX = 4000
"""A search that has seen this many states answers with the most it has found."""

_QUOTE = b'"'


class _Node:
    """A prefix that input has just reached: behind a byte, or inside a star (which stays reached)."""

    __slots__ = ("is_star", "next_by_byte", "star")

    def __init__(self, *, is_star: bool) -> None:
        self.is_star = is_star
        self.next_by_byte: dict[int, _Node] = {}
        self.star: _Node | None = None


def live_prefixes(groups: Iterable[Sequence[tuple[str, ...]]]) -> int:
    """The largest number of live prefixes, exact up to LIVE_PREFIXES_MAX + 1.

    A group is the wildcards of one operator on a field, each as the texts between its stars.
    """
    roots = [_trie(group) for group in groups]
    if not roots:
        return 0
    start = frozenset(node for root in roots for node in _step(frozenset([root]), _QUOTE[0]))
    most, seen, waiting = len(start), {start}, [start]
    while waiting and most <= LIVE_PREFIXES_MAX and len(seen) < _STATES_MAX:
        live = waiting.pop()
        for byte in {byte for node in live for byte in node.next_by_byte}:
            after = _step(live, byte)
            if after not in seen:
                seen.add(after)
                waiting.append(after)
                most = max(most, len(after))
    return most


def _trie(wildcards: Sequence[tuple[str, ...]]) -> _Node:
    root = _Node(is_star=False)
    for parts in wildcards:
        node = root
        for place, part in enumerate(parts):
            if place:
                node.star = node.star or _Node(is_star=True)
                node = node.star
            text = part.encode("utf-8", "surrogatepass")
            text = _QUOTE + text if place == 0 else text
            for byte in text + _QUOTE if place == len(parts) - 1 else text:
                node = node.next_by_byte.setdefault(byte, _Node(is_star=False))
    return root


def _step(live: frozenset[_Node], byte: int) -> frozenset[_Node]:
    after = set()
    for node in live:
        if node.is_star:
            after.add(node)
        reached = node.next_by_byte.get(byte)
        if reached is not None:
            after.add(reached)
            if reached.star is not None:
                after.add(reached.star)
    return frozenset(after)
