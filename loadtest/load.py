"""One load scenario against a fresh hub: `make load SCENARIO=steady USERS=50 SECONDS=60`.

    python -m loadtest.load --scenario burst --users 50 --seconds 60 [--results loadtest/results]

Starts a hub with `estate.py`'s hub file, runs locust beside it without its web page, waits until everything is
delivered, and writes locust's report, the hub's metrics and log, and a summary in Markdown, each named after the
scenario. Fails when an event was lost, a request failed or a delivery was given up; latencies are reported and never
fail, for machines differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loadtest.estate import CENTRAL, LAKE_KIND, settings
from loadtest.figures import Figures, between, bracket, quantile
from loadtest.hub import Hub
from loadtest.report import processor
from loadtest.scenarios import SCENARIOS, Scenario

_HERE = Path(__file__).parent
_DELIVERED = "crossbus_ingestion_to_delivered_seconds"
_POLL_S = 0.5
_SETTLE_S_MAX = 180.0
_SLOWER_MAX = 2.0
_SLOWER_S_MAX = 0.05  # and no more than that, so that a few ms are not called slow


class Watch:
    """The hub's backlog over time, from its status twice a second."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.rows: list[tuple[float, dict[str, Any]]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(_POLL_S):
            self.rows.append((time.time(), status(self._url)))

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def most(self, key: str, start: float, end: float) -> int:
        return max((int(row[key]) for moment, row in self.rows if start <= moment < end), default=0)


def status(url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(url, "/_hub/v1/status"))
    return found


def get(url: str, path: str) -> bytes:
    with urllib.request.urlopen(url + path, timeout=60) as answer:
        found: bytes = answer.read()
    return found


