"""`crossbus test-pattern` and `crossbus explain`: why an event matches, or how it differs.

The first decides here, without a hub; the second asks a running one about a bus and its rules.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from router.cli import inputs
from router.cli.client import HubClient
from router.cli.terminal import ACCOUNT, REGION, URL, RegionOption, Url, complain, fail, print_json, told
from router.config import ConfigError
from router.core.explain import ExplainedField, Explanation, got_text
from router.core.explain import explain as explained
from router.core.pattern import InvalidPattern, parse
from router.core.pattern_lint import warnings
from router.core.pattern_slips import slips
from router.core.pattern_text import listed, readable

_CELL_CHARS_MAX = 60
_AS_JSON = typer.Option("--json", help="Print the whole explanation as JSON.")
_EVENT = typer.Argument(help="The event: JSON, a file, or - for stdin.")


def try_pattern(
    pattern: Annotated[str, typer.Argument(help="The event pattern: JSON, a file, or - for stdin.")],
    event: Annotated[str, _EVENT],
    as_json: Annotated[bool, _AS_JSON] = False,
) -> None:
    """Does an event match a pattern, and how does it differ? Works without a hub.

    Any JSON object is taken as an event. Ends with 0 when it matches, 1 when it does not, 2 when the pattern or the
    event is not valid.

    Example: crossbus test-pattern '{"source":["shop"]}' event.json
    """
    if pattern == event == "-":
        fail("stdin can be the pattern or the event, not both", 2)
    try:
        pattern_text = inputs.json_text(pattern, "pattern")
        event_text = inputs.json_text(event, "event")
    except ConfigError as error:
        fail(error, 2)
    try:
        parsed = parse(pattern_text)
        seen = explained(parsed, event_text)
    except InvalidPattern as error:
        complain(error)
        for path, slip in slips(pattern_text):
            complain(f"{readable(path)}: {slip}" if path else slip)
        raise typer.Exit(2) from error
    except ValueError as error:
        fail(f"Parameter Event is not valid. Reason: {error}", 2)
    if as_json:
        print_json(seen)
    else:
        typer.echo(seen.summary if seen.matched else f"does not match: {seen.summary}")
        _show(seen)
        for warning in warnings(parsed.text):
            typer.echo(f"\nwarning: {readable(warning.path)}: {warning.message}")
    if not seen.matched:
        raise typer.Exit(1)


def explain(
    event: Annotated[str, _EVENT],
    bus: Annotated[str, typer.Option(help="The bus's name, or its ARN.")] = "default",
    rule: Annotated[
        str | None, typer.Option(help="Only this rule: does it match, and how does the event differ?")
    ] = None,
    url: Url = URL,
    account: Annotated[
        str | None, typer.Option(help="The bus's account; without it, that of the access key in the environment.")
    ] = None,
    region: RegionOption = REGION,
    as_json: Annotated[bool, _AS_JSON] = False,
) -> None:
    """Which rules of a running hub's bus does an event match, and which comes nearest when none does?

    Nothing is delivered. Ends with 0 when a rule matches and sees the event, 1 when none does.

    Examples: crossbus explain event.json, crossbus explain event.json --rule orders --bus central
    """
    with told():
        event_text = inputs.json_text(event, "event")
        key = os.environ.get("AWS_ACCESS_KEY_ID", "")
        owner = account or (key if re.fullmatch(r"[0-9]{12}", key) else ACCOUNT)
        where = {} if bus.startswith("arn:") else {"account": owner, "region": region}
        client = HubClient(url, account=owner, region=region)
        named = {"rule": rule} if rule else {}
        answer = client.hub("POST", "explain", body={"bus": bus, "event": event_text, **named, **where})
    if as_json:
        print_json(answer)
    else:
        _show_bus(answer, rule)
    if not answer["matched"]:
        raise typer.Exit(1)


def _show_bus(answer: dict[str, Any], only: str | None) -> None:
    bus = f"{answer['bus']} in {answer['account']}/{answer['region']}"
    where = f"{answer['rules']} rule{'' if answer['rules'] == 1 else 's'} of {bus}"
    if answer["looked_at"] < answer["rules"]:
        where += f" (looked at {answer['looked_at']} of them)"
    if only:
        typer.echo(f"{only} {'gets it' if answer['matched'] else 'does not get it'} ({bus})")
    elif answer["matched"]:
        typer.echo(f"matches {len(answer['matched'])} of {where}:")
        for rule in answer["matched"]:
            typer.echo(f"  {rule}")
    else:
        typer.echo(f"no rule gets it, of {where}")
    for rule in answer["withheld"]:
        typer.echo(f"  {rule['rule']} {rule['reason']}")
    near = answer["nearest"]
    if near is not None and not near["explanation"]["matched"]:
        typer.echo(near["summary"] if only else f"the nearest is {near['rule']}: {near['summary']}")
        _show(msgspec.convert(near["explanation"], Explanation))


def _show(seen: Explanation) -> None:
    """The fields as a table; what does not fit into it is in the JSON."""
    typer.echo("")
    for line in _table(seen.fields):
        typer.echo(line)
    if seen.other_fields:
        typer.echo(f"\nthat is the nearest of {seen.branches} branches; fields of the others:")
        for line in _table(seen.other_fields):
            typer.echo(line)
    for hint in seen.hints:
        typer.echo(f"\nhint: {hint}")


def _table(fields: Sequence[ExplainedField]) -> Iterator[str]:
    rows = [
        (
            "  yes" if field.holds else "   NO",
            readable(field.path),
            _cell(listed([expectation.test for expectation in field.expected], 4)),
            _cell(got_text(field)),
        )
        for field in fields
    ]
    header = ("     ", "field", "expected", "got")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(4)]
    for row, field in zip([header, *rows], [None, *fields], strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if field is not None and field.note:
            yield f"       ({field.note})"


def _cell(text: str) -> str:
    return text if len(text) <= _CELL_CHARS_MAX else f"{text[: _CELL_CHARS_MAX - 1]}…"
