"""The users of the load scenarios, for locust. `make load` runs it with a hub; with one's own hub:

    python -m loadtest.estate > estate.yaml && crossbus serve estate.yaml
    locust -f loadtest/locustfile.py --host http://127.0.0.1:4610 --scenario burst -u 50 -r 50 -t 60 Producer

What a scenario does when is `scenarios.py`'s; this follows it. With `--notes FOLDER` the hub's metrics are kept at
every change of phase, and what clients saw. Requests carry the name of their phase, so that locust's report tells them
apart. A user waits until its last request is answered, so a hub that is too slow is sent less.
"""

import json
import random
import time
import urllib.request
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment

from loadtest.client import unsigned_headers
from loadtest.cloudtrail import CloudTrail
from loadtest.estate import CENTRAL, CENTRAL_REGION, detection
from loadtest.scenarios import NOISY, NOISY_REGION, SCENARIOS, Phase, Scenario

RECORDS = 20
ORDERS = 10
_BATCHES = 300
_NOISE = 10.0  # a neighbour's requests to a producer's
_RULES_PER_S = 10.0
_SEED = 7


class Play:
    """The scenario as it runs: which phase it is, what was acknowledged, and when."""

    def __init__(self, scenario: Scenario, seconds: float, notes: Path | None) -> None:
        self.scenario = scenario
        self.phase: Phase = scenario.phases[0]
        self.acknowledged = 0
        self.withheld = 0
        self.notes = notes
        self.times: list[tuple[str, float]] = []
        self.script: gevent.Greenlet | None = None
        self._seconds = seconds
        trail = CloudTrail(_SEED)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        places = [trail.place() for _ in range(_BATCHES)]
        self.batches = [(place, trail.batch(RECORDS, *place, now)) for place in places]
        self.noise = [trail.batch(RECORDS, NOISY, NOISY_REGION, now) for _ in range(20)]

    def run(self, environment: Environment) -> None:
        """The phases, one after the other."""
        for phase in self.scenario.phases:
            self._note(environment, phase.name)
            for name in phase.removed:
                _call(environment, "DELETE", f"/_hub/v1/profiles?name={name}")
            for profile in phase.put:
                _call(environment, "PUT", "/_hub/v1/profiles", json.dumps(profile).encode())
            self.phase = phase
            gevent.sleep(self._seconds * phase.share)

    def end(self, environment: Environment) -> None:
        """The phases end, all profiles are as the hub file has them, and what clients saw is kept."""
        if self.script is not None:
            self.script.kill()
        self._note(environment, "end")
        _call(environment, "DELETE", "/_hub/v1/profiles")
        if self.notes is None:
            return
        rows = [
            {
                "name": name,
                "requests": entry.num_requests,
                "failures": entry.num_failures,
                "p50_ms": entry.get_response_time_percentile(0.5),
                "p99_ms": entry.get_response_time_percentile(0.99),
            }
            for (name, _), entry in environment.stats.entries.items()
        ]
        said = {
            "times": self.times,
            "acknowledged": self.acknowledged,
            "withheld": self.withheld,
            "requests": rows,
            "errors": [
                f"{error.occurrences} x {error.name}: {str(error.error)[:300]}"
                for error in environment.stats.errors.values()
            ][:20],
        }
        (self.notes / "clients.json").write_text(json.dumps(said, indent=1))

    def _note(self, environment: Environment, name: str) -> None:
        self.times.append((name, time.time()))
        if self.notes is not None:
            text = _call(environment, "GET", "/metrics")
            (self.notes / f"{len(self.times) - 1}-{name}.txt").write_bytes(text)


_PLAYS: WeakKeyDictionary[Environment, Play] = WeakKeyDictionary()


def _call(environment: Environment, method: str, path: str, body: bytes | None = None) -> bytes:
    """A call to the hub that is no part of the load."""
    request = urllib.request.Request(f"{environment.host}{path}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: bytes = answer.read()
    return found


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="steady", help="what happens when")
    parser.add_argument("--notes", default="", help="a folder for the hub's metrics at every change of phase")


