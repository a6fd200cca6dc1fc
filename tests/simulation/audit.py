"""What is on the disk, read as an auditor would who knows only the tables: which deliveries are pending, which dead
letters are kept or lie in a queue, which messages are in the inboxes, and whether the tables agree with one another.
"""

from collections import Counter, defaultdict

import msgspec

from router.lanes import DEAD_LETTER_QUEUE, DeadLetter, DeadLetterMessage, LaneName
from router.simulator.records import InboxRecord, Message
from router.sinks.base import Accepted
from router.store.base import Table
from tests.simulation import scenario
from tests.simulation.ledger import Pair
from tests.simulation.store import Image

_lane_name = msgspec.msgpack.Decoder(LaneName).decode
_accepted = msgspec.msgpack.Decoder(Accepted).decode
_letter = msgspec.msgpack.Decoder(DeadLetter).decode
_letter_message = msgspec.msgpack.Decoder(DeadLetterMessage).decode
_inbox = msgspec.msgpack.Decoder(InboxRecord).decode
_message = msgspec.msgpack.Decoder(Message).decode


class _Envelope(msgspec.Struct):
    id: str


_envelope = msgspec.json.Decoder(_Envelope).decode


class QueuedLetter(msgspec.Struct, frozen=True):
    """A dead letter in an inbox queue, as its attributes tell it."""

    code: str
    condition: str | None
    retries: int | None


class Found:
    """See the module. `due_ms` is when the last pending delivery is due."""

    def __init__(self, image: Image) -> None:
        self.wrong: list[str] = []
        self.pending: Counter[Pair] = Counter()
        self.under_way: Counter[Pair] = Counter()
        """Dead letters that are deliveries to a real queue, by what they were before."""
        self.kept: defaultdict[Pair, list[DeadLetter]] = defaultdict(list)
        self.queued: defaultdict[Pair, list[QueuedLetter]] = defaultdict(list)
        self.inboxes: Counter[Pair] = Counter()
        self.messages: Counter[str] = Counter()
        self.rows = len(image.rows(Table.DELIVERIES))
        self.due_ms = 0
        self._deliveries(image)
        for value in image.rows(Table.DEAD_LETTERS).values():
            letter = _letter(value)
            self.kept[Pair(letter.accepted.event.id, letter.rule_arn, letter.target_id)].append(letter)
        self._messages(image)

    def rows_of(self, pair: Pair) -> int:
        """How many places on the disk say that this delivery is pending or dead; one at most may."""
        return self.pending[pair] + self.under_way[pair] + len(self.kept.get(pair, ())) + len(self.queued.get(pair, ()))

    def pairs(self) -> set[Pair]:
        return {*self.pending, *self.under_way, *self.kept, *self.queued, *self.inboxes}

    def _deliveries(self, image: Image) -> None:
        names = {key: _lane_name(value) for key, value in image.rows(Table.LANES).items()}
        events = image.rows(Table.EVENTS)
        needed: Counter[bytes] = Counter()
        for key in image.rows(Table.DELIVERIES):
            name, sequence = names.get(key[:4]), key[12:]
            needed[sequence] += 1
            self.due_ms = max(self.due_ms, int.from_bytes(key[4:12], "big"))
            if name is None:
                self.wrong.append(f"delivery {key.hex()} is in a lane that is not on the disk")
            elif sequence not in events:
                self.wrong.append(f"the event of a delivery to {name.target_id} of {name.rule_arn} is gone")
            elif name.rule_arn == DEAD_LETTER_QUEUE:
                letter = _letter_message(events[sequence]).letter
                self.under_way[Pair(letter.accepted.event.id, letter.rule_arn, letter.target_id)] += 1
            else:
                self.pending[Pair(_accepted(events[sequence]).event.id, name.rule_arn, name.target_id)] += 1
        self.wrong += [f"the event of sequence {key.hex()} stays for nothing" for key in events if not needed[key]]
        references = image.rows(Table.REFERENCES)
        for sequence, count in needed.items():
            counted = int.from_bytes(references.get(sequence, b"\x01"), "big")
            if counted != count:
                self.wrong.append(f"an event counts {counted} references and has {count} deliveries")

    def _messages(self, image: Image) -> None:
        arns = {key: _inbox(value).arn for key, value in image.rows(Table.INBOXES).items() if any(key)}
        for key, value in image.rows(Table.MESSAGES).items():
            arn, message = arns[key[:4]], _message(value)
            self.messages[arn] += 1
            if arn in scenario.PAIR_OF_QUEUE:
                self.inboxes[Pair(message.event_id or "", *scenario.PAIR_OF_QUEUE[arn])] += 1
                continue
            texts = {name: text.decode() for name, (_, text) in (message.attributes or {}).items()}
            rule_arn = texts["RULE_ARN"]
            target_id = scenario.TARGET_ID_BY_ARN[rule_arn, texts["TARGET_ARN"]]
            retries = texts.get("RETRY_ATTEMPTS")
            letter = QueuedLetter(
                texts["ERROR_CODE"],
                texts.get("EXHAUSTED_RETRY_CONDITION"),
                None if retries is None else int(retries),
            )
            self.queued[Pair(_envelope(message.body).id, rule_arn, target_id)].append(letter)