class Run:
    """What came of a run: the clients' notes, and the hub's figures at the beginning of each phase and at the end."""

    def __init__(self, scenario: Scenario, notes: Path, watch: Watch, last: str, settled_s: float) -> None:
        self.scenario = scenario
        self.clients: dict[str, Any] = json.loads((notes / "clients.json").read_text())
        self.times: list[tuple[str, float]] = [(name, moment) for name, moment in self.clients["times"]]
        self.figures = [
            Figures((notes / f"{number}-{name}.txt").read_text()) for number, (name, _) in enumerate(self.times)
        ]
        self.last = Figures(last)
        self.watch = watch
        self.settled_s = settled_s

    def phases(self) -> Iterator[tuple[str, float, float, Figures, Figures]]:
        """Name, beginning, end, and the figures there."""
        for number, (name, start) in enumerate(self.times[:-1]):
            yield name, start, self.times[number + 1][1], self.figures[number], self.figures[number + 1]

    def latencies(self, phase: str, of: Any) -> dict[float, float]:
        """The histogram of what was delivered in a phase."""
        for name, _, _, before, after in self.phases():
            if name == phase:
                return between(before.buckets(_DELIVERED, of), after.buckets(_DELIVERED, of))
        raise KeyError(phase)

    def checks(self) -> Iterator[tuple[bool, str]]:
        """What must hold, whatever the machine."""
        last, clients = self.last, self.clients
        taken = last.sum("crossbus_events_accepted_total", lambda labels: labels["bus"] == "default")
        created = last.sum("crossbus_deliveries_created_total")
        delivered = last.sum("crossbus_deliveries_total", lambda labels: labels["outcome"] == "delivered")
        dead = last.sum("crossbus_deliveries_total", lambda labels: labels["outcome"] == "dead_letter")
        pending = last.sum("crossbus_deliveries_pending")
        failures = sum(row["failures"] for row in clients["requests"])
        bugs = last.sum("crossbus_sink_bugs_total") + last.sum("crossbus_api_bugs_total")
        central = _at_center(last, "crossbus_events_accepted_total")
        kept = sum(_lake(last, outcome) for outcome in ("delivered", "dead_letter"))
        sent = clients["acknowledged"]
        # A request whose answer never came may have been taken all the same.
        exactly = taken == sent if not failures else taken >= sent
        yield exactly, f"acknowledged events that the hub accepted: {taken:,.0f} of {sent:,}"
        yield (
            created == delivered + dead + pending,
            f"deliveries made: {created:,.0f}, of which delivered {delivered:,.0f}",
        )
        yield pending == 0, f"pending {self.settled_s:.0f} s after the end: {pending:,.0f}"
        yield dead == 0, f"dead letters: {dead:,.0f}"
        yield (
            central == kept,
            f"events on the central bus that its unchanged rule for all has delivered: {kept:,.0f} of {central:,.0f}",
        )
        yield failures == 0, f"requests that failed: {failures:,}"
        yield bugs == 0, f"bugs: {bugs:,.0f}"
        names = {str(profile["name"]) for phase in self.scenario.phases for profile in phase.put}
        if names:
            touched = last.sum("crossbus_faults_injected_total", lambda labels: labels["profile"] in names)
            yield touched > 0, f"attempts that {' and '.join(sorted(names))} did something to: {touched:,.0f}"

    def comparisons(self) -> Iterator[tuple[bool, str]]:
        """What should hold, on a machine that is not busy with other things."""
        for one in self.scenario.comparisons:
            rows = [self.latencies(phase, one.of) for phase in (one.before, one.during)]
            before, during = (quantile(buckets, 0.99) for buckets in rows)
            if before is None or during is None:
                yield False, f"p99 of {one.who}: too few deliveries to tell"
                continue
            good = during <= max(before * _SLOWER_MAX, before + _SLOWER_S_MAX)
            text = f"{_ms(before)} in `{one.before}`, {_ms(during)} in `{one.during}`"
            same = bracket(rows[0], 0.99)
            if same is not None and same == bracket(rows[1], 0.99):
                text += f" (estimates: the histogram has both between {_ms(same[0])} and {_ms(same[1])})"
            yield good, f"p99 from acceptance to delivery of {one.who}: {text}"

    def markdown(self, *, users: int, seconds: int) -> str:
        """The summary."""
        lines = [
            f"# {self.scenario.name}",
            "",
            self.scenario.about,
            "",
            f"{users} users for {seconds} s; hub and clients share {processor()}.",
            "",
            "| phase | s | events/s | deliveries/s | p50 | p99 | pending, at most | parked, at most | dead letters |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(_phase_row(self.watch, *phase) for phase in self.phases()),
            "",
            "p50 and p99: from acceptance to delivery, all deliveries, from the hub's histogram.",
            "",
            "| requests | count | failed | p50 | p99 |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(
                f"| {row['name']} | {row['requests']:,} | {row['failures']:,} | {row['p50_ms']:.0f} ms "
                f"| {row['p99_ms']:.0f} ms |"
                for row in self.clients["requests"]
            ),
            "",
            "## It must show",
            *(f"- {'yes' if good else '**NO**'}: {text}" for good, text in self.checks()),
            "",
            "## It should show, on a quiet machine",
            f"(at most {_SLOWER_MAX:g} times as long, or {_ms(_SLOWER_S_MAX)} more)",
            "",
            *(f"- {'yes' if good else 'no'}: {text}" for good, text in self.comparisons()),
        ]
        if self.clients["errors"]:
            lines += ["", "## Errors", *(f"- {error}" for error in self.clients["errors"])]
        return "\n".join(lines) + "\n"


def _phase_row(watch: Watch, name: str, start: float, end: float, before: Figures, after: Figures) -> str:
    seconds = max(end - start, 0.001)

    def rate(metric: str, where: Any) -> str:
        return f"{(after.sum(metric, where) - before.sum(metric, where)) / seconds:,.0f}"

    taken = between(before.buckets(_DELIVERED), after.buckets(_DELIVERED))
    dead = [figures.sum("crossbus_deliveries_total", _given_up) for figures in (before, after)]
    return (
        f"| {name} | {seconds:.0f} "
        f"| {rate('crossbus_events_accepted_total', lambda labels: labels['bus'] == 'default')} "
        f"| {rate('crossbus_deliveries_total', lambda labels: labels['outcome'] == 'delivered')} "
        f"| {_ms(quantile(taken, 0.5))} | {_ms(quantile(taken, 0.99))} "
        f"| {watch.most('pending', start, end):,} | {watch.most('parked', start, end):,} "
        f"| {dead[1] - dead[0]:,.0f} |"
    )


