"""A store without room: nothing is acknowledged that is not kept, and there is a way back."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually

SETTINGS: dict[str, Any] = {
    "store": {"bytes_max": 16 * 1024**2},
    "resources": [
        {
            "account": WORKLOAD,
            "region": REGION,
            "queues": [{"QueueName": "orders"}],
            "rules": [
                {
                    "Name": "orders",
                    "EventPattern": {"source": ["shop"]},
                    "Targets": [{"Id": "orders", "Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"}],
                }
            ],
        }
    ],
}


def test_a_full_store_throttles_each_entry_keeps_what_it_took_and_recovers(tmp_path: Path) -> None:
    entry = {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"text": "x" * 200_000})}
    with HubProcess(tmp_path, SETTINGS) as hub:
        events, sqs = hub.client("events"), hub.client("sqs")
        url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
        taken = 0
        refused: set[str] = set()
        for _ in range(120):
            (outcome,) = events.put_events(Entries=[entry])["Entries"]
            taken += "EventId" in outcome
            if "ErrorCode" in outcome:
                refused.add(outcome["ErrorCode"])
        assert refused == {"ThrottlingException"}
        assert hub.get("/healthz")[0] == 200
        with pytest.raises(ClientError) as error:
            sqs.send_message(QueueUrl=url, MessageBody="y" * 900_000)
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 503)

        def held() -> int:
            attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            return int(attributes["Attributes"]["ApproximateNumberOfMessages"])

        eventually(lambda: held() == taken)
        hub.kill()
        hub.start()
        sqs = hub.client("sqs")
        url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
        assert held() == taken
        sqs.purge_queue(QueueUrl=url)
        eventually(lambda: "EventId" in hub.client("events").put_events(Entries=[entry])["Entries"][0])
        assert not [line for line in hub.log if line["event"] == "request.bug"]