@events.test_start.add_listener
def _start(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    notes = Path(options.notes) if options.notes else None
    play = Play(SCENARIOS[options.scenario], float(options.run_time or 60), notes)
    _PLAYS[environment] = play
    play.script = gevent.spawn(play.run, environment)


@events.test_stop.add_listener
def _stop(environment: Environment, **_: Any) -> None:
    _PLAYS[environment].end(environment)


class _Paced(FastHttpUser):
    """Sends at its rate, or waits where its phase gives it nothing to do."""

    abstract = True
    _due = 0.0
    """When the next request is, on the monotonic clock."""

    def on_start(self) -> None:
        self.dice = random.Random(f"{_SEED}-{type(self).__name__}-{self.environment.runner.user_count}")
        gevent.sleep(self.dice.random())

    @property
    def play(self) -> Play:
        return _PLAYS[self.environment]

    def rate(self, phase: Phase) -> float:
        """Requests a second, 0 for none."""
        raise NotImplementedError

    def wait_time(self) -> float:
        rate, now = self.rate(self.play.phase), time.monotonic()
        if not rate:
            return 0.2
        self._due = max(self._due + 1 / rate, now)
        return self._due - now

    def records(self, place: tuple[str, str], body: bytes) -> None:
        with self.client.post(
            "/aws-events/" + "/".join(place),
            data=body,
            headers={"Content-Type": "application/json"},
            name=f"records [{self.play.phase.name}]",
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}: {(answer.text or '')[:200]}")
                return
            taken = answer.json()
            self.play.acknowledged += taken["accepted"]
            self.play.withheld += taken["withheld"]
            if taken["failed"]:
                answer.failure(str(taken["failures"])[:200])

    def aws(self, action: str, body: object, *, place: tuple[str, str]) -> dict[str, Any]:
        """One EventBridge call of an account."""
        account, region = place
        with self.client.post(
            "/",
            data=json.dumps(body).encode(),
            headers=unsigned_headers(f"AWSEvents.{action}", account=account, region=region),
            name=f"{action} [{self.play.phase.name}]",
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}: {(answer.text or '')[:200]}")
                return {}
            found: dict[str, Any] = answer.json()
            failed = found.get("FailedEntryCount", 0)
            if failed:
                answer.failure(f"{failed} entries failed: {str(found)[:200]}")
            return found


class Producer(_Paced):
    """An account's services and its shop: CloudTrail records of all places, and orders through PutEvents."""

    weight = 9

    def rate(self, phase: Phase) -> float:
        return phase.rate

    @task(4)
    def trail(self) -> None:
        place, body = self.dice.choice(self.play.batches)
        self.records(place, body)

    @task(1)
    def orders(self) -> None:
        place, _ = self.dice.choice(self.play.batches)
        entries = [
            {
                "Source": "shop",
                "DetailType": "order",
                "Detail": json.dumps(
                    {
                        "id": self.dice.getrandbits(48),
                        "state": self.dice.choice(("placed", "paid", "shipped", "refunded")),
                        "lines": [{"sku": f"sku-{self.dice.randrange(999)}", "count": 1}] * self.dice.randrange(1, 12),
                    }
                ),
            }
            for _ in range(ORDERS)
        ]
        found = self.aws("PutEvents", {"Entries": entries}, place=place)
        self.play.acknowledged += sum("EventId" in entry for entry in found.get("Entries", ()))


class Neighbour(_Paced):
    """One account that goes wild."""

    weight = 1

    def rate(self, phase: Phase) -> float:
        return _NOISE if phase.noisy else 0.0

    @task
    def noise(self) -> None:
        if self.play.phase.noisy:
            self.records((NOISY, NOISY_REGION), self.dice.choice(self.play.noise))


class Deployer(_Paced):
    """Puts rules on the central bus, new ones and changed ones in turn."""

    fixed_count = 1
    _number = 0

    def rate(self, phase: Phase) -> float:
        return _RULES_PER_S if phase.deploying else 0.0

    @task
    def deploy(self) -> None:
        if not self.play.phase.deploying:
            return
        self._number += 1
        number = self._number
        rule = detection(number)
        place = (CENTRAL, CENTRAL_REGION)
        name = f"deployed-{number % 200}"
        self.aws(
            "PutRule",
            {"Name": name, "EventBusName": "central", "EventPattern": json.dumps(rule["EventPattern"])},
            place=place,
        )
        self.aws("PutTargets", {"Rule": name, "EventBusName": "central", "Targets": rule["Targets"]}, place=place)
