"""Walking through a fully decoded event along a bucket's nodes: the complete way to the rows that it satisfies.

Any JSON object will do: arrays at any depth, keys with dots, every number. Sets of rows are combined on the way, so the
cost is that of the event and not of the rows. Two things sets cannot see are left to `Decisions`, row by row: what
must *not* be in the array elements that other fields are bound to, and arrays reached by several spellings of one path.

It takes STEPS_MAX steps at most; an event that needs more raises TooManySteps. In a bucket of more than STEP_ROWS rows
a step counts once more for each further STEP_ROWS, since sets of rows cost by their length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from router.core.operators import Absent
from router.core.pattern import Field
from router.core.ruletable_bucket import Bucket, Node, row_numbers
from router.core.ruletable_index import Steps
from router.core.ruletable_lookup import Rows, spend
from router.core.ruletable_values import Decisions, Paths, Values

STEP_ROWS = 16_384

K = TypeVar("K")

_Cursor = tuple[Mapping[str, Any], str]
"""An object, and the beginning of a dotted key in it that has been followed so far ("" or ending with a dot)."""


class Walk(Generic[K]):
    """One event for the buckets of one table."""

    def __init__(self, event: Mapping[str, Any], steps: Steps, paths: Callable[[], frozenset[str]]) -> None:
        """`paths` are those of all buckets that will be asked for; they are gathered where a row needs a look."""
        self._event = event
        self._steps = steps
        self._paths = paths
        self._values: Values = {}
        self._decisions: Decisions | None = None
        self._unsure: Rows = 0
        self._missing: Rows = 0
        self._weight = 1

    def matching(self, bucket: Bucket[K]) -> tuple[K, ...]:
        """The keys of the bucket's rules that the event matches."""
        self._unsure = bucket.unsure
        self._weight = 1 + len(bucket.branches) // STEP_ROWS
        self._missing = 0
        rows = self._object(bucket.root, [(self._event, "")], bucket.everything)
        for row in row_numbers(rows & (self._unsure | self._missing)):
            self._step()
            if self._decisions is None:
                self._values = Paths(self._paths()).values(self._event, self._steps)
                self._decisions = Decisions(self._values, self._steps)
            branch = bucket.branches[row]
            if not self._unsure >> row & 1 and not any(
                field.path in self._values for field in branch if _absent(field)
            ):
                continue  # what must not be there is nowhere
            if not self._decisions.matches(branch):
                rows ^= 1 << row
        return bucket.results[rows]

    def _step(self) -> None:
        spend(self._steps, self._weight)

    def _object(self, node: Node, cursors: Sequence[_Cursor], rows: Rows, *, loose: bool = False) -> Rows:
        """What the fields beyond `node` leave of `rows`; more than one cursor is several spellings of one path.

        Where `loose` is set the cursors are not all bound together, so that what must not be there may be there.
        """
        dotted = [[key for key in holder if "." in key] for holder, _ in cursors]
        for child in node.children.values():
            if rows & child.here:
                self._step()
                scalars: list[Any] = []
                arrays: list[list[Any]] = []
                inner: list[_Cursor] = []
                for (holder, start), keys in zip(cursors, dotted, strict=True):
                    name = start + child.name
                    if name in holder:
                        value = holder[name]
                        kind = type(value)
                        if kind is dict:
                            inner.append((value, ""))
                        elif kind is list:
                            arrays.append(value)
                        else:
                            scalars.append(value)
                    if keys and child.children:
                        self._steps.left -= len(keys)
                        if any(key.startswith(name + ".") for key in keys):
                            inner.append((holder, name + "."))
                rows &= self._field(child, scalars, arrays, inner, rows, loose=loose)
                if not rows:
                    return 0
        return rows

    def _field(
        self,
        node: Node,
        scalars: list[Any],
        arrays: list[list[Any]],
        inner: list[_Cursor],
        rows: Rows,
        *,
        loose: bool,
    ) -> Rows:
        objects: list[dict[str, Any]] = []
        if arrays:
            self._missing |= node.absence
            for array in arrays:
                self._spread(array, scalars, objects)
            if objects and ((scalars and node.index) or inner or len(arrays) > 1):
                # Which of them go together only a look at each row can tell.
                loose = True
                self._unsure |= node.here
                inner = [*inner, *((element, "") for element in objects)]
        left = rows
        if node.index is not None:
            answer = node.index.of_any(scalars) if scalars else node.index.absent
            left &= answer | node.index.absence if loose else answer
        if not node.children or not left:
            return left
        if inner or not objects:
            return self._object(node, inner, left, loose=loose)
        found = 0
        for element in objects:
            self._step()
            found |= self._object(node, [(element, "")], left, loose=loose)
            if found == left:
                break
        return found

    def _spread(self, array: list[Any], scalars: list[Any], objects: list[dict[str, Any]]) -> None:
        """Sort what stands in the array, and in arrays in it."""
        waiting = [array]
        while waiting:
            for element in waiting.pop():
                self._step()
                kind = type(element)
                if kind is dict:
                    objects.append(element)
                elif kind is list:
                    waiting.append(element)
                else:
                    scalars.append(element)


def _absent(field: Field) -> bool:
    return any(type(test) is Absent for test in field.tests)
