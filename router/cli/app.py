"""The commands. Each is short: read the arguments, call, print; what fails says what to do next and exits with 1."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router import __version__
from router.cli import patterns
from router.cli.bench import bench
from router.cli.check import HUB_FILE, check
from router.cli.client import HubClient
from router.cli.deploy import deploy
from router.cli.logs import logs_app
from router.cli.schedules import schedules
from router.cli.store import store_app
from router.cli.terminal import ACCOUNT, REGION, URL, AccountOption, RegionOption, Url, fail, print_json, told
from router.cli.trace import trace
from router.config import load

app = typer.Typer(
    name="crossbus",
    help="Amazon EventBridge's APIs, rule language and delivery guarantees as one daemon.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
inbox_app = typer.Typer(help="What simulated targets received.", no_args_is_help=True)
dlq_app = typer.Typer(help="Deliveries that were given up and are kept.", no_args_is_help=True)
app.add_typer(inbox_app, name="inbox")
app.add_typer(dlq_app, name="dlq")
app.add_typer(store_app, name="store")
app.add_typer(logs_app, name="logs")

HubFile = Annotated[Path, typer.Argument(help="The hub file.")]


@app.command()
def serve(
    hub_file: HubFile = HUB_FILE,
    port: Annotated[int | None, typer.Option(help="Listen on this port instead of the hub file's.")] = None,
    data_folder: Annotated[Path | None, typer.Option(help="Use this data folder instead of the hub file's.")] = None,
) -> None:
    """Run the hub until SIGTERM or Ctrl-C. Example: crossbus serve config/hub.yaml"""
    from router.daemon import StartFailed, run

    with told():
        hub = load(hub_file)
        if port is not None:
            hub = msgspec.structs.replace(hub, listen=msgspec.structs.replace(hub.listen, port=port))
        if data_folder is not None:
            hub = msgspec.structs.replace(hub, data_folder=str(data_folder))
    try:
        run(hub)
    except StartFailed as error:
        fail(error)


app.command()(check)
app.command("test-pattern")(patterns.try_pattern)
app.command()(patterns.explain)
app.command()(trace)
app.command()(schedules)
app.command()(deploy)
app.command()(bench)


@app.command("put-events")
def put_events(
    entries: Annotated[str, typer.Argument(help="JSON: one entry or a list, in PutEvents' words; `-` reads stdin.")],
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """Put events. Example: crossbus put-events '{"Source":"shop","DetailType":"order","Detail":"{}"}'"""
    try:
        parsed = msgspec.json.decode(sys.stdin.buffer.read() if entries == "-" else entries)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        fail(f"the entries are not JSON: {error}")
    with told():
        request = {"Entries": parsed if isinstance(parsed, list) else [parsed]}
        answer = HubClient(url, account=account, region=region).action("events", "AWSEvents.PutEvents", request)
    print_json(answer)
    if answer["FailedEntryCount"]:
        raise typer.Exit(1)


@app.command()
def status(url: Url = URL, account: AccountOption = ACCOUNT, region: RegionOption = REGION) -> None:
    """What the hub holds now: pending and parked deliveries, dead letters, its store. Example: crossbus status"""
    with told():
        print_json(HubClient(url, account=account, region=region).hub("GET", "status"))


@app.command()
def version() -> None:
    """The version of crossbus. Example: crossbus version"""
    typer.echo(__version__)


@inbox_app.command("list")
def inbox_list(url: Url = URL, account: AccountOption = ACCOUNT, region: RegionOption = REGION) -> None:
    """All inboxes with how many messages each holds. Example: crossbus inbox list"""
    with told():
        answer = HubClient(url, account=account, region=region).hub("GET", "inboxes")
    rows = answer["inboxes"]
    width = max((len(row["arn"]) for row in rows), default=0)
    for row in rows:
        typer.echo(f"{row['arn']:<{width}}  {row['kind']:<10}  {row['count']:>9}")
    if not rows:
        typer.echo("no inboxes yet: they appear with the first delivery, queues when they are created")


@inbox_app.command("read")
def inbox_read(
    arn: Annotated[str, typer.Argument(help="The inbox's ARN, as `crossbus inbox list` shows it.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many messages.")] = 10,
    after: Annotated[int, typer.Option(help="Only messages after this position.")] = 0,
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """Messages of an inbox, one JSON object a line; they stay. Example: crossbus inbox read ARN --limit 5"""
    with told():
        query = {"arn": arn, "limit": str(limit), "after": str(after)}
        answer = HubClient(url, account=account, region=region).hub("GET", "inboxes/messages", query)
    for message in answer["messages"]:
        typer.echo(msgspec.json.encode(message).decode())


@inbox_app.command("purge")
def inbox_purge(
    arn: Annotated[str, typer.Argument(help="The inbox's ARN.")],
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """Delete all messages of an inbox. Example: crossbus inbox purge ARN"""
    with told():
        print_json(HubClient(url, account=account, region=region).hub("DELETE", "inboxes/messages", {"arn": arn}))


@dlq_app.command("list")
def dlq_list(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 100,
    after: Annotated[int, typer.Option(help="Only those after this number.")] = 0,
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """Dead letters that no queue took, oldest first. Example: crossbus dlq list --limit 20"""
    with told():
        query = {"limit": str(limit), "after": str(after)}
        answer = HubClient(url, account=account, region=region).hub("GET", "dead-letters", query)
    for letter in answer["dead_letters"]:
        typer.echo(
            f"{letter['number']:>8}  {letter['dead_at']}  {letter['code']:<24}  {letter['rule_arn']}  "
            f"{letter['target_id']}  {letter['event_id']}"
        )
    typer.echo(f"{len(answer['dead_letters'])} of {answer['count']} dead letters", err=True)


@dlq_app.command("show")
def dlq_show(
    number: Annotated[int, typer.Argument(help="The number that `crossbus dlq list` shows.")],
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """One dead letter with its event and its reason. Example: crossbus dlq show 17"""
    with told():
        print_json(HubClient(url, account=account, region=region).hub("GET", f"dead-letters/{number}"))


@dlq_app.command("redrive")
def dlq_redrive(
    number: Annotated[int | None, typer.Argument(help="One dead letter's number.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, or all of --rule.")] = False,
    rule: Annotated[str | None, typer.Option(help="With --all: only those of this rule ARN.")] = None,
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
) -> None:
    """Deliver dead letters after all. Examples: crossbus dlq redrive 17, crossbus dlq redrive --all --rule ARN"""
    if (number is None) == (not all_) or (rule is not None and not all_):
        fail("give either one number or --all (with --rule or without)", 2)
    with told():
        client = HubClient(url, account=account, region=region)
        if number is not None:
            print_json(client.hub("POST", f"dead-letters/{number}/redrive"))
            return
        answer = client.hub("POST", "dead-letters/redrive", body={"rule_arn": rule} if rule else {})
    print_json(answer)
    if answer["failed"]:
        raise typer.Exit(1)
