"""PutPartnerEvents: what a partner tells the accounts that have taken its event source.

Each entry becomes one event for each such account, on the account's partner bus of the source's name; all have the
entry's id. Who has not taken the source gets nothing (user guide, "eb-saas"). Answers are per entry, like PutEvents's.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from router import limits
from router.aws.service import Caller
from router.core.event import Event, Location, compact, entry_size
from router.errors import ValidationException
from router.metrics import Metrics
from router.partners import Partners
from router.pipeline import Pipeline
from router.planning import Incoming
from router.sources.outcome import MALFORMED_DETAIL, Refused
from router.world import World, iso_seconds

_NOT_YOURS = Refused("NotAuthorizedForSourceException", "Not authorized for the source.")


class PutPartnerEvents:
    """See the module. Requests come checked against the API's model."""

    def __init__(self, partners: Partners, pipeline: Pipeline, world: World, metrics: Metrics) -> None:
        self._partners = partners
        self._pipeline = pipeline
        self._world = world
        self._metrics = metrics

    async def __call__(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        entries = request["Entries"]
        if sum(map(_size, entries)) >= limits.REQUEST_ENTRIES_BYTES_MAX:
            raise ValidationException("Total size of the entries in the request is over the limit.")
        now = iso_seconds(self._world.now_ms())
        ids = self._world.uuids(len(entries))
        here = Location(caller.account, caller.region)
        planned = [self._incoming(here, entry, event_id, now) for entry, event_id in zip(entries, ids, strict=True)]
        flat = [item for items in planned if not isinstance(items, Refused) for item in items]
        taken = iter(await self._pipeline.accept(flat)) if flat else iter(())
        answers: list[dict[str, Any]] = []
        codes: list[str] = []
        for items, event_id in zip(planned, ids, strict=True):
            outcomes = [items] if isinstance(items, Refused) else [next(taken) for _ in items]
            refused = next((outcome for outcome in outcomes if isinstance(outcome, Refused)), None)
            if refused is None:
                answers.append({"EventId": event_id})
            else:
                codes.append(refused.code)
                answers.append({"ErrorCode": refused.code, "ErrorMessage": refused.message})
        self._metrics.put("PutPartnerEvents", here).took(len(entries), codes)
        return {"FailedEntryCount": len(codes), "Entries": answers}

    def _incoming(self, here: Location, entry: Mapping[str, Any], event_id: str, now: str) -> list[Incoming] | Refused:
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                return Refused(
                    "InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument."
                )
        source = entry["Source"]
        takers = self._partners.takers(here, source)
        if takers is None:
            return _NOT_YOURS
        try:
            detail = compact(entry["Detail"])
        except msgspec.DecodeError:
            return MALFORMED_DETAIL
        time = now if entry.get("Time") is None else iso_seconds(entry["Time"])
        resources = tuple(entry.get("Resources") or ())
        return [
            Incoming(
                Event(event_id, entry["DetailType"], source, taker.account, time, taker.region, resources, detail),
                taker,
                source,
            )
            for taker in takers
        ]


def _size(entry: Mapping[str, Any]) -> int:
    return entry_size(
        has_time=entry.get("Time") is not None,
        source=entry.get("Source") or "",
        detail_type=entry.get("DetailType") or "",
        detail=entry.get("Detail") or "",
        resources=entry.get("Resources") or (),
    )
