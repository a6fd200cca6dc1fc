"""Which (account, region) pairs the hub hosts: the hub file's, and under `auth: none` any that is used."""

from collections.abc import Iterable

from router import limits
from router.core.event import Location
from router.errors import AccessDeniedException, LimitExceededException


class Locations:
    """`open_to_all`: an undeclared location comes into being when it is first used."""

    def __init__(self, declared: Iterable[Location], *, open_to_all: bool) -> None:
        self._known = set(declared)
        self._open_to_all = open_to_all

    def __contains__(self, location: Location) -> bool:
        return location in self._known

    def __len__(self) -> int:
        return len(self._known)

    def use(self, location: Location) -> None:
        """Raises AccessDeniedException for a location that this hub does not host."""
        if location in self._known:
            return
        if not self._open_to_all:
            raise AccessDeniedException(
                f"This hub does not host {location}: declare the account and the region in the hub file"
            )
        if len(self._known) >= limits.LOCATIONS_MAX:
            raise LimitExceededException(
                f"This hub hosts {len(self._known)} locations, at most {limits.LOCATIONS_MAX}."
            )
        self._known.add(location)
