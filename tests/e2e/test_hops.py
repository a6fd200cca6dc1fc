"""Events between two accounts and two regions of a real hub, over boto3: every order of hops, what a bus's policy may
ask of a hop, buses that do not exist, and a hub that is killed while events hop.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess, eventually, receive_all
from tests.pipeline.test_hops import ENDS

FAR = "eu-west-1"
ORGANIZATION = "o-crossbus01"
KILLS = 4
numbers = count()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    accounts = [{"id": WORKLOAD, "organization": ORGANIZATION}, {"id": SECURITY, "organization": ORGANIZATION}]
    with HubProcess(tmp_path_factory.mktemp("hops"), {"accounts": accounts}) as running:
        yield running


class Bus:
    """A bus with a queue that gets what arrives there, and one for what it cannot send on; open to everybody."""

    def __init__(self, hub: HubProcess, account: str, region: str, name: str, **policy: Any) -> None:
        self.account, self.region, self.name = account, region, name
        self.arn = f"arn:aws:events:{region}:{account}:event-bus/{name}"
        self.rule_arn = f"arn:aws:events:{region}:{account}:rule/{name}/on"
        self.events = hub.client("events", account, region)
        self.events.create_event_bus(Name=name)
        self.allow(**policy)
        self.sqs = hub.client("sqs", account, region)
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        self.letters_url = self.sqs.create_queue(QueueName=f"{name}-letters")["QueueUrl"]
        self.events.put_rule(Name="on", EventBusName=name, EventPattern='{"source":["shop"]}')
        self._target({"Id": "queue", "Arn": f"arn:aws:sqs:{region}:{account}:{name}"})

    def allow(self, **more: Any) -> None:
        """Put a policy of one statement."""
        statement = {"Sid": "all", "Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", **more}
        statement["Resource"] = self.arn
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.events.put_permission(EventBusName=self.name, Policy=json.dumps(document))

    def send_on(self, arn: str) -> None:
        letters = f"arn:aws:sqs:{self.region}:{self.account}:{self.name}-letters"
        role = f"arn:aws:iam::{self.account}:role/forward"
        self._target({"Id": "onward", "Arn": arn, "RoleArn": role, "DeadLetterConfig": {"Arn": letters}})

    def _target(self, target: dict[str, Any]) -> None:
        answer = self.events.put_targets(Rule="on", EventBusName=self.name, Targets=[target])
        assert answer["FailedEntryCount"] == 0, answer

    def put(self, bus: str = "") -> str:
        """The event's id."""
        entry = {"Source": "shop", "DetailType": "sold", "Detail": "{}", "EventBusName": bus or self.name}
        (taken,) = self.events.put_events(Entries=[{**entry, "Time": 1_600_000_000}])["Entries"]
        event_id: str = taken["EventId"]
        return event_id

    def received(self, count: int = 1) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in receive_all(self.sqs, self.url, expected=count)]

    def letters(self, expected: int = 1) -> list[dict[str, str]]:
        """The message attributes of dead letters."""
        found = receive_all(self.sqs, self.letters_url, expected=expected)
        return [{key: value["StringValue"] for key, value in each["MessageAttributes"].items()} for each in found]


def settled(hub: HubProcess) -> bool:
    return hub.metric("crossbus_deliveries_pending") == 0


@pytest.mark.parametrize("order", ENDS)
def test_every_order_of_hops_over_two_accounts_and_two_regions(hub: HubProcess, order: str) -> None:
    """Every hop leads to the other account."""
    places = [(WORKLOAD, REGION)]
    for kind in order:
        account, region = places[-1]
        other = {REGION: FAR, FAR: REGION}[region] if kind == "R" else region
        places.append((SECURITY if account == WORKLOAD else WORKLOAD, other))
    buses = [Bus(hub, *place, f"{order.lower()}-{number}") for number, place in enumerate(places)]
    for sending, taking in pairwise(buses):
        sending.send_on(taking.arn)
    event_id, time = buses[0].put(), "2020-09-13T12:26:40Z"
    end = ENDS[order]
    reached = len(buses) if end is None else end[0]
    for station, bus in enumerate(buses[:reached]):
        (event,) = bus.received()
        assert (event["account"], event["region"]) == (WORKLOAD, REGION)
        regional = station > 0 and order[station - 1] == "R"
        assert (event["id"] == event_id, event["time"] == time) == (not regional, not regional)
        event_id, time = event["id"], event["time"]
    eventually(lambda: settled(hub))
    for station, bus in enumerate(buses):
        refuses = end is not None and station == reached - 1
        assert hub.metric("crossbus_rule_dead_letters_total", rule=bus.rule_arn) == refuses
        if end is not None and refuses:
            (told,) = bus.letters()
            assert (told["RULE_ARN"], told["TARGET_ARN"]) == (bus.rule_arn, buses[station + 1].arn)
            assert told["ERROR_CODE"] == end[1]
    beyond = [hub.metric("crossbus_events_accepted_total", bus=bus.name) for bus in buses[reached:]]
    assert beyond == [0] * len(beyond)


