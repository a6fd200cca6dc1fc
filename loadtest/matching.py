"""The rule table: events matched per CPU second of one core, against decoding them into dicts.

    python -m loadtest.matching [--bench ../shared/bench] [--only ct-100,EXACT] [--rounds 3] [--changes]

For each workload: the JSON text of the whole event in, the keys of the matching rules out; and for the CloudTrail ones
the hub's own way, where the envelope's fields are known and only the detail is decoded. Passes of decoding and of
matching alternate, and the best of each counts, so that a multiple is of one run. `limit` is the multiple that passing
over the text reaches, checking it and keeping nothing: no matcher on the same decoder is faster. Every count of matches
is compared with the published one; a wrong count ends the run. --changes measures building and changing a table of
10,000 rules instead. Writes loadtest/results/matching.json (or changes.json). The workloads are generated once, into
--data.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from loadtest.report import processor, write
from router.core.event import Event
from router.core.pattern import Pattern, parse
from router.core.ruletable import RuleTable

CLOUDTRAIL_MATCHES = {10: 1_217, 100: 20_946, 1_000: 280_127, 10_000: 2_440_026}
"""Of 100,000 events; the workloads' README."""
FLOORS = {"ct-10": 2.0, "ct-100": 1.6, "ct-1000": 0.9, "ct-10000": 0.35} | {
    "COMPLEX_ARRAYS": 0.35,
    "PARTIAL_COMBO": 0.6,
    "COMBO": 0.25,
}
"""Multiples of the decode that were asked for; 2.0 for the other sets."""
EVENT_RULER = {"ct-10": 89_000, "ct-100": 53_000, "ct-1000": 22_600, "ct-10000": 4_100, "EXACT": 193_000} | {
    "WILDCARD": 179_000,
    "PREFIX": 232_000,
    "SUFFIX": 213_000,
    "NUMERIC": 138_000,
    "ANYTHING_BUT": 166_000,
    "COMPLEX_ARRAYS": 28_000,
    "PARTIAL_COMBO": 45_700,
    "COMBO": 14_900,
}
"""Events a CPU second of AWS's own engine, as the workloads' README measured them on another machine of this kind."""

Rules = list[tuple[str, Pattern]]


class _Nothing(msgspec.Struct):
    """Of an object, nothing."""


def cpu_s(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def generated(bench: Path, data: Path, script: str, output: str, arguments: Sequence[str]) -> Path:
    """The workload's file, made by its script if it is not there yet."""
    path = data / output
    if not path.exists():
        if not (bench / script).exists():
            sys.exit(f"there is no {bench / script}: name the folder with the workloads' generators, --bench FOLDER")
        print(f"generating {path}", flush=True)
        data.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(bench / script), *arguments], check=True, stdout=subprocess.DEVNULL)
    return path


def rules_of(path: Path) -> tuple[Rules, dict[str, int]]:
    """The rules of a file, and how many events each of them should match, where the file says so."""
    listed = json.loads(path.read_text())
    expected = {rule["name"]: rule["expect"] for rule in listed if "expect" in rule}
    return [(rule["name"], parse(json.dumps(rule["pattern"]))) for rule in listed], expected


def prepared(rules: Rules) -> RuleTable[str]:
    table = RuleTable.build(rules)
    for _ in table.prepare():
        pass
    return table


def check(name: str, counts: Counter[str], expected: dict[str, int], total: int | None) -> None:
    """End the run where a count is not the published one."""
    wrong = {rule: (count, counts[rule]) for rule, count in expected.items() if counts[rule] != count}
    if wrong or (total is not None and counts.total() != total):
        sys.exit(f"{name}: wrong counts, expected and got: {wrong or (total, counts.total())}")


