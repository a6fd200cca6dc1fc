"""What all commands share: the options that say which hub, how an answer is printed, how a failure ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from router.cli.client import HubRefused, HubUnreachable
from router.config import ConfigError

Url = Annotated[str, typer.Option(envvar="CROSSBUS_URL", help="Where the hub listens.")]
AccountOption = Annotated[str, typer.Option(help="The account to call as (without keys in the environment).")]
RegionOption = Annotated[str, typer.Option(envvar="AWS_REGION", help="The region to call.")]
URL = "http://127.0.0.1:4610"
ACCOUNT = "111111111111"
REGION = "us-east-1"


@contextmanager
def told() -> Iterator[None]:
    """Failures that the person at the terminal can mend are one line, not a traceback."""
    try:
        yield
    except (HubUnreachable, HubRefused, ConfigError) as error:
        fail(error)


def fail(reason: object, status: int = 1) -> NoReturn:
    """End with one line."""
    complain(reason)
    raise typer.Exit(status)


def complain(reason: object) -> None:
    """One line, also where the reason is a parser's drawing of several."""
    lines = [line.strip() for line in str(reason).splitlines()]
    typer.secho(f"crossbus: {' '.join(line for line in lines if line.strip('^'))}", fg="red", err=True)


def print_json(value: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
