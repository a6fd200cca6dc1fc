"""Things with a name of their own in a location, in memory, by kind: what is durable, indexed for reading and listing.

As for buses and rules (`state`), only `apply` changes anything, with changes that are already on disk. Nothing here
knows what a thing is for; each kind's own module does.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from router.catalog.model import Thing
from router.core.event import Location

T = TypeVar("T", bound=Thing)


class Things:
    """See the module."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, Location], dict[str, Thing]] = {}
        self._names: dict[tuple[str, Location], list[str]] = {}
        self._by_arn: dict[str, Thing] = {}
        self._by_id: dict[str, Thing] = {}

    def get(self, kind: type[T], location: Location, name: str) -> T | None:
        found = self._by_place.get((kind.kind, location), {}).get(name)
        return found if isinstance(found, kind) else None

    def by_arn(self, kind: type[T], arn: str) -> T | None:
        found = self._by_arn.get(arn)
        return found if isinstance(found, kind) else None

    def by_id(self, kind: type[T], id_: str) -> T | None:
        """For kinds that have ids beside their ARNs."""
        found = self._by_id.get(id_)
        return found if isinstance(found, kind) else None

    def names(self, kind: type[Thing], location: Location) -> Sequence[str]:
        """Sorted. Do not change it, do not keep it."""
        return self._names.get((kind.kind, location), ())

    def here(self, kind: type[T], location: Location) -> Iterator[T]:
        """All of a kind in one location, by name."""
        for name in self.names(kind, location):
            found = self.get(kind, location, name)
            assert found is not None, "names and things agree"
            yield found

    def all(self, kind: type[T]) -> Iterator[T]:
        """All of a kind, everywhere."""
        for (name, _), found in self._by_place.items():
            if name == kind.kind:
                yield from (thing for thing in found.values() if isinstance(thing, kind))

    def apply(self, things: Iterable[Thing], gone: Iterable[Thing]) -> None:
        for thing in gone:
            place = (thing.kind, thing.location)
            old = self._by_place[place].pop(thing.name)
            names = self._names[place]
            del names[bisect_left(names, thing.name)]
            del self._by_arn[old.arn]
            self._by_id.pop(old.id, None)
        for thing in things:
            place = (thing.kind, thing.location)
            known = self._by_place.setdefault(place, {})
            before = known.get(thing.name)
            if before is None:
                insort(self._names.setdefault(place, []), thing.name)
            else:
                self._by_arn.pop(before.arn, None)
                self._by_id.pop(before.id, None)
            known[thing.name] = thing
            self._by_arn[thing.arn] = thing
            if thing.id:
                self._by_id[thing.id] = thing