def measured(
    texts: Sequence[str], table: RuleTable[str], rounds: int, events: Sequence[Event] | None
) -> dict[str, float]:
    """Microseconds an event of decoding, matching and, with events, the hub's way; the best of alternating passes."""
    decode, match_json, match = msgspec.json.decode, table.match_json, table.match
    scan = msgspec.json.Decoder(_Nothing).decode

    def decoding() -> None:
        for text in texts:
            decode(text)

    def matching() -> None:
        for text in texts:
            match_json(text)

    def in_the_hub() -> None:
        for event in events or ():
            match(event)

    def scanning() -> None:
        for text in texts:
            scan(text)

    passes: dict[str, list[float]] = {"decode": [], "match": [], "hub": [], "scan": []}
    for _ in range(rounds):
        passes["decode"].append(cpu_s(decoding))
        passes["scan"].append(cpu_s(scanning))
        passes["match"].append(cpu_s(matching))
        passes["hub"].append(cpu_s(in_the_hub))
    best = {name: min(seconds) / len(texts) * 1e6 for name, seconds in passes.items()}
    ratios = [decode / match for decode, match in zip(passes["decode"], passes["match"], strict=True)]
    figures = {
        "decode_us": best["decode"],
        "match_us": best["match"],
        "events_per_cpu_s": 1e6 / best["match"],
        "multiple_of_decode": best["decode"] / best["match"],
        "limit": best["decode"] / best["scan"],
        "multiple_of_decode_median": statistics.median(ratios),
    }
    if events is not None:
        figures |= {"hub_us": best["hub"], "hub_multiple_of_decode": best["decode"] / best["hub"]}
    return figures


def as_event(text: str) -> Event:
    """An event as the hub's front door hands it to the table."""
    envelope = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    fields = {name: msgspec.json.decode(envelope[name]) for name in envelope if name != "detail"}
    return Event(
        fields["id"],
        fields["detail-type"],
        fields["source"],
        fields["account"],
        fields["time"],
        fields["region"],
        tuple(fields["resources"]),
        bytes(envelope["detail"]).decode(),
    )


def one_workload(name: str, texts: Sequence[str], rules_path: Path, rounds: int) -> dict[str, float]:
    rules, expected = rules_of(rules_path)
    table = prepared(rules)
    events = [as_event(text) for text in texts] if name.startswith("ct-") else None
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(table.match_json(text))
    check(name, counts, expected, CLOUDTRAIL_MATCHES[int(name[3:])] if events else None)
    if events:
        in_hub: Counter[str] = Counter()
        for event in events:
            in_hub.update(table.match(event))
        check(f"{name} in the hub", in_hub, dict(counts), None)
    gc.collect()
    gc.freeze()  # the workload itself is not the table's to look after
    return measured(texts, table, rounds, events) | {"rules": len(rules), "matches": counts.total()}


def bar(multiple: float, floor: float) -> str:
    """The multiple as a bar; the mark is the floor."""
    cells = [*("█" * min(30, round(multiple * 10)))]
    cells += [" "] * (31 - len(cells))
    cells[min(30, round(floor * 10))] = "│"
    return "".join(cells).rstrip()


