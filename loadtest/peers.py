"""crossbus beside other local EventBridges: `crossbus bench --against` each of them, one after the other.

    python -m loadtest.peers [--runs 3] [--events 20000] [--only moto] [--folder DIR]

Each peer is installed from the package index at the version pinned here, into a virtual environment of its own in a
folder that is thrown away (or is kept, with --folder), and runs as it comes, on this machine, alone. A slow peer gets
fewer events. Writes peers.json (every run) and peers.md (the table) into loadtest/results.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from loadtest.hub import ACCOUNT, Hub
from loadtest.report import processor, write
from router import __version__

RULES = (1, 100, 1000)
_READY_S_MAX = 60.0
_BENCH_S_MAX = 1800.0
_LATENCY_S = 30


class Peer(msgspec.Struct, frozen=True):
    """A program that speaks EventBridge's API. `{port}` in its command and environment is the port to listen on."""

    name: str
    package: str
    version: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    share: float
    """Of the events that crossbus gets, so that a run takes a minute and not an hour."""
    note: str


PEERS = (
    Peer(
        "ministack",
        "ministack",
        "1.5.33",
        ("ministack",),
        {"GATEWAY_PORT": "{port}"},
        0.1,
        "keeps events in memory (with PERSIST_STATE=1 it writes its state when it stops, so a crash loses them); "
        "a delivery that fails is logged and dropped, without retry or dead-letter queue; a thread for each POST, no "
        "rate limit",
    ),
    Peer(
        "moto",
        "moto[server]",
        "5.2.5",
        ("moto_server", "-p", "{port}"),
        {"MOTO_EVENTS_INVOKE_HTTP": "true"},
        0.015,
        "keeps events in memory; delivers inside PutEvents, without retry or dead-letter queue; calls API destinations "
        "only with MOTO_EVENTS_INVOKE_HTTP=true, and then without the event",
    ),
)
_OURS = "crossbus"
_COLUMNS = {"queue": "queue, {rules:,} rule", "http": "HTTP target", "latency": "HTTP target, 20 events a second"}

Outcomes = list[dict[str, Any]]


