"""An SQS-protocol server not ours: moto's, in this process, on a free port; it forgets everything at the end."""

import json
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from router.core.event import message_event_id
from tests.e2e.hub import REGION, WORKLOAD

ACCOUNT = "123456789012"  # moto's own
_KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "none-that-counts"}


class Depth(NamedTuple):
    """Messages that can be received now, and those that were received and not deleted."""

    visible: int
    in_flight: int


class QueueServer:
    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> Self:
        self._server.start()
        self.url = "http://{}:{}".format(*self._server.get_host_and_port())
        self._reset()  # moto keeps one state a process
        self.sqs = self.client("sqs")
        return self

    def __exit__(self, *_: object) -> None:
        self._reset()
        self._server.stop()

    def _reset(self) -> None:
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=_KEYS["access_key_id"],
            aws_secret_access_key=_KEYS["secret_access_key"],
            config=Config(retries={"max_attempts": 0}),
        )

    def create(self, name: str, *, visibility_s: int = 30, dead_letters: str = "", receives_max: int = 2) -> str:
        """A queue's URL; `dead_letters` is the name of the queue that gets what was received too often."""
        attributes = {"VisibilityTimeout": str(visibility_s)}
        if dead_letters:
            policy = {"deadLetterTargetArn": self.arn(dead_letters), "maxReceiveCount": receives_max}
            attributes["RedrivePolicy"] = json.dumps(policy)
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def arn(self, name: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def source(self, url: str, **settings: Any) -> dict[str, Any]:
        """The hub file's entry for a queue source."""
        return {
            "queue_url": url,
            "endpoint": self.url,
            "queue_region": REGION,
            "credentials": _KEYS,
            "account": WORKLOAD,
            "region": REGION,
            "wait_s": 1,
            **settings,
        }

    def send(self, url: str, bodies: Sequence[str]) -> list[str]:
        """The messages' ids, in order."""
        ids: list[str] = []
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            answer = self.sqs.send_message_batch(QueueUrl=url, Entries=entries)
            assert not answer.get("Failed"), answer
            found = {row["Id"]: row["MessageId"] for row in answer["Successful"]}
            ids += [found[entry["Id"]] for entry in entries]
        return ids

    def event_ids(self, url: str, message_ids: Sequence[str], events_per_message: int) -> list[str]:
        """The ids that events get which bring none."""
        arn = self.arn(url.rpartition("/")[2])
        return [message_event_id(arn, message, n) for message in message_ids for n in range(events_per_message)]

    def depth(self, url: str) -> Depth:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return Depth(*(int(found[name]) for name in names))

    def bodies(self, url: str) -> list[str]:
        """The bodies of all visible messages, which are received but not deleted."""
        found: list[str] = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in messages]
        return found
