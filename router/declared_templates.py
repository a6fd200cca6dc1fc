"""The templates that the hub file lists: their stacks are deployed at every start, inside the hub.

Promises that after it each listed stack is as its template says, that what was deleted by hand is made again, and that
a stack that was listed and is no more is deleted. The calls are the APIs' own, checked as those that come over HTTP. A
template that cannot be deployed stops the start, with its file, the resource and the reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from router import log
from router.aws.service import Caller, Service
from router.config import ConfigError, DeclaredTemplate
from router.core.event import Location
from router.errors import ApiError
from router.importers.apply import Deed, Deeds, DeployFailed, Forget, Save, Told, deleting, deploying
from router.importers.document import TemplateRefused
from router.importers.drive import drive_async, exports_of_others, in_use, used_exports
from router.importers.kinds import Call, CallRefused, Where
from router.importers.record import StackRecord
from router.importers.stack import Given, Stack
from router.stacks import Stacks


class DeclaredTemplates:
    """`services` are the hub's, by the names of AWS's models: events, sqs, logs."""

    def __init__(self, templates: Sequence[DeclaredTemplate], stacks: Stacks, services: Mapping[str, Service]) -> None:
        self._templates = templates
        self._stacks = stacks
        self._services = services

    async def deploy(self) -> None:
        """All of them in their order, so that one may import what an earlier one exports. Raises ConfigError."""
        for index, template in enumerate(self._templates):
            try:
                await self._deploy(template)
            except (TemplateRefused, DeployFailed, ApiError) as error:
                raise ConfigError(f"{template.file}: {error} - at `$.templates[{index}]`") from error
        await self._delete_unlisted()

    async def _deploy(self, template: DeclaredTemplate) -> None:
        where = _where(template)
        try:
            raw = await anyio.Path(template.file).read_bytes()
        except OSError as error:
            raise TemplateRefused([f"cannot read the template: {error.strerror}"]) from error
        records = self._stacks.of(where.location)
        stack = Stack(
            Given(
                template=raw,
                where=where,
                parameters=template.parameters,
                exports=exports_of_others(records, where.stack),
                used=used_exports(records, where.stack),
                record=self._stacks.get(where.location, where.stack),
                previous_parameters=False,
            )
        )
        if not stack.plan.changes_nothing:
            log.info("stack.deploying", stack=where.stack, location=str(where.location), file=template.file)
        for skipped in stack.plan.skipped:
            log.info(
                "stack.skipped",
                stack=where.stack,
                resource=skipped.logical_id,
                type=skipped.type,
                what=skipped.what or None,
            )
        await self._drive(deploying(stack, declared=True), where)

    async def _delete_unlisted(self) -> None:
        """Those that others import from wait for these to go first."""
        listed = {(_where(template).location, template.stack) for template in self._templates}
        left = [
            record
            for record in self._stacks.all()
            if record.declared and (Location(record.account, record.region), record.stack) not in listed
        ]
        while left:
            free = [record for record in left if in_use(record, self._used(record)) is None]
            if not free:
                raise ConfigError(
                    f"the stack {left[0].stack} is no longer listed and cannot be deleted: "
                    f"{in_use(left[0], self._used(left[0]))} - at `$.templates`"
                )
            for record in free:
                where = Where(Location(record.account, record.region), record.stack)
                log.info("stack.deleting", stack=record.stack, location=str(where.location))
                try:
                    await self._drive(deleting(record, where), where)
                except (DeployFailed, ApiError) as error:
                    raise ConfigError(f"the stack {record.stack} is no longer listed: {error}") from error
                left.remove(record)

    def _used(self, record: StackRecord) -> Mapping[str, str]:
        return used_exports(self._stacks.of(Location(record.account, record.region)), record.stack)

    async def _drive(self, deeds: Deeds, where: Where) -> None:
        caller = Caller(where.location.account, where.location.region, admin=True)

        async def do(deed: Deed) -> Any:
            match deed:
                case Call():
                    return await self._called(deed, caller)
                case Save():
                    return await self._stacks.put(deed.record)
                case Forget():
                    return await self._stacks.delete(where.location, where.stack)
                case Told():
                    log.info("stack.step", stack=where.stack, step=deed.text)
                    return None

        await drive_async(deeds, do)

    async def _called(self, call: Call, caller: Caller) -> Any:
        """A call as it would come over the wire, so that requests are checked and answers look the same."""
        service = self._services[call.service]
        try:
            answer = await service.call(call.action, msgspec.json.encode(call.request), caller)
        except ApiError as error:
            raise CallRefused(error.code, error.message) from error
        return msgspec.json.decode(answer) if answer else {}


def _where(template: DeclaredTemplate) -> Where:
    return Where(Location(template.account, template.region), template.stack)
