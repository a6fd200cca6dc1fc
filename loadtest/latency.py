"""From the PutEvents call to the event's arrival: at 20 events a second, and at half of what the path has just been
measured to take.

The load is open: requests go at their rate, answered or not, and a request that has to wait for a connection, or that
is begun late because the client was held up, counts from when it was due. An HTTP target stands outside the hub
(`loadtest.targets`); of the inbox path every twentieth request's events go to a queue of their own, which a client
receives from all the time with long polls. The processes of a machine share its monotonic clock.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import uvloop

from loadtest import ingest
from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.paths import Figures, Sizes, api_destination_settings, at_targets, idle, ms, saturated
from loadtest.targets import Targets
from router.aws.sigv4 import Credentials
from router.bench.load import Put, paced, quantile
from router.bench.requests import ENTRIES, PutEvents, pattern
from router.world import RealWorld

PER_S = 20
_SAMPLED_EVERY = 20
_ARRIVE_S_MAX = 30.0
_CONNECTIONS = 64


def at_20_a_second(sizes: Sizes) -> Figures:
    """One event a request to an HTTP target, 20 a second."""
    with Targets() as targets, Hub(api_destination_settings(targets)) as hub:
        figures = idle(hub)
        uvloop.run(_paced(hub.port, _requests(entries=1), PER_S * 10, 100))
        _arrived(targets, 100)
        targets.forget()
        cpu = hub.cpu_s()
        put = uvloop.run(_paced(hub.port, _requests(entries=1), PER_S, sizes.latency_events))
        used = hub.cpu_s() - cpu
        arrived = _arrived(targets, 100 + sizes.latency_events)
        return {
            **figures,
            **spread(put, arrived, sizes.latency_events),
            "hub_cpu_percent": round(100 * used / put.seconds, 1),
        }


def at_half_to_http(sizes: Sizes) -> Figures:
    """To an HTTP target, at half of what it takes."""
    with Targets() as targets, Hub(api_destination_settings(targets)) as hub:
        wait = at_targets(targets, lambda asked: asked.counts().posts)
        most = saturated(hub, sizes, wait)
        targets.forget()
        rate = most["per_s"] / 2
        count = max(1, round(rate / ENTRIES * sizes.half_s))
        put = uvloop.run(_paced(hub.port, _requests(), rate / ENTRIES, count))
        arrived = _arrived(targets, sizes.warm_up + sizes.events + count * ENTRIES)
        return {**_at_half(most), **spread(put, arrived, count * ENTRIES)}


def at_half_to_inbox(sizes: Sizes) -> Figures:
    """To a simulated queue, at half of what it takes."""

    def wait(hub: Hub, events: int) -> None:
        uvloop.run(ingest.delivered(hub.port, events))

    with Hub(_sampled_settings()) as hub:
        most = saturated(hub, sizes, wait)
        rate = most["per_s"] / 2
        count = max(_SAMPLED_EVERY, round(rate / ENTRIES * sizes.half_s))
        put, arrived = uvloop.run(_sampled(hub.port, rate / ENTRIES, count))
        return {**_at_half(most), **spread(put, arrived, -(-count // _SAMPLED_EVERY) * ENTRIES)}


def spread(put: Put, arrived: dict[str, float], expected: int) -> Figures:
    """The latencies of the events that arrived, by when their requests went. Raises RuntimeError unless all did."""
    latencies = [at - put.at[event_id] for event_id, at in arrived.items() if event_id in put.at]
    if len(latencies) < expected:
        raise RuntimeError(f"{len(latencies)} of {expected} events arrived ({put.refused} were refused)")
    return {
        "p50_ms": ms(quantile(latencies, 0.5)),
        "p99_ms": ms(quantile(latencies, 0.99)),
        "max_ms": ms(max(latencies)),
        "answer_p50_ms": ms(quantile(put.latencies_s, 0.5)),
        "answer_p99_ms": ms(quantile(put.latencies_s, 0.99)),
        "client_late_ms": ms(put.late_s_max),
        "events": len(latencies),
    }


def _at_half(most: Figures) -> Figures:
    """What a run at half of saturation keeps of the saturation."""
    return {
        "per_s": round(most["per_s"] / 2),
        "load_average": most["load_average"],
        "ready_s": most["ready_s"],
        "loaded_anonymous_mb": most["loaded_anonymous_mb"],
    }


def _requests(*, entries: int = ENTRIES, kind: str = "kind-0") -> PutEvents:
    return PutEvents(Credentials(ACCOUNT, "none"), REGION, entries=entries, kind=kind)


async def _paced(port: int, requests: PutEvents, per_s: float, count: int) -> Put:
    return await paced(
        lambda: Connection.open(port), lambda _: requests.take(), per_s=per_s, count=count, connections=_CONNECTIONS
    )


def _arrived(targets: Targets, posts: int) -> dict[str, float]:
    """When events arrived, once so many have been posted."""
    end = time.perf_counter() + _ARRIVE_S_MAX
    while targets.counts().posts < posts and time.perf_counter() < end:
        time.sleep(0.1)
    return targets.arrived()


def _sampled_settings() -> dict[str, Any]:
    settings = ingest.settings(1)
    (resources,) = settings["resources"]
    resources["queues"].append({"QueueName": "sampled", "Attributes": {"VisibilityTimeout": "3600"}})
    sampled = {**pattern(0), "detail": {"kind": ["sampled"]}}
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:sampled"}
    resources["rules"].append({"Name": "sampled", "EventPattern": sampled, "Targets": [target]})
    return settings


async def _sampled(port: int, per_s: float, count: int) -> tuple[Put, dict[str, float]]:
    """Load in which every twentieth request's events go to the queue `sampled`, and when each of them was received."""
    usual, sampled = _requests(), _requests(kind="sampled")
    arrived: dict[str, float] = {}
    expected = -(-count // _SAMPLED_EVERY) * ENTRIES
    receiver = asyncio.ensure_future(_receive(port, arrived, lambda: len(arrived) >= expected))
    try:
        put = await paced(
            lambda: Connection.open(port),
            lambda number: (usual if number % _SAMPLED_EVERY else sampled).take(),
            per_s=per_s,
            count=count,
            connections=_CONNECTIONS,
        )
        await asyncio.wait([receiver], timeout=_ARRIVE_S_MAX)
    finally:
        receiver.cancel()
    return put, arrived


class _Message(msgspec.Struct, rename="pascal"):
    body: str


class _Received(msgspec.Struct, rename="pascal"):
    messages: Sequence[_Message] = ()


class _Envelope(msgspec.Struct):
    id: str


async def _receive(port: int, arrived: dict[str, float], ended: Callable[[], bool]) -> None:
    url = f"http://127.0.0.1:{port}/{ACCOUNT}/sampled"
    body = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 5}
    payload = request("AmazonSQS.ReceiveMessage", body, account=ACCOUNT, region=REGION, service="sqs")
    now = RealWorld().monotonic
    connection = await Connection.open(port)
    try:
        while not ended():
            _, answer = await connection.send(payload)
            at = now()
            for message in msgspec.json.decode(answer, type=_Received).messages:
                arrived.setdefault(msgspec.json.decode(message.body, type=_Envelope).id, at)
    finally:
        connection.close()
