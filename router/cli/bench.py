"""`crossbus bench`: the benchmarks' own client, run against any EventBridge-compatible endpoint."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from router import __version__
from router.aws.sigv4 import Credentials
from router.cli.terminal import ACCOUNT, REGION, URL, RegionOption, complain, fail
from router.world import RealWorld, iso_seconds

if TYPE_CHECKING:
    from router.bench.against import Outcome

_RULES_MAX = 100_000
_MEASUREMENTS_MAX = 20
_HEAD = ("to", "accepted", "arrived", "accepted/s", "arrived/s", "per CPU s", "p50 ms", "p99 ms", "MB")

Against = Annotated[
    str, typer.Option(envvar="CROSSBUS_URL", help="The endpoint: crossbus, or what else speaks AWS's API.")
]
Rules = Annotated[
    list[int] | None,
    typer.Option(min=1, max=_RULES_MAX, help="Rules on the bus, one of which matches; again for another measurement."),
]
Events = Annotated[int, typer.Option(min=10, max=10_000_000, help="Events a measurement, 1.3 KB each, ten a request.")]
Connections = Annotated[int, typer.Option(min=1, max=1000, help="Connections, one request at a time on each.")]
AccountOption = Annotated[str, typer.Option(help="The access key to call with, without keys in the environment.")]
Wait = Annotated[float, typer.Option(min=0.1, max=600, help="Give up after so many seconds in which nothing arrives.")]
Http = Annotated[
    bool, typer.Option("--http/--no-http", help="Measure an API destination too; this command is its target.")
]
LatencyS = Annotated[float, typer.Option(min=0, max=600, help="Seconds of 20 events a second to the HTTP target.")]
Pid = Annotated[int | None, typer.Option(min=1, help="The endpoint's process: tells CPU seconds and memory (Linux).")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")]


def bench(
    against: Against = URL,
    rules: Rules = None,
    events: Events = 10_000,
    connections: Connections = 16,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
    wait_s: Wait = 30.0,
    http: Http = True,
    latency_s: LatencyS = 10.0,
    pid: Pid = None,
    as_json: Json = None,
) -> None:
    """Measure an endpoint: events into a queue and to an HTTP target, from PutEvents to arrival.

    Examples: crossbus bench --rules 1 --rules 1000

    crossbus bench --against http://127.0.0.1:5000 --events 500 --pid $(pgrep -f moto_server) --json moto.json

    It makes a queue, rules, a connection and an API destination with names of their own, and deletes them again. The
    endpoint must be able to reach 127.0.0.1 for the HTTP target. Keys come from AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY. Ends with 1 when an accepted event did not arrive.
    """
    from router.bench import process  # with the event loop's client, which no other command needs
    from router.bench.against import Bench, Plan
    from router.bench.endpoint import Endpoint, EndpointRefused, EndpointUnreachable

    if len(rules or ()) > _MEASUREMENTS_MAX:
        fail(f"expected --rules at most {_MEASUREMENTS_MAX} times, got {len(rules or ())}", 2)
    plan = Plan(tuple(rules or (1,)), events, connections, wait_s, http, latency_s, pid)
    try:
        endpoint = Endpoint(against, credentials=_credentials(account), region=region)
    except ValueError as error:
        fail(error, 2)
    load = os.getloadavg()[0]
    try:
        if pid is not None:
            process.anonymous_mb(pid)  # before anything is made
        outcomes = Bench(endpoint, plan, lambda line: typer.echo(line, err=True)).run()
    except (EndpointUnreachable, EndpointRefused, process.Unreadable) as error:
        fail(error)
    for line in table(outcomes):
        typer.echo(line)
    if as_json is not None:
        found = {
            "against": against,
            "at": iso_seconds(RealWorld().now_ms()),
            "crossbus": __version__,
            "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
            "plan": plan,
            "outcomes": [msgspec.to_builtins(outcome) | {"lost": outcome.lost} for outcome in outcomes],
        }
        try:
            as_json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        except OSError as error:
            fail(f"cannot write {as_json}: {error.strerror}")
    lost = [outcome for outcome in outcomes if outcome.lost]
    for outcome in lost:
        complain(
            f"events lost, {_named(outcome)}: accepted {outcome.accepted:,}, arrived {outcome.arrived:,}, and no more "
            f"within {wait_s:g} s"
        )
    if lost:
        raise typer.Exit(1)


def table(outcomes: Sequence["Outcome"]) -> list[str]:
    """The outcomes as lines, columns aligned, notes below."""
    rows = [_HEAD, *map(_cells, outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return lines + [f"{_named(outcome)}: {outcome.note}" for outcome in outcomes if outcome.note]


def _cells(outcome: "Outcome") -> tuple[str, ...]:
    if not outcome.is_supported:
        return (_named(outcome), *["-"] * (len(_HEAD) - 1))
    figures = (outcome.accepted_per_s, outcome.arrived_per_s, outcome.arrived_per_cpu_s)
    latencies = (outcome.p50_ms, outcome.p99_ms)
    return (
        _named(outcome),
        f"{outcome.accepted:,}",
        f"{outcome.arrived:,}",
        *("-" if figure is None else f"{figure:,.0f}" for figure in figures),
        *("-" if figure is None else f"{figure:.1f}" for figure in latencies),
        "-" if outcome.anonymous_mb is None else f"{outcome.anonymous_mb:.0f}",
    )


def _named(outcome: "Outcome") -> str:
    if outcome.path == "queue":
        return f"queue, {outcome.rules:,} rule" + ("s" if outcome.rules > 1 else "")
    return "HTTP target, 20/s" if outcome.path == "latency" else "HTTP target"


def _credentials(account: str) -> Credentials:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return Credentials(account, "none")
