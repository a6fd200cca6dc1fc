"""`crossbus check`: hub files and files of rules, without running anything."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from router.cli import inputs
from router.cli.inputs import NamedPattern, RulesFile
from router.cli.terminal import complain, told
from router.config import ConfigError, Hub
from router.core.pattern import parse
from router.core.pattern_lint import PatternWarning, sample_warning, warnings
from router.core.pattern_text import readable

HUB_FILE = Path("config/hub.yaml")


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Hub files, and files of rules: JSON, JSON lines or YAML.", show_default=str(HUB_FILE)),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(help="Events as JSON lines or a JSON array: warn of rules that match none.")
    ] = None,
) -> None:
    """Check hub files and rules without running them; warn of rules that can never match.

    One line a warning: FILE: rule NAME: PATH: what was expected, what is there, what to do. Ends with 1 where there is
    any, or where a file cannot be used.

    Example: crossbus check config/hub.yaml rules.json --sample events.jsonl
    """
    with told():
        events = inputs.events(sample) if sample else []
    good = [_check_file(path, events) for path in files or [HUB_FILE]]
    if not all(good):
        raise typer.Exit(1)


def _check_file(path: Path, events: Sequence[dict[str, Any]]) -> bool:
    """Print what is wrong with one file, or that it is good."""
    try:
        found = inputs.rules(path)
    except ConfigError as error:
        complain(error)
        return False
    usable = found.hub is None or _can_run(found.hub, path)
    lines = [
        f"{path}: rule {readable(rule.name)}: {_place(warning)}: {warning.message}"
        for rule in _with_progress(found.patterns, f"checking {path}", shown=bool(events))
        for warning in _warnings(rule.pattern, events)
    ]
    for line in lines:
        typer.echo(line)
    if not lines and usable:
        typer.echo(f"{path} is good: {_described(found)}")
    return usable and not lines


def _can_run(hub: Hub, path: Path) -> bool:
    from router import daemon

    try:
        daemon.check(hub)
    except daemon.StartFailed as error:
        complain(f"{path}: {error}")
        return False
    return True


def _place(warning: PatternWarning) -> str:
    return readable(warning.path) if warning.path else "pattern"


def _warnings(pattern: str, events: Sequence[dict[str, Any]]) -> Iterator[PatternWarning]:
    """A rule that is known to match never is not held against the sample too."""
    found = warnings(pattern)
    yield from found
    if events and not any(warning.certainty in ("refused", "never") for warning in found):
        unmatched = sample_warning(parse(pattern), events)
        if unmatched is not None:
            yield unmatched


def _with_progress(patterns: list[NamedPattern], text: str, *, shown: bool) -> Iterable[NamedPattern]:
    """With a bar on a terminal, which goes when it is done."""
    if not (shown and sys.stderr.isatty()):
        return patterns
    from rich.console import Console
    from rich.progress import track

    return track(patterns, description=text, console=Console(stderr=True), transient=True)


def _described(found: RulesFile) -> str:
    rules = len(found.patterns)
    if found.hub is not None:
        return f"{len(found.hub.accounts)} accounts, {len(found.hub.regions)} regions, {rules} declared rules"
    return f"{rules} rule{'' if rules == 1 else 's'}"