def show(results: dict[str, dict[str, float]]) -> None:
    table = Table(title="Multiples of decoding into dicts; the line in a bar is the floor")
    table.add_column("workload")
    table.add_column("")
    for column in (
        "multiple",
        "floor",
        "limit",
        "µs",
        "decode µs",
        "events/CPU s",
        "event-ruler x",
        "in the hub µs",
        "matches",
    ):
        table.add_column(column, justify="right")
    for name, figures in results.items():
        floor = FLOORS.get(name, 2.0)
        ruler = EVENT_RULER.get(name)
        table.add_row(
            name,
            bar(figures["multiple_of_decode"], floor),
            f"{figures['multiple_of_decode']:.2f}",
            f"{floor:.2f}",
            f"{figures['limit']:.2f}",
            f"{figures['match_us']:.2f}",
            f"{figures['decode_us']:.2f}",
            f"{figures['events_per_cpu_s']:,.0f}",
            f"{figures['events_per_cpu_s'] / ruler:.1f}" if ruler else "",
            f"{figures['hub_us']:.2f}" if "hub_us" in figures else "",
            f"{figures['matches']:,.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    console.print(f"{processor()}, Python {sys.version.split()[0]}, msgspec {msgspec.__version__}")


# Building and changing


def anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def building(rules_path: Path, *, any_source: bool) -> dict[str, float]:
    """Building a table of all rules, then one change after the other; in a process of its own, for the memory."""
    listed = json.loads(rules_path.read_text())
    texts = []
    for rule in listed:
        if any_source:
            rule["pattern"].pop("source", None)
        texts.append((rule["name"], json.dumps(rule["pattern"])))
    before_mb = anonymous_mb()
    rules: Rules = []
    parsing = cpu_s(lambda: rules.extend((name, parse(text)) for name, text in texts))
    parsed_mb = anonymous_mb()
    table: RuleTable[str] = RuleTable.build([])

    def build() -> None:
        nonlocal table
        table = prepared(rules)

    built = cpu_s(build)
    gc.collect()
    figures = {
        "rules": len(rules),
        "parse_cpu_s": parsing,
        "build_cpu_s": built,
        "patterns_mb": parsed_mb - before_mb,
        "table_mb": anonymous_mb() - parsed_mb,
    }
    return figures | changing(table, "" if any_source else '"source":["aws.ec2"],')


def changing(table: RuleTable[str], source: str) -> dict[str, float]:
    """Putting, matching, removing and merging rules on the table, one at a time."""
    event = '{"source":"aws.ec2","detail-type":"x","account":"1","detail":{"eventName":"RunInstances"}}'
    table.match_json(event)
    puts: list[float] = []
    firsts: list[float] = []
    for number in range(50):
        pattern = parse(f'{{{source}"detail":{{"eventName":["Event{number}"]}}}}')
        started = time.perf_counter()
        table = table.with_rules([(f"new-{number}", pattern)])
        if number % 2:
            table = table.without([f"new-{number - 1}"])
        puts.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = table.match_json(event.replace("RunInstances", f"Event{number}"))
        firsts.append(time.perf_counter() - started)
        if f"new-{number}" not in found:
            sys.exit(f"a rule that was put is not live: new-{number}")
    steps: list[float] = []
    merging = table.merging()
    while True:
        started = time.perf_counter()
        try:
            next(merging)
        except StopIteration:
            steps.append(time.perf_counter() - started)
            break
        steps.append(time.perf_counter() - started)
    return {
        "change_ms_max": max(puts) * 1e3,
        "first_event_after_change_ms_max": max(firsts) * 1e3,
        "first_event_after_change_ms_median": statistics.median(firsts) * 1e3,
        "merge_steps": len(steps),
        "merge_step_ms_max": max(steps) * 1e3,
        "merge_ms": sum(steps) * 1e3,
    }


def changes(rules_path: Path) -> None:
    results = {}
    for name, any_source in (("fifty sources", False), ("no rule names a source", True)):
        read, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write_end, json.dumps(building(rules_path, any_source=any_source)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        results[name] = json.loads(os.read(read, 65536))
        print(f"\n10,000 CloudTrail rules, {name}")
        for figure, value in results[name].items():
            print(f"  {figure:<36} {value:>12,.2f}")
    write("changes", {"workloads": results})


def main() -> None:
    """Run, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"), help="folder of the workloads")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "crossbus-bench")
    parser.add_argument("--only", default="", help="these workloads, with commas between them")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each kind; the best counts (default 3)")
    parser.add_argument("--changes", action="store_true", help="measure building and changing a table instead")
    chosen = parser.parse_args()
    bench, data = chosen.bench, chosen.data
    cloudtrail = generated(bench, data, "gen_cloudtrail.py", "cloudtrail.jsonl", ["--out", str(data)])
    if chosen.changes:
        changes(data / "rules_ct_10000.json")
        return
    workloads = [(f"ct-{count}", cloudtrail, data / f"rules_ct_{count}.json") for count in CLOUDTRAIL_MATCHES]
    city = data / "citylots2.jsonl"
    workloads += [(path.stem[6:], city, path) for path in sorted(bench.glob("rules_*.json"))]
    wanted = [one for one in workloads if not chosen.only or one[0] in chosen.only.split(",")]
    if any(path == city for _, path, _ in wanted):
        generated(bench, data, "gen_citylots2.py", city.name, [str(city)])
    results: dict[str, dict[str, float]] = {}
    texts: dict[Path, Sequence[str]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("matching", total=len(wanted))
        for name, path, rules_path in wanted:
            progress.update(task, description=f"matching {name}")
            if path not in texts:
                texts = {path: path.read_text().splitlines()}
            results[name] = one_workload(name, texts[path], rules_path, chosen.rounds)
            progress.advance(task)
    show(results)
    facts: dict[str, Any] = {"workloads": results, "floors": {name: FLOORS.get(name, 2.0) for name in results}}
    print(f"wrote {write('matching', facts)}")


if __name__ == "__main__":
    main()
