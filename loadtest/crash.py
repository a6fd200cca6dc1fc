"""A hub under load, killed with SIGKILL at random moments and started again: is an acknowledged event ever lost?

    python -m loadtest.crash [--kills 100] [--start-kills 10] [--seed N] [--rate 3000]

PutEvents comes in at `--rate` events a second. Every event goes to a queue, every twentieth to an API destination too;
both are a recorder outside the hub (`loadtest.recorder`), which takes its time to answer. After each kill the store is
verified offline, then the hub starts on it again. At the end every event that was acknowledged is looked for at the
recorder. Then the recorder stops answering while thousands of events come in, and the hub is killed again and again
while it starts on them (`--start-kills`). All moments are drawn from the seed; a kill under load comes only once the
hub has taken 2,000 events a second since it was ready and has deliveries that are not settled. Exits with 1 when an
event is missing, an invariant of the store is broken, or more came twice than can have been in flight.
"""

import argparse
import asyncio
import json
import random
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.recorder import Recorder
from loadtest.report import write
from router import limits
from router.sinks.api_destination import ApiDestinationSink
from router.sinks.sqs import SqsSink
from router.verify import verify

IN_FLIGHT_MAX = SqsSink.batch_max * SqsSink.concurrency + ApiDestinationSink.concurrency + limits.OUTCOMES_UNSETTLED_MAX
"""Deliveries that a hub can have sent and not settled, to the two targets here."""
RATE_MIN = 2000
_CONNECTIONS = 8
_MOMENT_S_MAX = 1.0
_KILL_S_MAX = 15.0
_SETTLE_S_MAX = 120.0
_START_S_MAX = 20.0
_START_MOMENT_S_MAX = 0.4
"""As long as a start takes from the lock to serving, and a little more."""


class Kill(msgspec.Struct):
    """One kill. Counts are since the start of the run unless they say otherwise."""

    number: int
    after_s: float
    """Since the first request of this process."""
    acknowledged: int
    rate: int
    """Events a second that this process acknowledged."""
    unsettled: int
    """Deliveries that the hub had accepted and not settled, as it said just before."""
    in_flight: int
    """Those of them whose attempt was under way."""
    twice: int = 0
    """Deliveries that came again because of this kill."""
    broken: int = 0
    """Invariants of the store that did not hold after it."""
    ready_s: float = 0.0


class Result(msgspec.Struct):
    """What came of a run."""

    seed: int
    kills: list[Kill]
    acknowledged: int
    deliveries: int
    lost: int
    twice: int
    unacknowledged: int
    """Events that came although nobody was told that they would."""
    seconds: float

    def good(self) -> bool:
        bound = all(kill.twice <= IN_FLIGHT_MAX for kill in self.kills)
        return self.lost == 0 and bound and not any(kill.broken for kill in self.kills)


class StartResult(msgspec.Struct):
    """What came of kills during start-up."""

    seed: int
    moments_s: list[float]
    """Of each kill, since the hub had taken its data folder."""
    pending: int
    """Deliveries that the hub found at the start that was let through."""
    acknowledged: int
    lost: int
    twice: int
    broken: int
    seconds: float

    def good(self) -> bool:
        return not self.lost and not self.broken and self.twice <= IN_FLIGHT_MAX * (len(self.moments_s) + 2)


def settings(recorder_port: int) -> dict[str, Any]:
    """A hub whose queue and API destination are the recorder."""
    url = f"http://127.0.0.1:{recorder_port}"
    keys = {"access_key_id": "none", "secret_access_key": "none-that-counts"}
    key = {"ApiKeyName": "X-Key", "ApiKeyValue": "none-that-counts"}
    queue = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:recorded"}
    destination = {
        "Id": "destination",
        "Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:api-destination/recorder",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/events",
    }
    return {
        "quotas": "raised",
        "endpoints": [{"service": "sqs", "url": url, "credentials": keys}],
        "resources": [
            {
                "account": ACCOUNT,
                "region": REGION,
                "connections": [
                    {
                        "Name": "recorder",
                        "AuthorizationType": "API_KEY",
                        "AuthParameters": {"ApiKeyAuthParameters": key},
                    }
                ],
                "api_destinations": [
                    {
                        "Name": "recorder",
                        "ConnectionName": "recorder",
                        "InvocationEndpoint": f"{url}/events",
                        "HttpMethod": "POST",
                        "InvocationRateLimitPerSecond": 10_000,
                    }
                ],
                "rules": [
                    {"Name": "all", "EventPattern": {"source": ["shop"]}, "Targets": [queue]},
                    {"Name": "some", "EventPattern": {"detail": {"sample": [True]}}, "Targets": [destination]},
                ],
            }
        ],
    }