def _given_up(labels: Any) -> bool:
    return bool(labels["outcome"] == "dead_letter")


def _at_center(figures: Figures, metric: str) -> float:
    return figures.sum(metric, lambda labels: (labels["account"], labels["bus"]) == (CENTRAL, "central"))


def _lake(figures: Figures, outcome: str) -> float:
    return figures.sum(
        "crossbus_deliveries_total",
        lambda labels: (labels["account"], labels["sink"], labels["outcome"]) == (CENTRAL, LAKE_KIND, outcome),
    )


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:,.0f} ms"


def locust(scenario: Scenario, url: str, notes: Path, report: Path, *, users: int, seconds: int) -> None:
    """Run it to its end. Raises CalledProcessError where it could not run; requests that failed are in its notes."""
    command = [sys.executable, "-m", "locust", "-f", str(_HERE / "locustfile.py"), "--headless", "--host", url]
    command += ["-u", str(users), "-r", str(users), "-t", str(seconds), "--html", str(report)]
    command += ["--scenario", scenario.name, "--notes", str(notes), "--exit-code-on-error", "0"]
    command += ["--stop-timeout", "60"]  # a request that is under way at the end is answered, and counted
    command += ["--loglevel", "WARNING", "--only-summary", *scenario.users]
    subprocess.run(command, check=True, cwd=_HERE.parent)


def settled(url: str) -> float:
    """Wait until nothing is pending; how long that took, at most `_SETTLE_S_MAX`."""
    started = time.monotonic()
    while status(url)["pending"] and time.monotonic() - started < _SETTLE_S_MAX:
        time.sleep(_POLL_S)
    return time.monotonic() - started


def run(scenario: Scenario, results: Path, *, users: int, seconds: int) -> bool:
    """Whether everything that must hold did."""
    results.mkdir(parents=True, exist_ok=True)
    base = results / f"load-{scenario.name}"
    (results / "load-hub.yaml").write_text(json.dumps(settings(), indent=1) + "\n")
    with tempfile.TemporaryDirectory(prefix="crossbus-load-") as folder, Hub(settings()) as hub:
        threading.Thread(target=_keep_log, args=(hub, base.with_suffix(".log")), daemon=True).start()
        url = f"http://127.0.0.1:{hub.port}"
        print(f"{scenario.name}: {scenario.about}\nthe hub was ready after {hub.ready_s:.1f} s, at {url}", flush=True)
        watch = Watch(url)
        locust(scenario, url, Path(folder), base.with_suffix(".html"), users=users, seconds=seconds)
        settled_s = settled(url)
        watch.stop()
        text = get(url, "/metrics").decode()
        base.with_suffix(".metrics.txt").write_text(text)
        came = Run(scenario, Path(folder), watch, text, settled_s)
        summary = came.markdown(users=users, seconds=seconds)
        base.with_suffix(".md").write_text(summary)
        print(f"\n{summary}\nwritten: {base}.html, .md, .metrics.txt, .log")
        return all(good for good, _ in came.checks())


def _keep_log(hub: Hub, path: Path) -> None:
    """Read what the hub says until it ends: a pipe that nobody reads would fill up."""
    assert hub.process.stderr is not None
    with path.open("w") as log:
        try:
            log.writelines(hub.process.stderr)
        except ValueError:  # closed as the hub was stopped
            return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One load scenario against a fresh hub.")
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="steady")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--results", type=Path, default=_HERE / "results")
    options = parser.parse_args(arguments)
    if find_spec("locust") is None:
        print("locust is not installed here: `make load` installs it (requirements-load.lock)", file=sys.stderr)
        return 2
    scenario = SCENARIOS[options.scenario]
    return 0 if run(scenario, options.results, users=options.users, seconds=options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
