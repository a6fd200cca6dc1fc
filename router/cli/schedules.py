"""`crossbus schedules`: the rules with a schedule, by location, and when each fires next."""

from typing import Annotated, Any

import typer

from router import limits
from router.cli.client import HubClient
from router.cli.terminal import ACCOUNT, REGION, URL, AccountOption, RegionOption, Url, print_json, told


def schedules(
    count: Annotated[
        int, typer.Option(min=1, max=limits.SCHEDULE_TIMES_SHOWN_MAX, help="How many times of each rule.")
    ] = 3,
    url: Url = URL,
    account: AccountOption = ACCOUNT,
    region: RegionOption = REGION,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the hub answers as JSON.")] = False,
) -> None:
    """The rules with a schedule in all accounts and regions, and when they fire next (UTC).

    Example: crossbus schedules --count 5
    """
    found: list[Any] = []
    with told():
        client = HubClient(url, account=account, region=region)
        while len(found) % limits.SCHEDULES_SHOWN_MAX == 0:
            after = found[-1]["rule_arn"] if found else ""
            page = client.hub("GET", "schedules", {"count": str(count), "after": after})["schedules"]
            found += page
            if not page:
                break
    if as_json:
        print_json({"schedules": found})
        return
    rows = [_cells(one) for one in found]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for row in rows:
        typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    if not rows:
        typer.echo("no rule has a schedule: `aws events put-rule --schedule-expression` makes one")


def _cells(one: dict[str, Any]) -> tuple[str, str, str, str]:
    times = "  ".join(one["next"]) or ("disabled" if one["state"] == "DISABLED" else "never again")
    return f"{one['account']}/{one['region']}", one["rule"], one["schedule_expression"], times