def _payload(*, sample: bool) -> bytes:
    """A request of ten entries, the first of which is a sample or is not."""
    entries = [
        {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"sample": sample and not n, "text": "x" * 500})}
        for n in range(10)
    ]
    return request("AWSEvents.PutEvents", {"Entries": entries}, account=ACCOUNT, region=REGION)


_PAYLOADS = (_payload(sample=True), _payload(sample=False))


class Ledger:
    """What was acknowledged: ids of all events, and of those that go to the API destination too."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.samples: list[str] = []

    def took(self, body: bytes, *, sample: bool) -> None:
        ids = [entry["EventId"] for entry in json.loads(body)["Entries"] if "EventId" in entry]
        self.events += ids
        if sample and "EventId" in json.loads(body)["Entries"][0]:
            self.samples.append(ids[0])

    @property
    def deliveries(self) -> int:
        return len(self.events) + len(self.samples)


class _Load:
    """Requests to one process of the hub, until it is gone."""

    def __init__(self, port: int, ledger: Ledger, rate: int) -> None:
        self._port = port
        self._ledger = ledger
        self._rate = rate
        self._sent = 0
        self._before = len(ledger.events)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def acknowledged_per_s(self) -> float:
        return (len(self._ledger.events) - self._before) / self.seconds

    async def worker(self) -> None:
        connection: Connection | None = None
        try:
            connection = await Connection.open(self._port)
            while True:
                due_s = self._sent / self._rate
                self._sent += 10
                sample = self._sent % 20 == 0
                await asyncio.sleep(max(0.0, due_s - self.seconds))
                status, body = await connection.send(_PAYLOADS[0 if sample else 1])
                if status == 200:
                    self._ledger.took(body, sample=sample)
        except (OSError, asyncio.IncompleteReadError):
            return  # the hub is gone
        finally:
            if connection is not None:
                connection.close()


async def _until_killed(hub: Hub, ledger: Ledger, *, moment_s: float, rate: int) -> Kill:
    """Put load on the hub and kill it at the moment, or once it may be killed."""
    load = _Load(hub.port, ledger, rate)
    workers = [asyncio.create_task(load.worker()) for _ in range(_CONNECTIONS)]
    await asyncio.sleep(moment_s)
    while True:
        status = await asyncio.to_thread(_status, hub)
        unsettled = status["pending"]
        if unsettled > 0 and load.acknowledged_per_s >= RATE_MIN:
            break
        if load.seconds > _KILL_S_MAX:
            raise RuntimeError(
                f"expected {RATE_MIN} events a second and unsettled deliveries within {_KILL_S_MAX:g} s, got "
                f"{load.acknowledged_per_s:.0f} and {unsettled}"
            )
        await asyncio.sleep(0.005)
    kill = Kill(0, round(load.seconds, 3), 0, round(load.acknowledged_per_s), unsettled, status["in_flight"])
    hub.process.kill()
    await asyncio.gather(*workers)
    kill.acknowledged = len(ledger.events)
    return kill


def _status(hub: Hub) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.port}/_hub/v1/status", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _settled(hub: Hub) -> None:
    """Wait until nothing is pending."""
    end = time.monotonic() + _SETTLE_S_MAX
    while _status(hub)["pending"]:
        if time.monotonic() > end:
            raise RuntimeError(f"deliveries are still pending after {_SETTLE_S_MAX:g} s")
        time.sleep(0.05)


def run(kills: int, seed: int, *, rate: int = 3000, tell: Callable[[Kill], None] = lambda kill: None) -> Result:
    """One run; `tell` hears of each kill."""
    dice = random.Random(seed)
    ledger = Ledger()
    done: list[Kill] = []
    started = time.monotonic()

    def repeats() -> int:
        return sum(deliveries - events for events, deliveries in recorder.stats().values())

    with Recorder(delay_ms=10) as recorder, Hub(settings(recorder.port)) as hub:
        before = 0
        for number in range(1, kills + 1):
            moment_s = dice.uniform(0.0, _MOMENT_S_MAX)
            kill = asyncio.run(_until_killed(hub, ledger, moment_s=moment_s, rate=rate))
            if done:  # what came twice up to now is the kill's before
                done[-1].twice, before = repeats() - before, repeats()
            hub.kill()
            kill.number = number
            kill.broken = verify(hub.data_folder).problem_count
            hub.start()
            kill.ready_s = round(hub.ready_s, 3)
            done.append(kill)
            tell(kill)
        _settled(hub)
        done[-1].twice = repeats() - before
        came = recorder.ids()
    known = set(ledger.events)
    return Result(
        seed=seed,
        kills=done,
        acknowledged=len(ledger.events),
        deliveries=ledger.deliveries,
        lost=len(known - came["queue"].keys()) + len(set(ledger.samples) - came["destination"].keys()),
        twice=sum(kill.twice for kill in done),
        unacknowledged=len(came["queue"].keys() - known),
        seconds=round(time.monotonic() - started, 1),
    )


class _Pausable(Recorder):
    """A recorder that can be made to hang, connections and all."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