def installed(peer: Peer, folder: Path) -> Path:
    """The folder with the peer's programs; made where it is not there."""
    environment = folder / f"{peer.name}-{peer.version}"
    programs = environment / "bin"
    if not (programs / peer.command[0]).exists():
        print(f"installing {peer.package}=={peer.version}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, f"{peer.package}=={peer.version}"], check=True, timeout=600, env=_clean())
    return programs


def _clean() -> dict[str, str]:
    """The environment without what would make a peer import this project or call anything else than the peer."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS_", "CROSSBUS_"))}


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[tuple[int, int]]:
    """A fresh process of the peer: its port and its process id."""
    programs = installed(peer, folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [str(programs / peer.command[0]), *(part.format(port=port) for part in peer.command[1:])],
        env={**_clean(), **{name: value.format(port=port) for name, value in peer.environment.items()}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        _wait_for(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _READY_S_MAX
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not answer on port {port} after {_READY_S_MAX:g} s")


def bench(port: int, pid: int, events: int, folder: Path) -> dict[str, Any]:
    """`crossbus bench` against a port: what it wrote."""
    file = folder / "outcomes.json"
    file.unlink(missing_ok=True)
    rules = [word for number in RULES for word in ("--rules", str(number))]
    command = [sys.executable, "-m", "router", "bench", "--against", f"http://127.0.0.1:{port}", *rules]
    options = ["--events", str(events), "--latency-s", str(_LATENCY_S), "--pid", str(pid), "--json", str(file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CROSSBUS_"))}
    done = subprocess.run(
        [*command, *options, "--account", ACCOUNT], timeout=_BENCH_S_MAX, check=False, env=environment
    )
    if not file.exists():
        raise RuntimeError(f"crossbus bench ended with {done.returncode}")
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def measure(peers: Sequence[Peer], runs: int, events: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What each said in each run; the runs take turns. Each run has a fresh process."""
    results: dict[str, list[dict[str, Any]]] = {_OURS: [], **{peer.name: [] for peer in peers}}
    for number in range(1, runs + 1):
        print(f"\nrun {number} of {runs}: crossbus {__version__}", flush=True)
        with Hub({"inboxes": {"messages_max": 10_000_000}}) as hub:
            time.sleep(1.0)
            results[_OURS].append(bench(hub.port, hub.process.pid, events, folder))
        for peer in peers:
            print(f"\nrun {number} of {runs}: {peer.name} {peer.version}", flush=True)
            with running(peer, folder) as (port, pid):
                results[peer.name].append(bench(port, pid, max(10, round(events * peer.share)), folder))
    return results


def medians(runs: Sequence[dict[str, Any]]) -> Outcomes:
    """One outcome for each that all runs have: the median of each figure, None where a run has none."""
    found = []
    for same in zip(*(run["outcomes"] for run in runs), strict=False):
        outcome = dict(same[0])
        for name, value in same[0].items():
            values = [each[name] for each in same]
            if name not in ("rules", "is_supported") and isinstance(value, int | float):
                outcome[name] = None if None in values else statistics.median(values)
        found.append(outcome)
    return found


def table(results: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Markdown: a row for each measurement, a column for each program."""
    names = [name for name, runs in results.items() if runs]
    found = {name: {_row(outcome): outcome for outcome in medians(results[name])} for name in names}
    rows = list(found[_OURS])
    versions = {_OURS: __version__} | {peer.name: peer.version for peer in PEERS}
    lines = [
        f"| delivered | {' | '.join(f'{name} {versions[name]}' for name in names)} | crossbus, times the best |",
        f"| --- |{' --- |' * (len(names) + 1)}",
    ]
    for row in rows:
        outcomes = [found[name].get(row) for name in names]
        lines.append(f"| {row} | {' | '.join(map(_cell, outcomes))} | {_times(outcomes)} |")
    memory = [max((o["anonymous_mb"] or 0 for o in found[name].values()), default=0) for name in names]
    lines.append(f"| anonymous memory, at most | {' | '.join(f'{mb:.0f} MB' for mb in memory)} | |")
    return "\n".join(lines)


def _row(outcome: Mapping[str, Any]) -> str:
    rules = outcome["rules"]
    return _COLUMNS[outcome["path"]].format(rules=rules) + ("s" if outcome["path"] == "queue" and rules > 1 else "")


def _cell(outcome: Mapping[str, Any] | None) -> str:
    if outcome is None:
        return "not measured"
    if not outcome["is_supported"]:
        return "not supported"
    if not outcome["arrived"]:
        return "not delivered"
    lost = f" ({outcome['lost']:,.0f} of {outcome['accepted']:,.0f} lost)" if outcome["lost"] else ""
    if outcome["path"] == "latency":
        if outcome["p50_ms"] is None:
            return f"arrived without their ids{lost}"
        return f"p50 {outcome['p50_ms']:.1f}, p99 {outcome['p99_ms']:.1f} ms{lost}"
    per_cpu = outcome["arrived_per_cpu_s"]
    return f"{'-' if per_cpu is None else f'{per_cpu:,.0f}'} / {outcome['arrived_per_s']:,.0f}{lost}"


def _times(outcomes: Sequence[Mapping[str, Any] | None]) -> str:
    """How many times the events a CPU second of the best other."""
    ours, *others = [(outcome or {}).get("arrived_per_cpu_s") for outcome in outcomes]
    known = [other for other in others if other]
    if not ours or not known:
        return ""
    times = ours / max(known)
    return f"{times:.1f}" if times < 10 else f"{times:,.0f}"


def main() -> None:
    """Measure all, print the table, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="runs of each, each with a fresh process (default 3)")
    arguments.add_argument(
        "--events", type=int, default=20_000, help="events a measurement (default 20000; ministack 2000, moto 300)"
    )
    arguments.add_argument("--only", action="append", choices=[peer.name for peer in PEERS], help="this peer")
    arguments.add_argument("--folder", type=Path, help="where the peers are installed, and stay")
    chosen = arguments.parse_args()
    if chosen.runs < 1 or chosen.events < 1000:
        arguments.error("expected at least 1 run and 1000 events")
    peers = [peer for peer in PEERS if not chosen.only or peer.name in chosen.only]
    with tempfile.TemporaryDirectory(prefix="crossbus-peers-") as temporary:
        folder = (chosen.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(peers, chosen.runs, chosen.events, folder)
    path = write("peers", {"version": __version__, "peers": msgspec.to_builtins(peers), "results": results})
    notes = "\n".join(f"- {peer.name} {peer.version}: {peer.note}." for peer in peers)
    loads = [load for found in results.values() for run in found for load in run["load_average"]]
    counts = ", ".join(f"{name} {runs[0]['plan']['events']:,}" for name, runs in results.items())
    path.with_suffix(".md").write_text(
        f"{table(results)}\n\nEvents a CPU second of the process / events a second by the clock; medians of "
        f"{chosen.runs} runs, events a measurement: {counts}. {processor()}, load average {min(loads):.1f} to "
        f"{max(loads):.1f}.\n\n{notes}\n"
    )
    print(f"\n{path.with_suffix('.md').read_text()}\nwrote peers.json and peers.md into {path.parent}")


if __name__ == "__main__":
    main()
