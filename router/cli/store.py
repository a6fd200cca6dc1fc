"""`crossbus store`: a data folder that no hub has, looked at offline."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from router.cli.check import HUB_FILE
from router.cli.terminal import fail, told
from router.config import load
from router.store.base import StoreError
from router.store.lmdb import FolderInUse
from router.verify import Tell, verify

store_app = typer.Typer(help="A data folder that no hub has, offline.", no_args_is_help=True)


@store_app.callback()
def _store() -> None:
    """Named, so that `verify` stays a command of its own while it is the only one."""


@store_app.command("verify")
def store_verify(
    hub_file: Annotated[Path, typer.Argument(help="The hub file, for its data folder.")] = HUB_FILE,
    data_folder: Annotated[Path | None, typer.Option(help="Verify this data folder; no hub file is read.")] = None,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="Print at most so many problems.")] = 100,
) -> None:
    """Check every invariant of the store, read-only, while no hub runs on it.

    One line a broken invariant, with its table and key. Ends with 0 where there is none, with 1 where there is any or
    where the store cannot be read.

    Example: crossbus store verify config/hub.yaml
    """
    with told():
        folder = data_folder if data_folder is not None else Path(load(hub_file).data_folder)
    try:
        with _progress() as tell:
            report = verify(folder, tell)
    except (StoreError, FolderInUse) as error:
        fail(error)
    for problem in report.problems[:limit]:
        typer.echo(str(problem))
    if report.problem_count > limit:
        typer.echo(f"… and {report.problem_count - limit:,} more")
    counts = ", ".join(f"{name} {count:,}" for name, count in report.rows.items())
    typer.echo(f"{report.pages:,} pages, rows: {counts or 'none read'}", err=True)
    if report.problem_count:
        fail(f"{folder} has {report.problem_count:,} broken invariants")
    typer.echo(f"{folder} is good: every invariant holds")


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on a terminal, which goes when it is done; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
