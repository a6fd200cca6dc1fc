"""How fast the control plane answers, and whether changing rules disturbs delivery.

    python -m loadtest.control_plane [--calls 200] [--samples 4000] [--slices 10] [--rules 1000 10000]

Three parts, each with its goals:

1. every operation of the `events` service, one call after the other over one kept connection to an idle hub with 10,000
   rules and 1,000 buses, every change synced to the disk: under 5 ms, p50. The disk alone is asked before and after:
   how long the two syncs of a commit take on it without any hub, which no change can beat;
2. whole listings of 10,000 rules, of the rules of one target, and of 1,000 buses: under 30 ms a page of 100;
3. events delivered to a queue outside the hub, 200 a second, while rules of the same bus are put, changed and deleted,
   20 a second, in turns with nothing else going on: p99 from PutEvents to arrival at most 1.5 times as long.

TMPDIR says which disk; a file system in memory shows what the hub itself takes. Client and hub share the machine, and
what else it does decides about p99: where slices differ by more than a few times among themselves, the ratio says
nothing of the hub. Writes loadtest/results/control_plane.json; exits with 1 where a goal is missed.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from loadtest import disturbance
from loadtest.client import Connection, request
from loadtest.control_plane_calls import LAP, Step, pattern, resources, steps
from loadtest.disturbance import Spread, answered, call, spread
from loadtest.durability import disk_ms
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import write
from router.api.operations import _ACTIONS

CALL_P50_MS_MAX = 5.0
PAGE_MS_MAX = 30.0
RATIO_MAX = 1.5
_RULES = 10_000
_BUSES = 1_000
_MANY = "many"
_TARGET = f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"
_PAUSE_S = 0.002
_RULES_ASKED = 1_000
_UNMEASURED = 3
"""Calls of each operation, the first ones, that do not count."""
OPERATIONS = frozenset({*_ACTIONS, "PutEvents", "PutPartnerEvents"})


class Sizes(msgspec.Struct, frozen=True):
    """How much the hub has beside what the calls make."""

    rules: int = _RULES
    buses: int = _BUSES


def _settings(calls: int, sizes: Sizes) -> dict[str, Any]:
    own, *others = resources(calls + _UNMEASURED)
    own["buses"] += [{"Name": _MANY}, *({"Name": f"bus-{number}"} for number in range(sizes.buses))]
    own["rules"] = [
        {
            "Name": f"rule-{number}",
            "EventBusName": _MANY,
            "EventPattern": json.loads(pattern(number)),
            "Targets": [{"Id": "queue", "Arn": _TARGET}],
        }
        for number in range(sizes.rules)
    ]
    return {"regions": [entry["region"] for entry in (own, *others)], "resources": [own, *others]}


async def _timed(connection: Connection, payload: bytes, what: str) -> tuple[float, bytes]:
    """How long a call takes, in ms, and its answer."""
    started = time.perf_counter()
    body = await answered(connection, payload, what)
    return (time.perf_counter() - started) * 1000, body


async def _operations(connection: Connection, calls: int) -> dict[str, Spread]:
    wanted = steps(OPERATIONS)
    took: dict[str, list[float]] = {step.operation: [] for step in wanted}
    for first in range(0, calls + _UNMEASURED, LAP):
        for step in wanted:
            for number in range(first, min(first + LAP, calls + _UNMEASURED)):
                for before in step.before:
                    await answered(connection, _payload(before, number), before.operation)
                payload = _payload(step, number)
                await asyncio.sleep(_PAUSE_S)
                took[step.operation].append((await _timed(connection, payload, step.operation))[0])
    return {operation: spread(each[_UNMEASURED:]) for operation, each in took.items()}


def _payload(step: Step, number: int) -> bytes:
    return request(f"AWSEvents.{step.operation}", step.body(number), account=step.account(number), region=REGION)


async def _listing(connection: Connection, operation: str, member: str, expected: int, **members: Any) -> list[float]:
    """How long each page takes, in ms. Raises RuntimeError where the listing is not whole."""
    took: list[float] = []
    more: dict[str, Any] = {}
    found: set[str] = set()
    while True:
        page_ms, body = await _timed(connection, call(operation, **members, **more), operation)
        took.append(page_ms)
        answer = json.loads(body)
        found.update(entry if isinstance(entry, str) else entry["Name"] for entry in answer[member])
        if "NextToken" not in answer:
            break
        more = {"NextToken": answer["NextToken"]}
    if len(found) != expected:
        raise RuntimeError(f"{operation} listed {len(found)}, expected {expected}")
    return took


async def _listings(connection: Connection, sizes: Sizes) -> dict[str, Spread]:
    many = {"EventBusName": _MANY, "Limit": 100}
    rules = await _listing(connection, "ListRules", "Rules", sizes.rules, **many)
    names = await _listing(connection, "ListRuleNamesByTarget", "RuleNames", sizes.rules, TargetArn=_TARGET, **many)
    unknown = [
        took
        for _ in range(100)
        for took in await _listing(
            connection, "ListRuleNamesByTarget", "RuleNames", 0, TargetArn=f"{_TARGET}-other", **many
        )
    ]
    targets = [
        (
            await _timed(
                connection, call("ListTargetsByRule", Rule=f"rule-{number * 7919 % sizes.rules}", **many), "targets"
            )
        )[0]
        for number in range(_RULES_ASKED)
    ]
    buses = await _listing(connection, "ListEventBuses", "EventBuses", sizes.buses, Limit=100, NamePrefix="bus-")
    return {
        f"ListRules, {sizes.rules:,} rules": spread(rules),
        f"ListRuleNamesByTarget, all of {sizes.rules:,} rules": spread(names),
        f"ListRuleNamesByTarget, none of {sizes.rules:,} rules": spread(unknown),
        f"ListTargetsByRule, {_RULES_ASKED:,} of {sizes.rules:,} rules": spread(targets),
        f"ListEventBuses, {sizes.buses:,} buses": spread(buses),
    }


async def _changes(connection: Connection, calls: int, sizes: Sizes) -> dict[str, Spread]:
    """Changes on the bus that has many rules."""
    put, targets, deleted = [], [], []
    for number in range(calls):
        name = f"new-{number}"
        payload = call("PutRule", Name=name, EventBusName=_MANY, EventPattern=pattern(sizes.rules + number))
        put.append((await _timed(connection, payload, "PutRule"))[0])
        given = {"Rule": name, "EventBusName": _MANY}
        payload = call("PutTargets", **given, Targets=[{"Id": "queue", "Arn": _TARGET}])
        targets.append((await _timed(connection, payload, "PutTargets"))[0])
        await answered(connection, call("RemoveTargets", **given, Ids=["queue"]), "RemoveTargets")
        payload = call("DeleteRule", Name=name, EventBusName=_MANY)
        deleted.append((await _timed(connection, payload, "DeleteRule"))[0])
        await asyncio.sleep(_PAUSE_S)
    named = {"PutRule": put, "PutTargets": targets, "DeleteRule": deleted}
    return {f"{name}, bus of {sizes.rules:,} rules": spread(took) for name, took in named.items()}


class Calls(msgspec.Struct, frozen=True):
    """`disk_ms` is the disk's own time for a commit, before and after the calls; `load` the machine's, likewise."""

    operations: dict[str, Spread]
    listings: dict[str, Spread]
    disk_ms: tuple[float, float]
    load: tuple[float, float]


def measure_calls(calls: int, sizes: Sizes) -> Calls:
    """Parts 1 and 2, on one fresh hub."""

    async def all_calls(port: int) -> tuple[dict[str, Spread], dict[str, Spread]]:
        connection = await Connection.open(port)
        listings = await _listings(connection, sizes)
        operations = await _operations(connection, calls)
        operations |= await _changes(connection, calls, sizes)
        connection.close()
        return operations, listings

    before, load = disk_ms(), os.getloadavg()[0]
    with Hub(_settings(calls, sizes)) as hub:
        operations, listings = asyncio.run(all_calls(hub.port))
    return Calls(operations, listings, (round(before, 2), round(disk_ms(), 2)), (load, os.getloadavg()[0]))


Goal = tuple[str, str, bool]


def goals(calls: Calls | None, found: list[disturbance.Result]) -> Iterator[Goal]:
    """What was wanted, what was reached, and whether that is enough."""
    if calls is not None:
        name, worst = max(calls.operations.items(), key=lambda item: item[1].p50_ms)
        yield (
            f"every call, p50: < {CALL_P50_MS_MAX:g} ms",
            f"{worst.p50_ms:.2f} ms ({name})",
            worst.p50_ms < CALL_P50_MS_MAX,
        )
        name, worst = max(calls.listings.items(), key=lambda item: item[1].p50_ms)
        yield (
            f"every listing, p50 of a page: < {PAGE_MS_MAX:g} ms",
            f"{worst.p50_ms:.2f} ms ({name})",
            worst.p50_ms < PAGE_MS_MAX,
        )
    for result in found:
        told = (
            f"{result.ratio:.2f} (slice by slice: median {statistics.median(result.ratios):.2f}, "
            f"{result.ratios[0]:.2f} to {result.ratios[-1]:.2f})"
        )
        name = f"delivery's p99 while rules change, {result.rules:,} rules: <= {RATIO_MAX:g} times"
        yield name, told, result.ratio <= RATIO_MAX


def table(calls: Calls) -> str:
    """Parts 1 and 2 as people read them."""
    width = max(map(len, (*calls.operations, *calls.listings)))
    lines = [f"{'ms':<{width}}  {'calls':>6}{'p50':>8}{'p99':>8}{'max':>8}"]
    for name, one in (*calls.operations.items(), *calls.listings.items()):
        lines.append(f"{name:<{width}}  {one.count:>6}{one.p50_ms:>8.2f}{one.p99_ms:>8.2f}{one.max_ms:>8.2f}")
    lines.append("the disk alone, p50: {:.2f} before, {:.2f} after".format(*calls.disk_ms))
    lines.append("load of the machine: {:.1f} before, {:.1f} after".format(*calls.load))
    return "\n".join(lines)


def run(calls: int, rules: list[int], *, samples: int, slices: int, tell: Callable[[str], None]) -> bool:
    """Measure, tell, write the results; whether all goals were reached."""
    found = measure_calls(calls, Sizes()) if calls else None
    if found is not None:
        tell(table(found))
    results = []
    for count in rules:
        tell(f"\n{count:,} rules on the bus, load {os.getloadavg()[0]:.1f}")
        results.append(disturbance.measure(count, samples=samples, slices=slices, tell=tell))
    reached = list(goals(found, results))
    tell("")
    for wanted, got, met in reached:
        tell(f"{wanted}: {got}{'' if met else '   NOT REACHED'}")
    write("control_plane", {"calls": msgspec.to_builtins(found), "disturbance": msgspec.to_builtins(results)})
    return all(met for *_, met in reached)


def main() -> None:
    """Run once."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--calls", type=int, default=200, help="calls of each operation (default 200; 0: none)")
    arguments.add_argument("--rules", type=int, nargs="*", default=[1000, 10_000], help="sizes of the bus in part 3")
    arguments.add_argument("--samples", type=int, default=4000, help="events in each phase of part 3 (default 4000)")
    arguments.add_argument("--slices", type=int, default=10, help="of each phase of part 3, in turns (default 10)")
    chosen = arguments.parse_args()
    reached = run(
        chosen.calls,
        chosen.rules,
        samples=chosen.samples,
        slices=chosen.slices,
        tell=lambda line: print(line, flush=True),
    )
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
