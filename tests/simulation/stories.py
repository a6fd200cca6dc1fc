"""The judge of the hub's memory: what the trace tells of an event is what the ledger and the disk say became of it.
Only a few events of a run are asked for, because each question reads the whole log.
"""

from collections.abc import Iterator, Sequence

from router.core.delivery import State
from router.errors import ResourceNotFoundException
from router.trace_tree import TracedEvent, TraceTree
from tests.simulation.audit import Found
from tests.simulation.hub import Process
from tests.simulation.ledger import LETTER, Expected, Ledger, Pair


def candidates(ledger: Ledger) -> list[Expected]:
    """Events of which it is certain where they went."""
    return [
        one
        for offer in ledger.offers
        for one in offer.expected
        if one.status == "taken" and one.must and one.must == one.may and not one.must & ledger.redriven_ms.keys()
    ]


async def told(process: Process, ledger: Ledger, found: Found, asked: Sequence[Expected]) -> list[str]:
    """Called when nothing is pending."""
    tree = TraceTree(
        store=process.store,
        trace=process.trace,
        lanes=process.pipeline.lanes,
        dead_letters=process.dead_letters,
        target_arn=lambda rule_arn, target_id: None,
    )
    wrong: list[str] = []
    for one in asked:
        event_id = min(one.must).event_id
        try:
            answer = await tree.of(event_id)
        except ResourceNotFoundException as error:
            wrong.append(f"the trace does not know {event_id}: {error}")
            continue
        wrong += _judged(ledger, found, one, answer.events)
    return wrong


def _judged(ledger: Ledger, found: Found, one: Expected, events: Sequence[TracedEvent]) -> Iterator[str]:
    event_id = min(one.must).event_id
    if len(events) != 1:
        yield f"the trace tells of {len(events)} events {event_id}, expected 1"
        return
    said = {
        Pair(event_id, delivery.rule_arn, delivery.target_id): delivery
        for delivery in events[0].deliveries
        if delivery.redriven_from is None
    }
    if said.keys() != one.must:
        yield f"the trace sends {event_id} to {sorted(said)}, expected {sorted(one.must)}"
        return
    for pair, delivery in said.items():
        sent_on = pair._replace(target_id=LETTER + pair.target_id) in ledger.tries
        dead = sent_on or bool(found.kept.get(pair) or found.queued.get(pair))
        state = State.DEAD_LETTER if dead else State.DELIVERED
        if delivery.state != state:
            yield f"the trace says {pair} is {delivery.state}, expected {state}"
        # In its inbox with its acceptance, and the hub died before it told anybody.
        untold = not ledger.tries.get(pair) and found.inboxes[pair] == 1
        if delivery.attempts_made > len(ledger.tries.get(pair, ())) + dead + untold:
            yield f"the trace counts {delivery.attempts_made} attempts of {pair}, expected {len(ledger.tries[pair])}"