def run_starts(kills: int, seed: int, *, events: int = 4000) -> StartResult:
    """Kill a hub while it starts on `events` events that nobody has taken yet, then let it deliver them."""
    dice = random.Random(seed)
    ledger = Ledger()
    started = time.monotonic()
    result = StartResult(seed, [], 0, 0, 0, 0, 0, 0.0)
    with _Pausable(delay_ms=0) as recorder, Hub(settings(recorder.port)) as hub:
        with recorder.paused():
            asyncio.run(_put(hub.port, ledger, events))
            hub.kill()
            for _ in range(kills):
                moment_s = dice.uniform(0.0, _START_MOMENT_S_MAX)
                _killed_while_starting(hub.data_folder, moment_s)
                result.moments_s.append(round(moment_s, 3))
                result.broken += verify(hub.data_folder).problem_count
            hub.start()
            result.pending = _status(hub)["pending"]
        _settled(hub)
        came = recorder.ids()
        deliveries = sum(found for _, found in recorder.stats().values())
    result.acknowledged = len(ledger.events)
    result.lost = len(set(ledger.events) - came["queue"].keys()) + len(set(ledger.samples) - came["destination"].keys())
    result.twice = deliveries - len(came["queue"]) - len(came["destination"])
    result.seconds = round(time.monotonic() - started, 1)
    return result


async def _put(port: int, ledger: Ledger, events: int) -> None:
    connection = await Connection.open(port)
    while len(ledger.events) < events:
        sample = len(ledger.events) % 20 == 0
        status, body = await connection.send(_PAYLOADS[0 if sample else 1])
        assert status == 200, body
        ledger.took(body, sample=sample)
    connection.close()


def _killed_while_starting(data_folder: Path, moment_s: float) -> None:
    """Start a hub and kill it so long after it has taken the folder. Raises RuntimeError where it ends by itself."""
    command = [sys.executable, "-m", "router", "serve", str(data_folder.parent / "hub.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + _START_S_MAX
        while (data_folder / "lock").read_text().strip() != str(process.pid):
            if process.poll() is not None or time.monotonic() > end:
                break
            time.sleep(0.002)
        time.sleep(moment_s)
        process.kill()
        _, said = process.communicate(timeout=30)
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the hub ended with {process.returncode} while it started: {said[-2000:]}")


def table(result: Result) -> str:
    """The run as people read it: each kill (of many, the first ones), then the sums."""
    head = "kill  after s  events so far  events/s  unsettled  in flight  came twice  broken  ready s"
    rows = [
        f"{k.number:>4}  {k.after_s:>7.3f}  {k.acknowledged:>13,}  {k.rate:>8,}  {k.unsettled:>9,}  {k.in_flight:>9}  "
        f"{k.twice:>10}  {k.broken:>6}  {k.ready_s:>7.3f}"
        for k in result.kills[:20]
    ]
    if len(result.kills) > 20:
        rows.append(f" …    and {len(result.kills) - 20} more")
    most = max(kill.twice for kill in result.kills)
    sums = (
        f"{len(result.kills)} kills, {result.acknowledged:,} events acknowledged, {result.deliveries:,} deliveries: "
        f"{result.lost} lost, {result.twice} came twice (at most {most} a kill, {IN_FLIGHT_MAX} can be in flight), "
        f"{sum(kill.broken for kill in result.kills)} broken invariants; {result.seconds:g} s, seed {result.seed}"
    )
    return "\n".join([head, *rows, sums])


def main() -> None:
    """Run once, print the table, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=100, help="how often the hub is killed (default 100)")
    arguments.add_argument("--start-kills", type=int, default=10, help="kills during start-up (default 10)")
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the moments (default: any)")
    arguments.add_argument("--rate", type=int, default=3000, help="events a second (default 3000)")
    chosen = arguments.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    result = run(
        chosen.kills,
        chosen.seed,
        rate=chosen.rate,
        tell=lambda kill: print(
            f"kill {kill.number} of {chosen.kills}: {kill.acknowledged:,} events so far, {kill.unsettled} unsettled",
            flush=True,
        ),
    )
    print(f"\n{table(result)}")
    starts = run_starts(chosen.start_kills, chosen.seed)
    print(
        f"{len(starts.moments_s)} kills during start-up on {starts.pending:,} pending deliveries of "
        f"{starts.acknowledged:,} events: {starts.lost} lost, {starts.twice} came twice, {starts.broken} broken "
        f"invariants; {starts.seconds:g} s"
    )
    found = {**msgspec.to_builtins(result), "starts": msgspec.to_builtins(starts)}
    write("crash", {"in_flight_max": IN_FLIGHT_MAX, **found})
    sys.exit(0 if result.good() and starts.good() else 1)


if __name__ == "__main__":
    main()
