"""`crossbus logs query`: a query of CloudWatch Logs Insights over the hub's log groups, as a table."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from router.cli.client import HubClient
from router.cli.terminal import ACCOUNT, REGION, URL, AccountOption, RegionOption, Url, fail, print_json, told
from router.world import RealWorld, pause

logs_app = typer.Typer(help="What the simulated log groups hold.", no_args_is_help=True)

_TARGET = "Logs_20140328."
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d{1,6})([smhdw])")
_FIRST_PAUSE_S = 0.05
_PAUSE_S_MAX = 0.5


@logs_app.command()
def query(
    arguments: Annotated[list[str], typer.Argument(metavar="GROUP... QUERY", help="Log groups, then the query.")],
    start: Annotated[str, typer.Option(help="From when: an age (30m, 1h, 7d), a time in ISO 8601, seconds.")] = "1h",
    end: Annotated[str, typer.Option(help="Until when: the same, or `now`.")] = "now",
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hub's whole answer as JSON.")] = False,
) -> None:
    """Ask log groups with a query of CloudWatch Logs Insights. What rules deliver has the event under `detail`.

    Who made the calls? crossbus logs query /aws/events/getsecretvaluelogs
    'fields detail.eventName, detail.userIdentity.arn
    | stats count(*) as calls by detail.userIdentity.arn, detail.eventName | sort calls desc' --start 24h
    """
    if len(arguments) < 2:
        fail("expected one or more log groups, then the query", 2)
    *groups, text = arguments
    now_ms = RealWorld().now_ms()
    request = {
        "logGroupNames": groups,
        "queryString": text,
        "startTime": _seconds(start, now_ms, "--start"),
        "endTime": _seconds(end, now_ms, "--end"),
    }
    with told():
        client = HubClient(url, account=account, region=region)
        answer = _answer(client, client.action("logs", f"{_TARGET}StartQuery", request)["queryId"])
    if as_json:
        print_json(answer)
    elif answer["status"] == "Complete":
        _print(answer)
    if answer["status"] != "Complete":
        reasons = [field["value"] for row in answer["results"] for field in row if field["field"] == "@error"]
        fail(f"the query ended as {answer['status']}" + "".join(f": {reason}" for reason in reasons))


def _answer(client: HubClient, query_id: str) -> Any:
    """All results, once the query has ended."""
    pause_s = _FIRST_PAUSE_S
    request: dict[str, Any] = {"queryId": query_id}
    while True:
        answer = client.action("logs", f"{_TARGET}GetQueryResults", request)
        if answer["status"] not in ("Scheduled", "Running"):
            break
        pause(pause_s)
        pause_s = min(_PAUSE_S_MAX, pause_s * 1.5)
    while "nextToken" in answer:
        more = client.action("logs", f"{_TARGET}GetQueryResults", {**request, "nextToken": answer.pop("nextToken")})
        answer = {**more, "results": answer["results"] + more["results"]}
    return answer


def _print(answer: Any) -> None:
    """A table where there is a terminal; text with tabs where the output goes on to another program."""
    from rich.console import Console  # 1.5 MB, which the hub's own process can do without
    from rich.table import Table
    from rich.text import Text

    rows = [{field["field"]: field["value"] for field in row if field["field"] != "@ptr"} for row in answer["results"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    console = Console()
    if rows and console.is_terminal:
        table = Table()
        for name in names:
            table.add_column(Text(name))
        for row in rows:
            table.add_row(*(Text(row.get(name, "")) for name in names))
        console.print(table)
    elif rows:
        for cells in (names, *([row.get(name, "") for name in names] for row in rows)):
            typer.echo("\t".join(re.sub(r"[\t\r\n]", " ", cell) for cell in cells))
    counted = answer["statistics"]
    typer.echo(
        f"{len(rows)} rows; {counted['recordsMatched']:.0f} of {counted['recordsScanned']:.0f} events matched, "
        f"{counted['bytesScanned']:.0f} bytes looked at",
        err=True,
    )


def _seconds(text: str, now_ms: int, option: str) -> int:
    if text == "now":
        return now_ms // 1000
    age = _AGE.fullmatch(text)
    if age:
        return max(0, now_ms // 1000 - int(age[1]) * _UNITS_S[age[2]])
    if text.isascii() and text.isdigit():
        return int(text[:12])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: expected an age such as 1h, a time such as 2026-11-23T10:00:00Z, or seconds, got {text!r}", 2)
    return max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()))
