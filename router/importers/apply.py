"""A plan becomes true: the calls in their order, the record before each, and the way back when one is refused.

`deploying` and `deleting` are generators that perform nothing: they yield a `Call` and are sent its answer (or have a
CallRefused thrown at them), a `Save` before and after each change, a `Forget` when nothing is left, and a `Told` for
the person who watches. So the same code runs over HTTP and inside the hub, and a test needs neither.

When a step is refused, what this run made is unmade and what it changed is changed back, in reverse order; what cannot
be (a secret is kept as a digest only) is said. Deletions come last, after everything else is there: one that is refused
leaves the new stack as it is, and the next run tries again. A run that breaks off leaves a record that says what may be
half made; the next one unmakes that first.
"""

from collections.abc import Generator
from typing import Any

import msgspec

from router.importers.document import TemplateRefused
from router.importers.kind_table import KINDS
from router.importers.kinds import Call, CallRefused, Where
from router.importers.record import Leftover, ResourceRecord, StackRecord, has_mask, masked
from router.importers.stack import Stack, Step, deletes


class Save(msgspec.Struct, frozen=True):
    """Write the record; the version it then has is sent back."""

    record: StackRecord


class Forget(msgspec.Struct, frozen=True):
    """Nothing of the stack is left: take its record away."""

    record: StackRecord


class Told(msgspec.Struct, frozen=True):
    """One line for whoever watches."""

    text: str


class DeployFailed(Exception):
    """The stack is not as its template says; the text says what was refused, what stands, and how to go on."""


Deed = Call | Save | Forget | Told
Deeds = Generator[Deed, Any, Any]


def deploying(stack: Stack, *, declared: bool = False) -> Deeds:
    """Returns the record as it is kept at the end. Raises DeployFailed."""
    return _Run(stack, declared).run()


