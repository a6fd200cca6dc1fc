"""A soak: a hub at half of what it can, for an hour, while targets are slow, fail, throttle and go away.

    python -m loadtest.soak [--minutes 60] [--rate EVENTS_PER_S] [--results loadtest/results]
    python -m loadtest.soak --chart-only loadtest/results/soak.jsonl

`soak_site.py` says what the hub has, where each event goes and what goes wrong. In one run:

    1. Events are put as fast as the hub takes them, for 20 s; the saturation is how many a second, counted until all of
       them have arrived and have been read. `--rate` leaves this out.
    2. The faults begin, and for so many minutes events are put at half of that, each at its time. Every 5 s `/metrics`
       is read (Prometheus would every 15) and a line is written to soak.jsonl, so that a run that is killed keeps them.
    3. The faults end. When all has arrived every acknowledged event is looked for, on the route where it belongs: at
       its target, or in the dead-letter queue. The hub stops, and `crossbus store verify` checks the store.

It writes soak.json, soak.md with the verdict and soak.svg with the chart too. Ends with 1 when something is lost, comes
where it does not belong or is left over, or when memory or the store grows by more than `soak_verdict.py` allows.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from loadtest.figures import Figures, Labels, between, quantile
from loadtest.hub import Hub
from loadtest.outage_load import ReadHub
from loadtest.report import processor, write
from loadtest.soak_chart import chart
from loadtest.soak_load import Load
from loadtest.soak_site import BUSY, Cycle, masks, profiles, settings
from loadtest.soak_target import Target
from loadtest.soak_verdict import Arrivals, Ending, Line, Sample, audit, good, markdown, samples_of, verdict

_HERE = Path(__file__).parent
_SATURATION_S = 20.0
_SHARE = 0.5
_SAMPLE_S = 5.0
_TOLD_S = 30.0
_SETTLED_S_MAX = 1800.0
"""The longest wait between two tries of a delivery is 900 s."""
_ROUNDS_MIN = 2
"""The faults come at least so many times, also in a short run."""
_DELIVERED = "crossbus_ingestion_to_delivered_seconds"
_LAG = "crossbus_loop_lag_seconds"
Tell = Callable[[str], None]


class _Reading:
    """The hub at one moment."""

    def __init__(self, hub: Hub) -> None:
        self.at = time.monotonic()
        self.cpu_s = hub.cpu_s()
        self.memory_mb = hub.anonymous_mb()
        self.figures = Figures(_get(hub, "/metrics"))
        self.scrape_ms = (time.monotonic() - self.at) * 1000
        self.accepted = self.figures.sum("crossbus_events_accepted_total", _first_bus)
        self.delivered = self.figures.sum("crossbus_deliveries_total", lambda labels: labels["outcome"] == "delivered")
        self.latency = {
            "calm": self.figures.buckets(_DELIVERED, lambda labels: labels["bus"] == "calm"),
            "stormy": self.figures.buckets(_DELIVERED, lambda labels: labels["bus"] != "calm"),
        }
        self.lag = self.figures.buckets(_LAG)


def _first_bus(labels: Labels) -> bool:
    return labels["bus"] in ("calm", "stormy")


class _Soak:
    """One run on a hub that is there, with its samples and what they add up to."""

    def __init__(self, hub: Hub, load: Load, target: Target, cycle: Cycle, jsonl: Path) -> None:
        self._hub = hub
        self._load = load
        self._target = target
        self._cycle = cycle
        self._jsonl = jsonl
        self._began = 0.0
        self._busy = False
        self._before: _Reading | None = None
        self._latency: dict[str, dict[float, float]] = {}
        self.samples: list[Sample] = []
        self.saturation: float | None = None

    def saturate(self, seconds: float) -> float:
        """How many events a second the hub takes and delivers, and readers take, while nothing goes wrong."""
        started = time.monotonic()
        self._load.saturate(seconds)
        self.settle()
        self.saturation = self._load.sent().acknowledged / (time.monotonic() - started)
        return self.saturation

    def storm(self, rate: float, seconds: float, tell: Tell) -> None:
        """Put events at the rate while things go wrong."""
        for profile in profiles(rate, self._cycle):
            _put(self._hub, profile)
        self._load.sent()  # what was late before does not count
        self._began = told = time.monotonic()
        self._before = _Reading(self._hub)
        self._load.pace(rate)
        # Short runs, which are for a look, are looked at more often.
        every_s = min(_SAMPLE_S, seconds / 12)
        while (gone_s := time.monotonic() - self._began) < seconds:
            self._switch(busy=self._cycle.within(self._cycle.busy, gone_s))
            time.sleep(min(every_s - gone_s % every_s, seconds - gone_s))
            sample = self._sample("soak")
            if time.monotonic() >= told + _TOLD_S:
                told = time.monotonic()
                tell(_progress(sample))
        self._load.stop()

    def settle(self, tell: Tell = lambda line: None) -> float:
        """Wait until every acknowledged event has arrived and nothing is pending; seconds that took."""
        started = told = time.monotonic()
        acknowledged = self._load.sent().acknowledged
        while (gone_s := time.monotonic() - started) < _SETTLED_S_MAX:
            arrived = sum(events for events, _ in self._target.arrived().values())
            if arrived >= acknowledged and not self._pending():
                break
            time.sleep(0.1)
            if self._before is not None and time.monotonic() - self._before.at >= _SAMPLE_S:
                self._sample("settling")
            if time.monotonic() >= told + _TOLD_S:
                told = time.monotonic()
                tell(f"{acknowledged - arrived:,} have not arrived yet")
        return gone_s

    def calm_down(self) -> None:
        """Let nothing go wrong any more."""
        _call(self._hub, "DELETE", "/_hub/v1/profiles")

    def end(self, rate: float, seconds: float, settled_s: float) -> Ending:
        """Look for every event, stop the hub and verify its store."""
        pending = self._pending()
        status = json.loads(_get(self._hub, "/_hub/v1/status"))
        figures = Figures(_get(self._hub, "/metrics"))
        names = [str(profile["name"]) for profile in profiles(rate, self._cycle)]
        sent, acknowledged = self._load.sent(), self._load.counts()
        routes: dict[str, Arrivals] = {
            name: audit(acknowledged, self._target.counts(name), mask) for name, mask in masks().items()
        }
        self._target.stop()
        return Ending(
            minutes=round(seconds / 60, 2),
            rate=round(rate, 1),
            saturation=self.saturation,
            acknowledged=sent.acknowledged,
            throttled=sent.throttled,
            refused=sent.refused,
            unanswered=sent.unanswered,
            error=sent.error,
            routes=routes,
            pending=pending,
            dead_letters_kept=status["dead_letters"],
            sink_bugs=round(figures.sum("crossbus_sink_bugs_total") + figures.sum("crossbus_api_bugs_total")),
            faults={name: round(figures.sum("crossbus_faults_injected_total", _of(name))) for name in names},
            settled_s=round(settled_s, 1),
            verified=_verified(self._hub),
            p99_ms={name: _ms(quantile(found, 0.99)) for name, found in sorted(self._latency.items())},
        )

    def _pending(self) -> int:
        return int(json.loads(_get(self._hub, "/_hub/v1/status"))["pending"])

    def _switch(self, *, busy: bool) -> None:
        if busy != self._busy:
            _put(self._hub, {"name": BUSY, "enabled": busy})
            self._busy = busy

    def _sample(self, phase: Any) -> Sample:
        before, now, sent = self._before, _Reading(self._hub), self._load.sent()
        assert before is not None
        self._before = now
        seconds = now.at - before.at
        start_s, end_s = before.at - self._began, now.at - self._began
        away = phase == "soak" and self._cycle.touches(self._cycle.away, start_s, end_s)
        came = {bus: between(before.latency[bus], found) for bus, found in now.latency.items()}
        for bus, buckets in came.items():
            name = f"bus `{bus}`, {'while the ledger is away' if away else 'otherwise'}"
            total = self._latency.setdefault(name, {})
            for bound, count in buckets.items():
                total[bound] = total.get(bound, 0.0) + count

        def of(bus: str, share: float) -> float | None:
            return _ms(quantile(came[bus], share))

        sample = Sample(
            at_s=round(end_s, 2),
            phase=phase,
            away=away,
            busy=phase == "soak" and self._busy,
            memory_mb=round(now.memory_mb, 2),
            store_mb=round(now.figures.sum("crossbus_store_bytes") / 1e6, 2),
            store_used_mb=round(now.figures.sum("crossbus_store_bytes_in_use") / 1e6, 2),
            pending=round(now.figures.sum("crossbus_deliveries_pending")),
            parked=round(now.figures.sum("crossbus_deliveries_parked")),
            accepted_per_s=round((now.accepted - before.accepted) / seconds, 1),
            delivered_per_s=round((now.delivered - before.delivered) / seconds, 1),
            calm_p50_ms=of("calm", 0.5),
            calm_p99_ms=of("calm", 0.99),
            stormy_p50_ms=of("stormy", 0.5),
            stormy_p99_ms=of("stormy", 0.99),
            loop_lag_p99_ms=_ms(quantile(between(before.lag, now.lag), 0.99)),
            cpu=round((now.cpu_s - before.cpu_s) / seconds, 3),
            fds=round(now.figures.sum("crossbus_process_open_fds")),
            behind_s=round(sent.behind_s, 3),
            throttled=sent.throttled,
            scrape_ms=round(now.scrape_ms, 1),
        )
        self.samples.append(sample)
        with self._jsonl.open("ab") as file:
            file.write(msgspec.json.encode(sample) + b"\n")
        return sample


def _of(profile: str) -> Callable[[Labels], bool]:
    return lambda labels: labels["profile"] == profile


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _progress(sample: Sample) -> str:
    wrong = [name for name, on in (("ledger away", sample.away), ("webhook busy", sample.busy)) if on]
    p99 = "–" if sample.calm_p99_ms is None else f"{sample.calm_p99_ms:.0f} ms"
    return (
        f"{sample.accepted_per_s:,.0f} accepted and {sample.delivered_per_s:,.0f} delivered a second, p99 {p99}, "
        f"{sample.memory_mb:.1f} MB, store {sample.store_used_mb:.0f} of {sample.store_mb:.0f} MB, "
        f"{sample.parked:,} parked, processor {sample.cpu:.0%}" + "".join(f", {name}" for name in wrong)
    )


def _get(hub: Hub, path: str) -> str:
    return _call(hub, "GET", path)


def _put(hub: Hub, profile: Mapping[str, Any]) -> None:
    _call(hub, "PUT", "/_hub/v1/profiles", json.dumps(profile).encode())


def _call(hub: Hub, method: str, path: str, body: bytes | None = None) -> str:
    asked = urllib.request.Request(f"http://127.0.0.1:{hub.port}{path}", data=body, method=method)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def _verified(hub: Hub) -> str:
    """Stop the hub and have its store verified."""
    hub.process.terminate()
    hub.process.wait(60)
    command = [sys.executable, "-m", "router", "store", "verify", "--data-folder", str(hub.data_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "good" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def run(
    minutes: float,
    results: Path,
    *,
    rate: float | None = None,
    saturation_s: float = _SATURATION_S,
    tell: Tell = lambda line: None,
) -> list[Line]:
    """One soak; the verdict, which stands in the results as well. `tell` hears how far it is."""
    results.mkdir(parents=True, exist_ok=True)
    jsonl = results / "soak.jsonl"
    jsonl.write_bytes(b"")
    seconds = minutes * 60
    cycle = Cycle(min(Cycle().repeat_s, seconds / _ROUNDS_MIN))
    with ExitStack() as stack:
        target = stack.enter_context(Target())
        hub = stack.enter_context(ReadHub(settings(target.port)))
        target.read(hub.port)
        load = stack.enter_context(Load(hub.port))
        soak = _Soak(hub, load, target, cycle, jsonl)
        if rate is None:
            saturation = soak.saturate(saturation_s)
            rate = saturation * _SHARE
            tell(f"saturation: {saturation:,.0f} events a second; the soak has {rate:,.0f}")
        soak.storm(rate, seconds, tell)
        tell("the faults end")
        soak.calm_down()
        settled_s = soak.settle(tell)
        ending = soak.end(rate, seconds, settled_s)
    lines = verdict(soak.samples, ending)
    write("soak", {"ending": msgspec.to_builtins(ending), "verdict": msgspec.to_builtins(lines)}, folder=results)
    (results / "soak.md").write_text(markdown(lines, ending, processor()))
    (results / "soak.svg").write_text(chart(soak.samples, title=_title(soak.samples)))
    return lines


def _title(samples: Sequence[Sample]) -> str:
    minutes = max((one.at_s for one in samples if one.phase == "soak"), default=0.0) / 60
    return f"A soak of {minutes:.0f} minutes" if minutes >= 2 else "A soak"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once, print the verdict; or draw the chart of a run that there was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--rate", type=float, help="events a second; without it half of what the hub can")
    parser.add_argument("--saturation-s", type=float, default=_SATURATION_S, help="how long that is looked for")
    parser.add_argument("--results", type=Path, default=_HERE / "results")
    parser.add_argument("--chart-only", type=Path, metavar="FILE", help="draw FILE.svg from samples, and nothing else")
    chosen = parser.parse_args(arguments)
    if chosen.chart_only is not None:
        samples = samples_of(chosen.chart_only)
        path = chosen.chart_only.with_suffix(".svg")
        path.write_text(chart(samples, title=_title(samples)))
        print(f"written: {path}, {len(samples)} samples")
        return 0
    started = time.monotonic()
    lines = run(
        chosen.minutes,
        chosen.results,
        rate=chosen.rate,
        saturation_s=chosen.saturation_s,
        tell=lambda line: print(f"{time.monotonic() - started:7.1f} s  {line}", flush=True),
    )
    print(f"\n{(chosen.results / 'soak.md').read_text()}\nwritten: {chosen.results}/soak.md, .svg, .json, .jsonl")
    return 0 if good(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