@pytest.mark.parametrize(
    ("condition", "hops", "puts"),
    [
        ({"Bool": {"events:eventBusInvocation": "true"}}, True, False),
        ({"Bool": {"events:eventBusInvocation": "false"}}, False, True),
        ({"StringEquals": {"aws:SourceAccount": WORKLOAD}}, True, False),
        ({"StringEquals": {"aws:SourceAccount": "222222222222"}}, False, False),
        ({"ArnEquals": {"aws:SourceArn": f"arn:aws:events:{REGION}:{WORKLOAD}:rule/{{sender}}/on"}}, True, False),
        ({"ArnLike": {"AWS:sourcearn": f"arn:aws:events:*:{WORKLOAD}:rule/*"}}, True, False),
        ({"ArnEquals": {"aws:SourceArn": f"arn:aws:events:{REGION}:{WORKLOAD}:rule/another"}}, False, False),
        ({"StringEquals": {"aws:PrincipalOrgID": ORGANIZATION}}, True, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-stranger01"}}, False, False),
        ({"StringEquals": {"events:source": "shop", "events:detail-type": "sold"}}, True, True),
        ({"StringEquals": {"events:source": "other"}}, False, False),
    ],
)
@pytest.mark.parametrize("region", [REGION, FAR])
def test_a_bus_policys_conditions_are_asked_of_hops(
    hub: HubProcess, condition: dict[str, dict[str, str]], region: str, *, hops: bool, puts: bool
) -> None:
    name = f"policy-{next(numbers)}"
    sender = Bus(hub, WORKLOAD, REGION, f"{name}-from")
    text = json.dumps(condition).replace("{sender}", sender.name)
    taker = Bus(hub, SECURITY, region, f"{name}-to", Condition=json.loads(text))
    sender.send_on(taker.arn)
    sender.put()
    if hops:
        assert [event["account"] for event in taker.received()] == [WORKLOAD]
    else:
        (told,) = sender.letters()
        assert (told["ERROR_CODE"], told["TARGET_ARN"]) == ("NO_PERMISSIONS", taker.arn)
    if region != REGION:
        return  # PutEvents does not reach another region
    if puts:
        sender.put(taker.arn)
        assert len(taker.received()) == 1
    else:
        with pytest.raises(ClientError, match="AccessDeniedException"):
            sender.put(taker.arn)


def test_another_account_is_let_in_by_nothing_but_a_policy(hub: HubProcess) -> None:
    sender = Bus(hub, WORKLOAD, REGION, "without-policy-from")
    taker = Bus(hub, SECURITY, REGION, "without-policy-to")
    taker.events.remove_permission(EventBusName=taker.name, RemoveAllPermissions=True)
    sender.send_on(taker.arn)
    sender.put()
    assert [told["ERROR_CODE"] for told in sender.letters()] == ["NO_PERMISSIONS"]


@pytest.mark.parametrize("region", [REGION, FAR])
def test_a_bus_that_does_not_exist_takes_and_drops_what_is_sent_on(hub: HubProcess, region: str) -> None:
    sender = Bus(hub, WORKLOAD, REGION, f"to-nowhere-{region}")
    sender.send_on(f"arn:aws:events:{region}:{WORKLOAD}:event-bus/nowhere")
    dropped = hub.metric("crossbus_unknown_bus_events_total")
    sender.put()
    assert len(sender.received()) == 1
    eventually(lambda: settled(hub))
    assert hub.metric("crossbus_unknown_bus_events_total") == dropped + 1
    assert hub.metric("crossbus_rule_dead_letters_total", rule=sender.rule_arn) == 0
    assert hub.metric("crossbus_rule_delivered_total", rule=sender.rule_arn) == 2


def test_events_that_hop_while_the_hub_is_killed_arrive_once(tmp_path: Path) -> None:
    """The hop, and the queue at its end, are part of what one commit holds; ids are the same for every repeat."""
    with HubProcess(tmp_path, {}) as hub:
        first = Bus(hub, WORKLOAD, REGION, "first")
        second = Bus(hub, SECURITY, REGION, "second")
        third = Bus(hub, SECURITY, FAR, "third")
        first.send_on(second.arn)
        second.send_on(third.arn)
        put: list[str] = []
        entry = {"Source": "shop", "DetailType": "sold", "Detail": "{}", "EventBusName": "first"}
        for _ in range(KILLS):
            events = hub.client("events")
            for _ in range(30):
                put += [taken["EventId"] for taken in events.put_events(Entries=[entry] * 10)["Entries"]]
            hub.kill()
            hub.start()
        assert sum(line["pending"] for line in hub.log if line["event"] == "hub.ready") > 0, "some were on their way"
        eventually(lambda: settled(hub), seconds=60)
        for bus, kept in ((first, True), (second, True), (third, False)):
            sqs = hub.client("sqs", bus.account, bus.region)
            url = sqs.get_queue_url(QueueName=bus.name)["QueueUrl"]
            depth = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            assert depth["Attributes"]["ApproximateNumberOfMessages"] == str(len(put))
            found = receive_all(sqs, url, expected=len(put))
            ids = Counter(json.loads(message["Body"])["id"] for message in found)
            assert set(ids.values()) == {1}
            assert (ids.keys() == set(put)) == kept
            assert len(ids) == len(put)
