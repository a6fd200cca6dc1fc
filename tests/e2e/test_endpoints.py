"""A global endpoint and a partner's events, in a real hub."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all

FAR = "eu-west-1"
PARTNER, SOURCE = "222222222222", "aws.partner/example.com/shop"
CHECK = "arn:aws:route53:::healthcheck/shop"
ROLE = f"arn:aws:iam::{WORKLOAD}:role/replication"
TWO_REGIONS = {
    "accounts": [{"id": WORKLOAD}, {"id": PARTNER}],
    "regions": [REGION, FAR],
}


def bus_with_queue(hub: HubProcess, region: str, bus: str, account: str = WORKLOAD) -> str:
    """Every event of the bus reaches the queue whose URL is returned."""
    events = hub.client("events", account, region)
    url: str = hub.client("sqs", account, region).create_queue(QueueName="all")["QueueUrl"]
    events.put_rule(Name="all", EventBusName=bus, EventPattern=json.dumps({"account": [{"exists": True}]}))
    arn = f"arn:aws:sqs:{region}:{account}:all"
    events.put_targets(Rule="all", EventBusName=bus, Targets=[{"Id": "q", "Arn": arn}])
    return url


def put(hub: HubProcess, endpoint_id: str, number: int) -> dict[str, Any]:
    """PutEvents through an endpoint; boto3 would sign it with SigV4A."""
    entry = {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"n": number}), "EventBusName": "orders"}
    credential = f"Credential={WORKLOAD}/20261127/{REGION}/events/aws4_request"
    request = urllib.request.Request(
        hub.url,
        json.dumps({"EndpointId": endpoint_id, "Entries": [entry]}).encode(),
        {
            "X-Amz-Target": "AWSEvents.PutEvents",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        (answer,) = json.load(response)["Entries"]
        found: dict[str, Any] = answer
        return found


def set_health(hub: HubProcess, *, healthy: bool) -> None:
    body = json.dumps({"HealthCheck": CHECK, "Healthy": healthy}).encode()
    request = urllib.request.Request(f"{hub.url}/_hub/v1/health-checks", body, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def received(hub: HubProcess, region: str, url: str, count: int, account: str = WORKLOAD) -> list[dict[str, Any]]:
    messages = receive_all(hub.client("sqs", account, region), url, expected=count)
    return [json.loads(message["Body"]) for message in messages]


def test_events_through_an_endpoint_are_replicated_and_fail_over(tmp_path: Path) -> None:
    with HubProcess(tmp_path, TWO_REGIONS) as hub:
        for region in (REGION, FAR):
            hub.client("events", region=region).create_event_bus(Name="orders")
        urls = {region: bus_with_queue(hub, region, "orders") for region in (REGION, FAR)}
        made = hub.client("events").create_endpoint(
            Name="shop",
            RoutingConfig={"FailoverConfig": {"Primary": {"HealthCheck": CHECK}, "Secondary": {"Route": FAR}}},
            EventBuses=[
                {"EventBusArn": f"arn:aws:events:{region}:{WORKLOAD}:event-bus/orders"} for region in (REGION, FAR)
            ],
            RoleArn=ROLE,
        )
        endpoint_id = hub.client("events").describe_endpoint(Name="shop")["EndpointId"]
        event_id = put(hub, endpoint_id, 1)["EventId"]
        (here,), (copy,) = (received(hub, region, urls[region], 1) for region in (REGION, FAR))
        assert (here["id"], here["region"], here["resources"]) == (event_id, REGION, [made["Arn"]])
        assert (copy["region"], copy["detail"], copy["id"] != event_id) == (REGION, {"n": 1}, True)
        set_health(hub, healthy=False)
        put(hub, endpoint_id, 2)
        (there,), (back,) = (received(hub, region, urls[region], 1) for region in (FAR, REGION))
        assert (there["region"], back["region"], back["detail"]) == (FAR, FAR, {"n": 2})
        assert eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)


def test_a_partners_event_reaches_the_bus_of_who_took_its_source(tmp_path: Path) -> None:
    with HubProcess(tmp_path, TWO_REGIONS) as hub:
        partner, customer = hub.client("events", PARTNER), hub.client("events")
        partner.create_partner_event_source(Name=SOURCE, Account=WORKLOAD)
        assert customer.list_event_sources()["EventSources"][0]["State"] == "PENDING"
        customer.create_event_bus(Name=SOURCE, EventSourceName=SOURCE)
        assert customer.describe_event_source(Name=SOURCE)["State"] == "ACTIVE"
        url = bus_with_queue(hub, REGION, SOURCE)
        hub.kill()
        hub.start()
        partner = hub.client("events", PARTNER)
        answer = partner.put_partner_events(
            Entries=[{"Source": SOURCE, "DetailType": "order", "Detail": '{"n":1}'}, {"Source": SOURCE + "/x"}]
        )
        assert answer["FailedEntryCount"] == 1
        (event,) = received(hub, REGION, url, 1)
        assert (event["source"], event["account"], event["id"]) == (SOURCE, WORKLOAD, answer["Entries"][0]["EventId"])
        assert hub.metric("crossbus_events_accepted_total", bus=SOURCE) == 1
