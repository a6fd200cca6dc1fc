"""Partner event sources of the hub: their changes on both sides, and who gets a partner's events.

Decisions are `catalog/partners`'s; a partner bus comes and goes with its source in the catalog itself. Any account of
the hub can play the partner.
"""

from collections.abc import Mapping
from typing import Any

from router.catalog import partners
from router.catalog.catalog import Catalog
from router.catalog.partners import EventSource, PartnerSource
from router.catalog.state import Changes
from router.core.event import Location


class Partners:
    """See the module."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._world = catalog.world

    # the partner's side

    def offer_of(self, location: Location, name: str) -> PartnerSource:
        """Raises ResourceNotFoundException."""
        found = self._catalog.things.get(PartnerSource, location, name)
        if found is None:
            raise partners.partner_source_not_found(name)
        return found

    def sources_of(self, offer: PartnerSource) -> list[EventSource]:
        """As each account has it, by account."""
        places = (Location(account, offer.location.region) for account in sorted(offer.accounts))
        found = (self._source_of(offer, place) for place in places)
        return [source for source in found if source is not None]

    def _source_of(self, offer: PartnerSource, place: Location) -> EventSource | None:
        """As an account has it; one of this name that is another partner's is not it."""
        found = self._catalog.things.get(EventSource, place, offer.name)
        return found if found is not None and found.partner == offer.location else None

    async def offer(self, location: Location, name: str, account: str) -> PartnerSource:
        async with self._catalog.changing() as change:
            old = self._catalog.things.get(PartnerSource, location, name)
            theirs = self._catalog.things.get(EventSource, Location(account, location.region), name)
            offer, source = partners.offered(old, theirs, location, name, account=account, now_ms=self._world.now_ms())
            await change.commit(Changes(things=(offer, source)))
            return offer

    async def withdraw(self, location: Location, name: str, account: str) -> None:
        """Withdrawing what was never offered succeeds: DeletePartnerEventSource has no error for it."""
        async with self._catalog.changing() as change:
            offer = self._catalog.things.get(PartnerSource, location, name)
            if offer is None or account not in offer.accounts:
                return
            now_ms = self._world.now_ms()
            left = partners.without(offer, account, now_ms=now_ms)
            source = self._source_of(offer, Location(account, location.region))
            gone: list[Any] = [] if left.accounts else [offer]
            coming: list[Any] = [left] if left.accounts else []
            if source is not None and source.state == "ACTIVE":
                coming.append(partners.withdrawn(source, now_ms=now_ms))
            elif source is not None:
                gone.append(source)
            await change.commit(Changes(things=tuple(coming), gone_things=tuple(gone)))

    def takers(self, location: Location, name: str) -> list[Location] | None:
        """Where events of this source go: the accounts that have taken it. None where the caller has no such source."""
        offer = self._catalog.things.get(PartnerSource, location, name)
        if offer is None:
            return None
        return [source.location for source in self.sources_of(offer) if source.state == "ACTIVE"]

    # the customer's side

    def source(self, location: Location, name: str) -> EventSource:
        """Raises ResourceNotFoundException, also for one whose time is over."""
        found = self._catalog.things.get(EventSource, location, name)
        return partners.present(found, name, self._world.now_ms())

    def sources(self, location: Location) -> Mapping[str, EventSource]:
        now_ms = self._world.now_ms()
        every = self._catalog.things.here(EventSource, location)
        return {one.name: one for one in every if not partners.is_over(one, now_ms)}

    async def activate(self, location: Location, name: str) -> None:
        """Take events again, after `deactivate`; the bus is still there. Raises InvalidStateException."""
        async with self._catalog.changing() as change:
            source = self.source(location, name)
            if self._catalog.bus(location, name) is None:
                raise partners.no_bus(name)
            await change.commit(Changes(things=(partners.taken(source, now_ms=self._world.now_ms()),)))

    async def deactivate(self, location: Location, name: str) -> None:
        async with self._catalog.changing() as change:
            source = self.source(location, name)
            await change.commit(Changes(things=(partners.left(source, now_ms=self._world.now_ms()),)))
