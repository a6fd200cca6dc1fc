"""The commands. Each is short: read the arguments, call, print; what fails says what to do next and exits with 1."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from router import __version__
from router.cli.client import HubClient, HubRefused, HubUnreachable
from router.config import ConfigError, load

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

HubFile = Annotated[Path, typer.Argument(help="The hub file.")]
Url = Annotated[str, typer.Option(envvar="CROSSBUS_URL", help="Where the hub listens.")]
AccountOption = Annotated[str, typer.Option(help="The account to call as (without keys in the environment).")]
RegionOption = Annotated[str, typer.Option(envvar="AWS_REGION", help="The region to call.")]
_URL = "http://127.0.0.1:4610"
_ACCOUNT = "111111111111"
_REGION = "us-east-1"


@contextmanager
def _told() -> Iterator[None]:
    """Failures that the person at the terminal can mend are one line, not a traceback."""
    try:
        yield
    except (HubUnreachable, HubRefused, ConfigError) as error:
        _fail(error)


def _fail(reason: object) -> NoReturn:
    """End with one line, also where the reason is a parser's drawing of several."""
    lines = [line.strip() for line in str(reason).splitlines()]
    typer.secho(f"crossbus: {' '.join(line for line in lines if line.strip('^'))}", fg="red", err=True)
    raise typer.Exit(1)


def _print(value: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@app.command()
def serve(
    hub_file: HubFile = Path("config/hub.yaml"),
    port: Annotated[int | None, typer.Option(help="Listen on this port instead of the hub file's.")] = None,
    data_folder: Annotated[Path | None, typer.Option(help="Use this data folder instead of the hub file's.")] = None,
) -> None:
    """Run the hub until SIGTERM or Ctrl-C. Example: crossbus serve config/hub.yaml"""
    from router.daemon import StartFailed, run

    with _told():
        hub = load(hub_file)
        if port is not None:
            hub = msgspec.structs.replace(hub, listen=msgspec.structs.replace(hub.listen, port=port))
        if data_folder is not None:
            hub = msgspec.structs.replace(hub, data_folder=str(data_folder))
    try:
        run(hub)
    except StartFailed as error:
        _fail(error)


@app.command()
def check(hub_file: HubFile = Path("config/hub.yaml")) -> None:
    """Check a hub file without running it. Example: crossbus check config/hub.yaml"""
    from router import daemon

    with _told():
        hub = load(hub_file)
    try:
        daemon.check(hub)
    except daemon.StartFailed as error:
        _fail(f"{hub_file}: {error}")
    rules = sum(len(resources.rules) for resources in hub.resources)
    typer.echo(f"{hub_file} is good: {len(hub.accounts)} accounts, {len(hub.regions)} regions, {rules} declared rules")


@app.command("put-events")
def put_events(
    entries: Annotated[str, typer.Argument(help="JSON: one entry or a list, in PutEvents' words; `-` reads stdin.")],
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """Put events. Example: crossbus put-events '{"Source":"shop","DetailType":"order","Detail":"{}"}'"""
    try:
        parsed = msgspec.json.decode(sys.stdin.buffer.read() if entries == "-" else entries)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        _fail(f"the entries are not JSON: {error}")
    with _told():
        request = {"Entries": parsed if isinstance(parsed, list) else [parsed]}
        answer = HubClient(url, account=account, region=region).action("events", "AWSEvents.PutEvents", request)
    _print(answer)
    if answer["FailedEntryCount"]:
        raise typer.Exit(1)


@app.command()
def status(url: Url = _URL, account: AccountOption = _ACCOUNT, region: RegionOption = _REGION) -> None:
    """What the hub holds now: pending and parked deliveries, dead letters, its store. Example: crossbus status"""
    with _told():
        _print(HubClient(url, account=account, region=region).hub("GET", "status"))


@app.command()
def version() -> None:
    """The version of crossbus. Example: crossbus version"""
    typer.echo(__version__)


@inbox_app.command("list")
def inbox_list(url: Url = _URL, account: AccountOption = _ACCOUNT, region: RegionOption = _REGION) -> None:
    """All inboxes with how many messages each holds. Example: crossbus inbox list"""
    with _told():
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
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """Messages of an inbox, one JSON object a line; they stay. Example: crossbus inbox read ARN --limit 5"""
    with _told():
        query = {"arn": arn, "limit": str(limit), "after": str(after)}
        answer = HubClient(url, account=account, region=region).hub("GET", "inboxes/messages", query)
    for message in answer["messages"]:
        typer.echo(msgspec.json.encode(message).decode())


@inbox_app.command("purge")
def inbox_purge(
    arn: Annotated[str, typer.Argument(help="The inbox's ARN.")],
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """Delete all messages of an inbox. Example: crossbus inbox purge ARN"""
    with _told():
        _print(HubClient(url, account=account, region=region).hub("DELETE", "inboxes/messages", {"arn": arn}))


@dlq_app.command("list")
def dlq_list(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 100,
    after: Annotated[int, typer.Option(help="Only those after this number.")] = 0,
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """Dead letters that no queue took, oldest first. Example: crossbus dlq list --limit 20"""
    with _told():
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
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """One dead letter with its event and its reason. Example: crossbus dlq show 17"""
    with _told():
        _print(HubClient(url, account=account, region=region).hub("GET", f"dead-letters/{number}"))


@dlq_app.command("redrive")
def dlq_redrive(
    number: Annotated[int | None, typer.Argument(help="One dead letter's number.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, or all of --rule.")] = False,
    rule: Annotated[str | None, typer.Option(help="With --all: only those of this rule ARN.")] = None,
    url: Url = _URL,
    account: AccountOption = _ACCOUNT,
    region: RegionOption = _REGION,
) -> None:
    """Deliver dead letters after all. Examples: crossbus dlq redrive 17, crossbus dlq redrive --all --rule ARN"""
    if (number is None) == (not all_) or (rule is not None and not all_):
        typer.secho("crossbus: give either one number or --all (with --rule or without)", fg="red", err=True)
        raise typer.Exit(2)
    with _told():
        client = HubClient(url, account=account, region=region)
        if number is not None:
            _print(client.hub("POST", f"dead-letters/{number}/redrive"))
            return
        answer = client.hub("POST", "dead-letters/redrive", body={"rule_arn": rule} if rule else {})
    _print(answer)
    if answer["failed"]:
        raise typer.Exit(1)
