"""`crossbus deploy`: a CloudFormation template becomes buses, rules, queues and the rest of a running hub.

The plan is made here, from the template and what the hub keeps of the stack; the hub is then asked with the same calls
that anybody makes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from router.cli.client import HubClient, HubRefused, HubUnreachable
from router.cli.terminal import ACCOUNT, REGION, URL, RegionOption, Url, complain, fail, print_json, told
from router.core.arn import parse
from router.core.event import Location
from router.importers import plan_text
from router.importers.apply import Deed, Deeds, DeployFailed, Forget, Save, Told, deleting, deploying
from router.importers.document import TemplateRefused
from router.importers.drive import drive, exports_of_others, in_use, target, used_exports
from router.importers.kinds import Call, CallRefused, Where
from router.importers.record import STACK_NAME, STACK_NAME_FORM, StackRecord
from router.importers.stack import Given, Stack, deletes


def deploy(
    template: Annotated[
        Path | None, typer.Argument(help="The template, YAML or JSON. Not needed with --delete and --stack.")
    ] = None,
    account: Annotated[str, typer.Option(help="The account to deploy to.")] = ACCOUNT,
    region: RegionOption = REGION,
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE; may stand several times. One left out keeps its value.")
    ] = None,
    stack: Annotated[str | None, typer.Option(help="The stack's name; without it the template's file name.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would change, and change nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the stack.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print plan and outputs as JSON.")] = False,
    url: Url = URL,
) -> None:
    """Deploy a CloudFormation template: create, update or delete a stack of the hub.

    The plan comes first, a line a resource: + make, ~ change, -/+ replace, - delete, and what is skipped. Running it
    again changes what differs and nothing else.

    Examples: crossbus deploy rules.yaml --parameter Stage=test --plan, crossbus deploy --stack rules --delete
    """
    name = stack or (_stack_name(template) if template is not None else None)
    if name is None or (template is None and not delete):
        fail("give a template, or --delete with --stack", 2)
    if STACK_NAME.fullmatch(name) is None:
        fail(f"expected {STACK_NAME_FORM}, got {name!r}: give one with --stack", 2)
    given = _parameters(parameter or [])
    deployment = _Deployment(
        HubClient(url, account=account, region=region), Where(Location(account, region), name), json
    )
    try:
        with told():
            deployment.check_account()
            if delete:
                deployment.delete(only_plan=plan)
            else:
                assert template is not None
                deployment.deploy(_read(template), given, only_plan=plan)
    except TemplateRefused as refused:
        _refused(refused.problems, template)
    except DeployFailed as failed:
        fail(failed)


def _stack_name(template: Path) -> str:
    """A file's name as a stack's: what a stack may not have becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", template.name.partition(".")[0]).strip("-")


def _parameters(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            fail(f"expected --parameter NAME=VALUE, got {name[:80]!r}", 2)
        if name in found:
            fail(f"expected each parameter once, got {name} again", 2)
        found[name] = value
    return found


def _read(template: Path) -> bytes:
    try:
        return template.read_bytes()
    except OSError as error:
        fail(f"cannot read the template {template}: {error.strerror}")


def _refused(problems: Sequence[str], template: Path | None) -> NoReturn:
    for problem in problems:
        complain(f"{template}: {problem}")
    raise typer.Exit(1)


class _Deployment:
    """One stack of one hub."""

    def __init__(self, client: HubClient, where: Where, as_json: bool) -> None:
        self._client = client
        self._where = where
        self._as_json = as_json

    def check_account(self) -> None:
        """The keys decide who calls: they must be those of the account that is meant."""
        answer = self._client.action("events", target("events", "DescribeEventBus"), {})
        found = parse(answer["Arn"]).account
        if found != self._where.location.account:
            fail(
                f"expected keys of account {self._where.location.account} in the environment, got those of {found}: "
                f"set AWS_ACCESS_KEY_ID, or deploy with --account {found}"
            )

    def records(self) -> list[StackRecord]:
        location = self._where.location
        answer = self._client.hub("GET", "stacks", {"account": location.account, "region": location.region})
        return msgspec.convert(answer["stacks"], list[StackRecord])

    def deploy(self, raw: bytes, given: dict[str, str], *, only_plan: bool) -> None:
        records = self.records()
        name = self._where.stack
        stack = Stack(
            Given(
                template=raw,
                where=self._where,
                parameters=given,
                exports=exports_of_others(records, name),
                used=used_exports(records, name),
                record=next((record for record in records if record.stack == name), None),
            )
        )
        if not self._as_json:
            for line in plan_text.lines(stack.plan):
                typer.echo(line)
        elif only_plan:
            print_json(plan_text.as_json(stack.plan))
        if only_plan:
            return
        record = self._drive(deploying(stack))
        if self._as_json:
            print_json(
                {**plan_text.as_json(stack.plan), "outputs": record.outputs, "skipped_outputs": stack.skipped_outputs}
            )
            return
        for output, value in record.outputs.items():
            typer.echo(f"output {output} = {value}")
        for output, reason in stack.skipped_outputs.items():
            typer.echo(f"output {output} is skipped: {reason}")

    def delete(self, *, only_plan: bool) -> None:
        records = self.records()
        record = next((record for record in records if record.stack == self._where.stack), None)
        if record is None:
            fail(f"Stack with id {self._where.stack} does not exist in {self._where.location}")
        reason = in_use(record, used_exports(records, record.stack))
        if reason is not None:
            fail(reason)
        if only_plan:
            for left in (*deletes(record, set()), *record.leftovers):
                kept = "  (it stays: DeletionPolicy)" if left.resource.retain else ""
                typer.echo(f"-  {left.logical_id}  {left.resource.type}  {left.resource.identity}{kept}")
            return
        self._drive(deleting(record, self._where))
        self._say(f"deleted stack {self._where.stack}")

    def _say(self, text: str) -> None:
        typer.echo(text, err=self._as_json)

    def _drive(self, deeds: Deeds) -> Any:
        try:
            return drive(deeds, self._do)
        except HubUnreachable as error:
            raise HubUnreachable(f"{error} The stack may be half deployed: run the same command again") from error

    def _do(self, deed: Deed) -> Any:
        try:
            match deed:
                case Call():
                    return self._client.action(deed.service, target(deed.service, deed.action), deed.request)
                case Told():
                    return self._say(deed.text)
                case Save():
                    return self._client.hub("PUT", "stacks", body=deed.record)["version"]
                case Forget():
                    location = self._where.location
                    query = {"account": location.account, "region": location.region, "stack": self._where.stack}
                    return self._client.hub("DELETE", "stacks", query)
        except HubRefused as refused:
            if isinstance(deed, Call):
                raise CallRefused(refused.code, refused.message) from refused
            raise