class _Run:
    def __init__(self, stack: Stack, declared: bool) -> None:
        self._stack = stack
        self._where = stack.where
        location = stack.where.location
        first = StackRecord(account=location.account, region=location.region, stack=stack.where.stack)
        self._before = stack.record or first
        self._record = msgspec.structs.replace(self._before, status="changing", reason="", declared=declared)
        self._done: list[tuple[Step, ResourceRecord]] = []

    def run(self) -> Deeds:
        plan = self._stack.plan
        self._record = msgspec.structs.replace(
            self._record, parameters=self._stack.kept_parameters(), imports=self._stack.imports
        )
        for step in plan.steps:
            try:
                yield from self._step(step)
            except (CallRefused, TemplateRefused) as refused:
                yield from self._back(step, refused)
        outputs, exports = self._stack.outputs()
        self._record = msgspec.structs.replace(
            self._record,
            template_sha256=self._stack.template_sha256,
            outputs=outputs,
            exports=exports,
            imports=self._stack.imports,
        )
        yield from self._clean_up()
        self._record = msgspec.structs.replace(self._record, status="complete")
        yield from self._save()
        return self._record

    # forth

    def _step(self, step: Step) -> Deeds:
        kind = KINDS[step.type]
        # What the hub file lists is to be there; for all others a deployment looks at changes only, as on AWS.
        listed = step.action == "keep" and self._record.declared
        if listed and not (yield from kind.exists(self._where, step.name, step.properties)):
            step = msgspec.structs.replace(step, action="create", before=None)
        if step.action == "keep":
            assert step.before is not None
            kept = msgspec.structs.replace(step.before, depends_on=step.depends_on, retain=step.retain)
            self._put(step.logical_id, kept)
            self._stack.made(step.logical_id, kept.attributes)
            return
        properties = self._stack.finished(step)
        name = step.name
        new = ResourceRecord(
            type=step.type,
            name=name,
            identity=step.identity,
            state="updating" if step.action == "update" else "creating",
            generation=step.generation,
            properties=masked(kind.properties, properties, self._where.stack_id),
            attributes=kind.attributes(self._where, name, properties),
            depends_on=step.depends_on,
            retain=step.retain,
        )
        half_made = step.before is not None and step.before.state == "creating" and step.action == "create"
        new_one = step.action in ("create", "replace") and not half_made
        if new_one and (yield from kind.exists(self._where, name, properties)):
            raise CallRefused("AlreadyExists", f"{step.type} {step.identity} exists and is not of this stack")
        if step.action == "update" and step.before is not None:
            # Until it is done, the record has what was: that is what the next run compares with.
            self._put(step.logical_id, msgspec.structs.replace(step.before, state="updating"))
        else:
            if step.action == "replace" and step.before is not None:
                self._leave(step, step.before)
            self._put(step.logical_id, new)
        yield from self._save()
        if half_made and step.before is not None:
            yield from kind.delete(self._where, step.before.name, step.before.properties)
        self._done.append((step, new))
        if step.action == "update":
            assert step.before is not None
            late = yield from kind.update(self._where, name, properties, step.before.properties)
        else:
            late = yield from kind.create(self._where, name, properties)
        made = msgspec.structs.replace(new, state="ready", attributes={**new.attributes, **late})
        self._put(step.logical_id, made)
        self._stack.made(step.logical_id, made.attributes)
        yield Told(f"{_DID[step.action]} {step.logical_id} ({step.identity})")

    def _put(self, logical_id: str, resource: ResourceRecord) -> None:
        self._record = msgspec.structs.replace(self._record, resources={**self._record.resources, logical_id: resource})

    def _leave(self, step: Step, old: ResourceRecord) -> None:
        """What is replaced goes, whatever its DeletionPolicy: that it may stay is said by UpdateReplacePolicy."""
        if not step.retain_replaced:
            left = Leftover(step.logical_id, msgspec.structs.replace(old, retain=False))
            self._record = msgspec.structs.replace(self._record, leftovers=(left, *self._record.leftovers))

    def _save(self) -> Deeds:
        version = yield Save(self._record)
        self._record = msgspec.structs.replace(self._record, version=version)

    def _clean_up(self) -> Deeds:
        """Deletes what the template has no more, then what was replaced, the last first: rules go before buses."""
        wanted = {step.logical_id for step in self._stack.plan.steps}
        going = [*deletes(self._record, wanted), *self._record.leftovers]
        if not going:
            return
        resources = {name: resource for name, resource in self._record.resources.items() if name in wanted}
        self._record = msgspec.structs.replace(self._record, resources=resources, leftovers=tuple(going))
        yield from self._save()
        while self._record.leftovers:
            left = self._record.leftovers[0]
            try:
                yield from _unmade(self._where, left)
            except CallRefused as refused:
                self._record = msgspec.structs.replace(
                    self._record, status="failed", reason=f"{left.logical_id} could not be deleted: {refused}"
                )
                yield from self._save()
                raise DeployFailed(
                    f"{self._where.stack} is as its template says, but {left.logical_id} ({left.resource.identity}), "
                    f"which it has no more, could not be deleted: {refused}. Deploy again to try once more"
                ) from refused
            self._record = msgspec.structs.replace(self._record, leftovers=self._record.leftovers[1:])

    # back

    def _back(self, failed: Step, refused: Exception) -> Deeds:
        """Undoes what was done, as far as it can be. Raises DeployFailed."""
        stands: list[str] = []
        yield Told(f"{failed.logical_id} was refused: {refused}; going back")
        for step, made in reversed(self._done):
            try:
                yield from self._undone(step, made)
            except CallRefused as again:
                stands.append(f"{step.logical_id} ({made.identity}) stands, going back was refused: {again}")
            except _CannotGoBack as why:
                stands.append(f"{step.logical_id} ({made.identity}) {why}")
        reason = f"{failed.logical_id}: {refused}"
        if not self._record.resources and not self._record.leftovers:
            yield Forget(self._record)
        else:
            self._record = msgspec.structs.replace(
                self._record,
                status="failed" if stands or self._before.status != "complete" else "complete",
                reason=reason if stands or self._before.status != "complete" else "",
                parameters=self._before.parameters,
                imports=self._before.imports,
            )
            yield from self._save()
        after = "; ".join(stands) or "everything is as it was before"
        raise DeployFailed(
            f"{failed.logical_id} ({failed.type} {failed.identity}) was refused: {refused}. {after}. Mend the template "
            "and deploy again"
        ) from refused

    def _undone(self, step: Step, made: ResourceRecord) -> Deeds:
        kind = KINDS[step.type]
        if step.action in ("create", "replace"):
            yield from kind.delete(self._where, made.name, made.properties)
            resources = dict(self._record.resources)
            if step.action == "replace" and step.before is not None:
                resources[step.logical_id] = step.before
            else:
                del resources[step.logical_id]
            old = (step.logical_id, step.before.identity if step.before else "")
            left = tuple(item for item in self._record.leftovers if (item.logical_id, item.resource.identity) != old)
            self._record = msgspec.structs.replace(self._record, resources=resources, leftovers=left)
            yield Told(f"unmade {step.logical_id} ({made.identity})")
            return
        assert step.before is not None
        if has_mask(step.before.properties):
            raise _CannotGoBack("is changed or half changed: its secrets are not kept, so it cannot be changed back")
        yield from kind.update(self._where, made.name, step.before.properties, made.properties)
        self._put(step.logical_id, step.before)
        yield Told(f"changed {step.logical_id} ({made.identity}) back")


class _CannotGoBack(Exception):
    """The text says why, after the resource's name."""


_DID = {"create": "made", "update": "changed", "replace": "replaced"}


def deleting(record: StackRecord, where: Where) -> Deeds:
    """Deletes what the stack has, what needs others first. Raises DeployFailed."""
    going = (*deletes(record, set()), *record.leftovers)
    record = msgspec.structs.replace(record, status="changing", resources={}, leftovers=going, outputs={}, exports={})
    version = yield Save(record)
    record = msgspec.structs.replace(record, version=version)
    while record.leftovers:
        left = record.leftovers[0]
        try:
            yield from _unmade(where, left)
        except CallRefused as refused:
            record = msgspec.structs.replace(
                record, status="failed", reason=f"{left.logical_id} could not be deleted: {refused}"
            )
            yield Save(record)
            names = ", ".join(item.logical_id for item in record.leftovers)
            raise DeployFailed(
                f"{left.logical_id} ({left.resource.identity}) could not be deleted: {refused}. What stands: {names}. "
                "Mend that and delete the stack again"
            ) from refused
        record = msgspec.structs.replace(record, leftovers=record.leftovers[1:])
    yield Forget(record)
    return record


def _unmade(where: Where, left: Leftover) -> Deeds:
    resource = left.resource
    if resource.retain:
        yield Told(f"kept {left.logical_id} ({resource.identity}): its DeletionPolicy says so")
        return
    yield from KINDS[resource.type].delete(where, resource.name, resource.properties)
    yield Told(f"deleted {left.logical_id} ({resource.identity})")
