"""Each path that events take through a hub, at saturation: one fresh hub, and the figures of one run.

Requests are `loadtest.ingest`'s: ten entries of 1.3 KB, 16 connections. A run ends when the hub has nothing more to do
for its events, so that its CPU seconds have all the work in them; those of its children count, and none from before the
measured events. Client, targets and hub share the machine.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec
import uvloop

from loadtest import ingest
from loadtest.client import Connection
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.targets import Targets
from router.bench.load import quantile
from router.bench.requests import pattern

Figures = dict[str, float]
Wait = Callable[[Hub, int], None]
"""Waits until so many events, counted since the hub's start, are where they go."""
_SECURITY = "222222222222"
_WAIT_S_MAX = 300.0
_IDLE_S = 1.0
_POLLERS = 8
_KEYS = {"access_key_id": "AKIDTARGETS", "secret_access_key": "none-that-counts"}


class Sizes(msgspec.Struct, frozen=True):
    """How much a run does."""

    events: int = 40_000
    warm_up: int = 2_000
    latency_events: int = 600
    half_s: float = 10.0
    """How long load is held at half of saturation."""


class Peak:
    """The most anonymous memory that a hub has while this is entered."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.mb = 0.0

    def _look(self) -> None:
        while True:
            self.mb = max(self.mb, self._hub.anonymous_mb())
            if self._ended.wait(0.1):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.mb = max(self.mb, self._hub.anonymous_mb())


def ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def per_cpu_s(events: int, used_s: float) -> int:
    """The kernel counts CPU time in ticks: in less than one, a run has used one at most."""
    return round(events / max(used_s, 1 / os.sysconf("SC_CLK_TCK")))


def idle(hub: Hub) -> Figures:
    """A hub that has just started, after a second, and with what earlier runs wrote on the disk: its commits would wait
    for that too."""
    os.sync()
    time.sleep(_IDLE_S)
    return {
        "load_average": round(os.getloadavg()[0], 2),
        "ready_s": round(hub.ready_s, 3),
        "idle_anonymous_mb": round(hub.anonymous_mb(), 1),
    }


def saturated(hub: Hub, sizes: Sizes, wait: Wait | None, *, verified: bool = False) -> Figures:
    """PutEvents as fast as it is answered, until all is where it goes."""
    figures = idle(hub)
    uvloop.run(ingest.load(hub.port, sizes.warm_up, verified=verified))
    if wait:
        wait(hub, sizes.warm_up)
    with Peak(hub) as peak:
        cpu, started = hub.cpu_s(), time.perf_counter()
        accepted_s, latencies = uvloop.run(ingest.load(hub.port, sizes.events, verified=verified))
        if wait:
            wait(hub, sizes.warm_up + sizes.events)
        seconds, used = time.perf_counter() - started, hub.cpu_s() - cpu
    return {
        **figures,
        "accepted_per_s": round(sizes.events / accepted_s),
        "per_s": round(sizes.events / (seconds if wait else accepted_s)),
        "per_cpu_s": per_cpu_s(sizes.events, used),
        "p50_ms": ms(quantile(latencies, 0.5)),
        "p99_ms": ms(quantile(latencies, 0.99)),
        "loaded_anonymous_mb": round(peak.mb, 1),
    }


def settled(hub: Hub) -> None:
    """Wait until the hub has no delivery pending."""
    uvloop.run(_settled(hub.port))


async def _settled(port: int) -> None:
    connection = await Connection.open(port)
    end = time.perf_counter() + _WAIT_S_MAX
    try:
        while time.perf_counter() < end:
            _, answer = await connection.send(b"GET /_hub/v1/status HTTP/1.1\r\nHost: hub\r\n\r\n")
            status = msgspec.json.decode(answer)
            if status["dead_letters"]:
                raise RuntimeError(f"{status['dead_letters']} deliveries became dead letters")
            if not status["pending"]:
                return
            await asyncio.sleep(0.02)
    finally:
        connection.close()
    raise RuntimeError(f"deliveries are still pending after {_WAIT_S_MAX:g} s")


def at_targets(targets: Targets, count: Callable[[Targets], int]) -> Wait:
    """Waits until the targets count so many, and the hub knows."""

    def wait(hub: Hub, events: int) -> None:
        end = time.perf_counter() + _WAIT_S_MAX
        while count(targets) < events:
            if time.perf_counter() > end:
                raise RuntimeError(f"{count(targets)} of {events} events arrived within {_WAIT_S_MAX:g} s")
            time.sleep(0.02)
        settled(hub)

    return wait


def nothing(sizes: Sizes) -> Figures:
    """Accepted; none of 100 rules matches."""
    with Hub(ingest.settings(100, into="nothing")) as hub:
        return saturated(hub, sizes, None)


def archive(sizes: Sizes, *, verified: bool = False) -> Figures:
    """Accepted durably into an archive."""
    with Hub(ingest.settings(1, into="archive", verified=verified)) as hub:
        return saturated(hub, sizes, None, verified=verified)


def inbox(sizes: Sizes, *, rules: int) -> Figures:
    """Delivered to a simulated queue."""

    def wait(hub: Hub, events: int) -> None:
        uvloop.run(ingest.delivered(hub.port, events))

    with Hub(ingest.settings(rules)) as hub:
        return saturated(hub, sizes, wait)


def api_destination(sizes: Sizes) -> Figures:
    """One POST an event."""
    with Targets() as targets, Hub(api_destination_settings(targets)) as hub:
        return saturated(hub, sizes, at_targets(targets, lambda asked: asked.counts().posts))


def sqs_endpoint(sizes: Sizes) -> Figures:
    """SendMessageBatch to an endpoint outside the hub, signed."""
    with (
        Targets() as targets,
        Hub(sqs_endpoint_settings(targets)) as hub,
    ):
        return saturated(hub, sizes, at_targets(targets, lambda asked: asked.counts().messages))


def sqs_source(sizes: Sizes) -> Figures:
    """Received ten at a time, put into an archive, deleted ten at a time."""
    with Targets() as targets, Hub(sqs_source_settings(targets)) as hub:
        wait = at_targets(targets, lambda asked: asked.counts().deleted)
        figures = idle(hub)
        targets.open(sizes.warm_up)
        wait(hub, sizes.warm_up)
        with Peak(hub) as peak:
            cpu, started = hub.cpu_s(), time.perf_counter()
            targets.open(sizes.events)
            wait(hub, sizes.warm_up + sizes.events)
            seconds, used = time.perf_counter() - started, hub.cpu_s() - cpu
        return {
            **figures,
            "per_s": round(sizes.events / seconds),
            "per_cpu_s": per_cpu_s(sizes.events, used),
            "loaded_anonymous_mb": round(peak.mb, 1),
        }


def bus_to_bus(sizes: Sizes) -> Figures:
    """To a bus in another account, and there to a simulated queue."""

    def wait(hub: Hub, events: int) -> None:
        uvloop.run(ingest.delivered(hub.port, events, account=_SECURITY))

    with Hub(bus_to_bus_settings()) as hub:
        return saturated(hub, sizes, wait)


def start(_: Sizes) -> Figures:
    """Started, and left alone."""
    with Hub(ingest.settings(1)) as hub:
        return idle(hub)


def api_destination_settings(targets: Targets) -> dict[str, Any]:
    """A hub whose one rule sends to the HTTP target."""
    key = {"ApiKeyName": "X-Key", "ApiKeyValue": "none-that-counts"}
    role = f"arn:aws:iam::{ACCOUNT}:role/events"
    target = {"Id": "http", "Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:api-destination/http", "RoleArn": role}
    connection = {"Name": "http", "AuthorizationType": "API_KEY", "AuthParameters": {"ApiKeyAuthParameters": key}}
    destination = {
        "Name": "http",
        "ConnectionName": "http",
        "InvocationEndpoint": f"{targets.url}/events",
        "HttpMethod": "POST",
        "InvocationRateLimitPerSecond": 100_000,
    }
    return {
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "connections": [connection],
                "api_destinations": [destination],
                "rules": [{"Name": "http", "EventPattern": pattern(0), "Targets": [target]}],
            }
        ]
    }


def sqs_endpoint_settings(targets: Targets) -> dict[str, Any]:
    """A hub whose queues are at the target."""
    return {**ingest.settings(1), "endpoints": [{"service": "sqs", "url": targets.url, "credentials": _KEYS}]}


def sqs_source_settings(targets: Targets) -> dict[str, Any]:
    """A hub that takes its events from a queue at the target, into an archive."""
    source = {
        "queue_url": f"{targets.url}/{ACCOUNT}/source",
        "endpoint": targets.url,
        "queue_region": REGION,
        "credentials": _KEYS,
        "account": ACCOUNT,
        "region": REGION,
        "pollers": _POLLERS,
    }
    return {**ingest.settings(1, into="archive"), "sqs_sources": [source]}


def bus_to_bus_settings() -> dict[str, Any]:
    """A hub with two accounts: one forwards all to the other's bus, whose rule sends them to a queue."""
    bus = f"arn:aws:events:{REGION}:{_SECURITY}:event-bus/central"
    allowed = {
        "Sid": "workloads",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "events:PutEvents",
        "Resource": bus,
    }
    hop = {"Id": "central", "Arn": bus, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/events"}
    queue = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{_SECURITY}:events"}
    return {
        "accounts": [{"id": ACCOUNT}, {"id": _SECURITY}],
        "inboxes": {"messages_max": 10_000_000},
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "rules": [{"Name": "forward", "EventPattern": pattern(0), "Targets": [hop]}],
            },
            {
                "account": _SECURITY,
                "region": REGION,
                "queues": [{"QueueName": "events"}],
                "buses": [{"Name": "central", "Policy": {"Version": "2012-10-17", "Statement": [allowed]}}],
                "rules": [
                    {
                        "Name": "orders",
                        "EventBusName": "central",
                        "EventPattern": {**pattern(0), "account": [ACCOUNT]},
                        "Targets": [queue],
                    }
                ],
            },
        ],
    }
