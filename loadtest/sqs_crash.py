"""Messages from a queue, through the hub, into another queue outside it, while the hub is killed: is anything lost?

    python -m loadtest.sqs_crash [--fauxqs PATH] [--events 10000] [--kills 2]

Source and destination are queues of one SQS-protocol server that is not the hub's: fauxqs, where it is found, or else
moto's. The hub is killed with SIGKILL while messages are in flight, and started again on its folder. At the end every
event is looked for in the destination, outside the hub. Exits with 1 when one is missing.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from typing import Any

from loadtest.hub import REGION, Hub
from loadtest.sqs_source import QueueServer

_VISIBILITY_S = 5
_WAIT_S_MAX = 300.0


def settings(server: QueueServer, account: str, pollers: int) -> dict[str, Any]:
    """A hub in the server's account, with its queue `events` as a source and its queue `recorded` as a target."""
    endpoint = f"http://127.0.0.1:{server.port}"
    keys = {"access_key_id": account, "secret_access_key": "none-that-counts"}
    source = {
        "queue_url": server.queue_url,
        "endpoint": endpoint,
        "queue_region": REGION,
        "credentials": keys,
        "account": account,
        "region": REGION,
        "pollers": pollers,
    }
    target = {"Id": "recorded", "Arn": f"arn:aws:sqs:{REGION}:{account}:recorded"}
    rule = {"Name": "all", "EventPattern": {"source": ["shop"]}, "Targets": [target]}
    return {
        "accounts": [{"id": account}],
        "sqs_sources": [source],
        "endpoints": [{"service": "sqs", "url": endpoint, "credentials": keys}],
        "resources": [{"account": account, "region": REGION, "rules": [rule]}],
    }


async def _depth(server: QueueServer, url: str) -> tuple[int, int]:
    """Messages that are visible, and in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = await server.call("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": names})
    return int(answer["Attributes"][names[0]]), int(answer["Attributes"][names[1]])


async def _until_in_flight(server: QueueServer, recorded_url: str, *, recorded: int) -> tuple[int, int]:
    """Wait until so many are recorded and messages are in flight; how many of both."""
    end = time.monotonic() + _WAIT_S_MAX
    while time.monotonic() < end:
        count, _ = await _depth(server, recorded_url)
        _, in_flight = await _depth(server, server.queue_url)
        if count >= recorded and in_flight:
            return count, in_flight
        await asyncio.sleep(0.005)
    raise RuntimeError(f"not {recorded} events were recorded within {_WAIT_S_MAX:g} s")


async def _read(server: QueueServer, url: str, seen: dict[str, int]) -> None:
    """Take what is recorded; `seen` counts how often each event came, by its number."""
    while True:
        answer = await server.call("ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10})
        messages = answer.get("Messages") or []
        if not messages:
            return
        for message in messages:
            number = json.loads(message["Body"])["resources"][0]
            seen[number] = seen.get(number, 0) + 1
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        await server.call("DeleteMessageBatch", {"QueueUrl": url, "Entries": entries})


async def _read_all(server: QueueServer, url: str, events: int) -> dict[str, int]:
    """Read until all events have come and the source is empty, or the time is over."""
    seen: dict[str, int] = {}
    end = time.monotonic() + _WAIT_S_MAX
    while time.monotonic() < end:
        await _read(server, url, seen)
        if len(seen) >= events and await _depth(server, server.queue_url) == (0, 0):
            await _read(server, url, seen)
            return seen
        await asyncio.sleep(0.1)
    return seen


def main() -> None:
    """Run once, print what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--fauxqs", metavar="PATH", help="the fauxqs program (default: the one on PATH, if any)")
    arguments.add_argument("--events", type=int, help="messages of one event each (default 10000, from moto 500)")
    arguments.add_argument("--kills", type=int, default=2, help="how often the hub is killed (default 2)")
    arguments.add_argument("--pollers", type=int, default=8, help="long polls at a time (default 8)")
    chosen = arguments.parse_args()
    fauxqs = chosen.fauxqs or shutil.which("fauxqs")
    events = chosen.events or (10_000 if fauxqs else 500)
    with QueueServer(fauxqs, visibility_s=_VISIBILITY_S) as server:
        recorded_url = asyncio.run(server.call("CreateQueue", {"QueueName": "recorded"}))["QueueUrl"]
        asyncio.run(server.fill(events))
        account = server.queue_url.split("/")[3]
        with Hub(settings(server, account, chosen.pollers)) as hub:
            for kill in range(chosen.kills):
                wanted = events * (kill + 1) // (chosen.kills + 2)
                recorded, in_flight = asyncio.run(_until_in_flight(server, recorded_url, recorded=wanted))
                hub.kill()
                print(f"killed with {recorded:,} recorded and {in_flight} messages in flight", flush=True)
                hub.start()
            seen = asyncio.run(_read_all(server, recorded_url, events))
    lost = events - len(seen)
    print(f"{events:,} events, {chosen.kills} kills: {lost} lost, {sum(seen.values()) - len(seen)} came twice")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
