"""Real input end to end: the corpus's events through the corpus's detection rules, in a real daemon process.

Whole envelopes come in through a trusted queue, which keeps an event's account and region; what may not be whole goes
to `/aws-events`, which says of each event what is wrong with it. Every detection rule has a queue of its own. What is
in the queues is judged by the corpus (a rule and its own samples) and by each rule alone, in this process (every pair).
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from router import limits
from router.core.pattern import parse
from router.core.ruletable import RuleTable
from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually
from tests.e2e.queue_server import Depth, QueueServer
from tests.shared import needs_shared, rows

ALL = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
TRAIL = {
    "management_events": {"read_write_type": "All"},
    "data_events": [
        {"type": "AWS::S3::Object", "values": ["arn:aws:s3"]},
        {"type": "AWS::DynamoDB::Table", "values": ["arn:aws:dynamodb"]},
    ],
    "network_activity_sources": ["cloudtrail.amazonaws.com", "s3.amazonaws.com"],
    "insights": True,
}
"""All that the corpus has but for two samples."""
POSITIVE_SAMPLES = 256
WITHOUT_A_TIME = 16  # they say "date"
MESSAGE_CHARS_MAX = 200_000
Json = dict[str, Any]


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


class Corpus:
    """The events by their ids, which are made unique; the rules' patterns by their queues' names."""

    def __init__(self) -> None:
        self.whole: dict[str, Json] = {}
        self.doubtful: dict[str, Json] = {}
        """Not complete."""
        self.unloggable: list[Json] = []
        """Samples that say they are no management events and name no resource: a trail cannot select them. What they
        tell of is one (EnableRegion); they go in as they are, and once more as what they tell of."""
        self.expected: dict[tuple[str, str], bool] = {}
        """Whether a queue must get an event, as the corpus has it."""
        for row in rows("corpus/events.jsonl"):
            self._add(self.whole if row["complete"] else self.doubtful, row["event"])
        names: dict[str, str] = {}
        for row in rows("corpus/detections.jsonl"):
            pattern = compact(row["pattern"])
            name = names.setdefault(pattern, f"detection-{len(names)}")
            event = row["event"]
            if event["detail"].get("managementEvent") is False and event["source"] == "aws.cloudtrail":
                self.unloggable.append(event)
                event = {**event, "detail": {**event["detail"], "managementEvent": True}}
            self.expected[name, self._add(self.whole, event)] = row["expect"]
        self.too_long = {name for pattern, name in names.items() if len(pattern) > limits.PATTERN_CHARS_RAISED}
        self.patterns = {name: pattern for pattern, name in names.items() if name not in self.too_long}

    def _add(self, events: dict[str, Json], event: Json) -> str:
        number = len(self.whole) + len(self.doubtful)
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"corpus:{number}"))
        events[event_id] = {**event, "id": event_id}
        return event_id


def packed(events: Iterable[Json]) -> Iterator[str]:
    """Queue messages, each a list of events, below the size of an SQS message."""
    texts: list[str] = []
    size = 0
    for text in map(compact, events):
        if texts and size + len(text) > MESSAGE_CHARS_MAX:
            yield f"[{','.join(texts)}]"
            texts, size = [], 0
        texts.append(text)
        size += len(text) + 1
    yield f"[{','.join(texts)}]"


def detect(hub: HubProcess, patterns: dict[str, str]) -> None:
    """A queue for each pattern, and two rules that send there: the pattern's, and one for the sentinel."""
    events, sqs = hub.client("events"), hub.client("sqs")
    for name, pattern in patterns.items():
        sqs.create_queue(QueueName=name)
        target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:{name}"}
        for rule, text in ((name, pattern), (f"{name}-sentinel", '{"source":["sentinel"]}')):
            events.put_rule(Name=rule, EventPattern=text, State=ALL)
            assert events.put_targets(Rule=rule, Targets=[target])["FailedEntryCount"] == 0


def drained(sqs: Any, url: str) -> list[Json]:
    """The events in a queue of the hub; they stay in flight, so each is seen once."""
    events: list[Json] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
        events += [json.loads(message["Body"]) for message in messages]
    return events


def put_doubtful(hub: HubProcess, events: dict[str, Json]) -> dict[str, Json]:
    """Those that were taken, as the hub has them then: of the account and region that they were put for."""
    taken = {}
    for event_id, event in events.items():
        answer = hub.service_events(event)
        if answer["accepted"]:
            taken[event_id] = {**event, "account": WORKLOAD, "region": REGION}
            continue
        (failure,) = answer["failures"]
        assert failure["code"] == "InvalidArgument"
        time = event["time"]
        assert failure["message"] == f"Parameter time is not valid. Reason: expected ISO 8601, got {time!r}."
    return taken


def what_each_rule_takes_alone(patterns: dict[str, str], events: dict[str, Json]) -> dict[str, set[str]]:
    tables = {name: RuleTable.build([(name, parse(pattern))]) for name, pattern in patterns.items()}
    texts = {event_id: compact(event) for event_id, event in events.items()}
    return {
        name: {event_id for event_id, text in texts.items() if table.match_json(text)} for name, table in tables.items()
    }


@needs_shared
def test_every_positive_sample_of_the_corpus_reaches_its_rule_s_queue_and_no_negative_one_does(tmp_path: Path) -> None:
    corpus = Corpus()
    assert (len(corpus.patterns), len(corpus.too_long), len(corpus.unloggable)) == (77, 1, 2)
    sentinel = {"version": "0", "id": "s", "source": "sentinel", "detail-type": "sentinel", "detail": {}}
    with QueueServer() as server:
        url = server.create("aws-events")
        settings = {"aws_events": True, "trails": [TRAIL], "sqs_sources": [server.source(url, trusted=True)]}
        with HubProcess(tmp_path, settings) as hub:
            detect(hub, corpus.patterns)
            offered = [*corpus.whole.values(), *corpus.unloggable]
            for message in packed(offered):
                server.send(url, [message])
            doubtful = put_doubtful(hub, corpus.doubtful)
            assert len(corpus.doubtful) - len(doubtful) == WITHOUT_A_TIME
            eventually(lambda: server.depth(url) == Depth(0, 0), seconds=30)
            server.send(url, [compact(sentinel)])
            eventually(lambda: hub.metric("crossbus_sqs_source_taken_total") == len(offered) + 1)
            assert hub.metric("crossbus_sqs_source_refused_total") == 0
            assert hub.metric("crossbus_events_withheld_total") == len(corpus.unloggable)
            assert hub.metric("crossbus_events_accepted_total") == len(corpus.whole) + len(doubtful) + 1
            eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
            sqs = hub.client("sqs")
            arrived = {name: drained(sqs, f"{hub.url}/{WORKLOAD}/{name}") for name in corpus.patterns}
    for name, events in arrived.items():
        assert [event["id"] for event in events].count("s") == 1, f"the sentinel has reached {name}"
        for event in events:
            if event["id"] != "s":
                assert event == (corpus.whole | doubtful)[event["id"]]
    ids = {name: sorted(event["id"] for event in events if event["id"] != "s") for name, events in arrived.items()}
    expected = {pair: verdict for pair, verdict in corpus.expected.items() if pair[0] in ids}
    assert sum(expected.values()) == POSITIVE_SAMPLES
    assert {(name, event_id): event_id in ids[name] for name, event_id in expected} == expected
    alone = what_each_rule_takes_alone(corpus.patterns, corpus.whole | doubtful)
    assert ids == {name: sorted(found) for name, found in alone.items()}
