"""A stack: a template with its parameters, for one place, beside what is there. What must change follows from it.

Promises that all of it is pure: text, parameters, the place, other stacks' exports and the stack's own record in, a
`Plan` out. Resources come in an order in which each has what it needs; what only the hub will know (`Later`) is filled
in by `finished`, once it is known. A template that lacks something is refused with the whole list of what.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from router.importers import parameters, skipped_kinds
from router.importers.document import TemplateRefused
from router.importers.intrinsics import Later, Missing, NotYet, Resolver
from router.importers.kind_table import KINDS
from router.importers.kinds import Kind, Where, generated_name
from router.importers.parameters import Secret
from router.importers.property_types import Check, plain
from router.importers.record import Leftover, ResourceRecord, StackRecord, masked
from router.importers.template import Resource, Template, load

Action = Literal["create", "update", "replace", "keep", "delete"]


class Given(msgspec.Struct, frozen=True):
    """What a stack is deployed with. `exports` are those of the other stacks of the place."""

    template: bytes
    where: Where
    parameters: Mapping[str, str] = {}
    exports: Mapping[str, str] = {}
    used: Mapping[str, str] = {}
    """Of this stack's exports, those that others import, with one that does."""
    record: StackRecord | None = None
    previous_parameters: bool = True
    """Parameters that are not given keep the value of the last deployment."""


class Change(msgspec.Struct, frozen=True):
    """A property that changes, as it is shown; a secret's values are not."""

    path: str
    before: str
    after: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one resource. `properties` may hold Laters."""

    action: Action
    logical_id: str
    type: str
    name: str
    identity: str
    generation: int
    properties: dict[str, Any]
    depends_on: tuple[str, ...]
    retain: bool
    retain_replaced: bool = False
    changes: tuple[Change, ...] = ()
    before: ResourceRecord | None = None


class Skipped(msgspec.Struct, frozen=True):
    """What of the template the hub does not do: a resource, or one thing of it."""

    logical_id: str
    type: str
    what: str = ""


class Plan(msgspec.Struct, frozen=True):
    """`deletes` are what the stack had and the template has not, in the order in which they go."""

    steps: tuple[Step, ...]
    deletes: tuple[Leftover, ...]
    skipped: tuple[Skipped, ...]

    @property
    def changes_nothing(self) -> bool:
        return not self.deletes and all(step.action == "keep" for step in self.steps)


class _Scope:
    """What the template's functions may ask for. Attributes are filled in as resources are planned, and made."""

    def __init__(self, template: Template, given: Given, values: parameters.Values) -> None:
        self._template = template
        self._given = given
        self._values = values
        self.resolver = Resolver(self)
        self.known: dict[str, dict[str, str]] = {}
        """What each resource of the stack gives, as far as it is known."""
        self.absent: set[str] = set()
        """Resources whose condition is false."""
        self.unsound: set[str] = set()
        """Resources with a problem, which is told already."""
        self.promised: set[str] = set()
        """`LogicalId.Attribute` that were asked for and only the hub will know."""
        self.imports: dict[str, None] = {}
        where = given.where
        self._pseudo: dict[str, Any] = {
            "AWS::AccountId": where.location.account,
            "AWS::NotificationARNs": [],
            "AWS::Partition": where.partition,
            "AWS::Region": where.location.region,
            "AWS::StackId": where.stack_id,
            "AWS::StackName": where.stack,
            "AWS::URLSuffix": where.url_suffix,
        }

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._values.values

    @property
    def pseudo(self) -> Mapping[str, Any]:
        return self._pseudo

    @property
    def mappings(self) -> Mapping[str, Any]:
        return self._template.mappings

    @property
    def conditions(self) -> Mapping[str, Any]:
        return self._template.conditions

    def imported(self, name: str) -> str:
        self.imports[name] = None
        if name not in self._given.exports:
            raise Missing(f"No export named {name} found.")
        return self._given.exports[name]

    def resource(self, logical_id: str, attribute: str) -> str:
        resource = self._template.resources.get(logical_id)
        if resource is None or logical_id in self.absent:
            raise Missing(f"Template format error: Unresolved resource dependencies [{logical_id}]")
        kind = KINDS.get(resource.type)
        if kind is None:
            return self._of_skipped(resource, attribute)
        found = self.known.get(logical_id, {})
        if attribute in found:
            return found[attribute]
        if attribute in kind.late:
            self.promised.add(f"{logical_id}.{attribute}")
        if attribute in kind.late or logical_id in self.unsound:
            raise NotYet(f"{logical_id}.{attribute}")
        raise Missing(
            f"Template error: resource {logical_id} does not support attribute type {attribute} in Fn::GetAtt"
        )

    def _of_skipped(self, resource: Resource, attribute: str) -> str:
        def property_of(name: str) -> Any:
            value = self.resolver.value(resource.properties.get(name), f"Resources.{resource.logical_id}.{name}")
            return None if isinstance(value, Later) else value

        try:
            return skipped_kinds.attribute(
                self._given.where, resource.logical_id, resource.type, attribute, property_of
            )
        except skipped_kinds.Unknown as unknown:
            raise Missing(str(unknown)) from unknown


class Stack:
    """Raises TemplateRefused when it is made, with everything that is wrong or missing."""

    def __init__(self, given: Given) -> None:
        self.where = given.where
        self.record = given.record
        self.template_sha256 = hashlib.sha256(given.template).hexdigest()
        template = load(given.template)
        previous = given.record.parameters if given.record is not None and given.previous_parameters else None
        self._values = parameters.values(template.parameters, given.parameters, previous)
        self._template = template
        self._scope = _Scope(template, given, self._values)
        self._problems: list[str] = []
        self.plan = self._planned()
        resolver = self._scope.resolver
        problems = [*self._problems, *resolver.problems, *resolver.missing]
        self.skipped_outputs: dict[str, str] = {}
        """Outputs that need what the hub has not, with the reason."""
        self._open_exports: set[str] = set()
        """Exports whose value is not known yet."""
        problems = problems or list(self._export_problems(given))
        if problems:
            raise TemplateRefused(list(dict.fromkeys(problems)))

    @property
    def imports(self) -> tuple[str, ...]:
        return tuple(self._scope.imports)

    def kept_parameters(self) -> dict[str, parameters.Value]:
        """For the record: without those that are NoEcho."""
        return {name: value for name, value in self._values.values.items() if name not in self._values.secret}

    def made(self, logical_id: str, attributes: Mapping[str, str]) -> None:
        """A resource exists now and gives these attributes."""
        self._scope.known[logical_id] = dict(attributes)

    def finished(self, step: Step) -> dict[str, Any]:
        """The step's properties, with what was not known when it was planned."""
        kind = KINDS[step.type]
        check = Check()
        path = f"Resources.{step.logical_id}.Properties"
        found: dict[str, Any] = check.convert(kind.properties, self._now(step.properties, path), path)
        problems = [*check.problems, *self._scope.resolver.missing, *self._scope.resolver.problems]
        problems += kind.problems(found, path)
        if problems:
            raise TemplateRefused(problems)
        return found

    def _now(self, value: Any, path: str) -> Any:
        match value:
            case Later():
                found = self._scope.resolver.value(value.raw, path)
                if isinstance(found, Later):
                    raise TemplateRefused([f"{found.needs} is still not known - at `{path}`"])
                return found
            case dict():
                return {key: self._now(item, f"{path}.{key}") for key, item in value.items()}
            case list():
                return [self._now(item, f"{path}[{index}]") for index, item in enumerate(value)]
            case _:
                return value

    def outputs(self) -> tuple[dict[str, str], dict[str, str]]:
        """Outputs and exports, once every resource is made. A secret's text is not shown."""
        outputs: dict[str, str] = {}
        exports: dict[str, str] = {}
        for name, export, value in self._outputs():
            outputs[name] = "****" if isinstance(value, Secret) else value
            if export is not None:
                exports[export] = value
        return outputs, exports

    def _export_problems(self, given: Given) -> Iterator[str]:
        _, exports = self.outputs()
        for name in exports.keys() & given.exports.keys():
            yield f"Export with name {name} is already exported by another stack"
        had = given.record.exports if given.record is not None else {}
        for name, user in given.used.items():
            if name in had and name not in self._open_exports and exports.get(name) != had[name]:
                done = "updated" if name in exports else "deleted"
                yield f"Export {name} cannot be {done} as it is in use by {user}"

    def _outputs(self) -> Iterator[tuple[str, str | None, str]]:
        resolver = self._scope.resolver
        self.skipped_outputs = {}
        for name, output in self._template.outputs.items():
            where = f"Outputs.{name}"
            if output.get("Condition") and not resolver.condition(output["Condition"], f"{where}.Condition"):
                continue
            before = len(resolver.missing), len(resolver.problems)
            value = resolver.value(output["Value"], f"{where}.Value")
            export = resolver.value(output["Export"]["Name"], f"{where}.Export") if output.get("Export") else None
            reasons = resolver.missing[before[0] :] + resolver.problems[before[1] :]
            del resolver.missing[before[0] :], resolver.problems[before[1] :]
            if isinstance(value, Later):
                reasons = reasons or [f"{value.needs} is not known"]
                if isinstance(export, str):
                    self._open_exports.add(export)
            elif isinstance(value, (dict, list)) or value is None:
                reasons.append(f"expected a text - at `{where}.Value`")
            if export is not None and isinstance(value, Secret):
                reasons.append(f"a NoEcho parameter may not be exported - at `{where}.Export`")
            if reasons:
                self.skipped_outputs[name] = reasons[0]
                continue
            shown = value if isinstance(value, Secret) else parameters.text(value)
            yield name, None if export is None else str(export), shown

    # the plan

    def _planned(self) -> Plan:
        present = self._present()
        steps = []
        skipped = []
        for resource in _in_order(present):
            kind = KINDS.get(resource.type)
            if kind is None:
                skipped.append(Skipped(resource.logical_id, resource.type))
                continue
            step = self._step(resource, kind)
            if step is None:
                continue
            steps.append(step)
            skipped += [
                Skipped(resource.logical_id, resource.type, f"{name} (it has no effect here)")
                for name in kind.without_effect(step.properties)
            ]
        self._check_identities(steps)
        order = {logical_id: index for index, logical_id in enumerate(self._template.resources)}
        skipped.sort(key=lambda item: order[item.logical_id])
        return Plan(tuple(steps), tuple(self._deletes({step.logical_id for step in steps})), tuple(skipped))

    def _present(self) -> dict[str, Resource]:
        present = {}
        for logical_id, resource in self._template.resources.items():
            where = f"Resources.{logical_id}.Condition"
            if resource.condition is None or self._scope.resolver.condition(resource.condition, where):
                present[logical_id] = resource
            else:
                self._scope.absent.add(logical_id)
        return present

    def _step(self, resource: Resource, kind: Kind) -> Step | None:
        """None where something is wrong or missing: what else it would be then nobody needs to know."""
        path = f"Resources.{resource.logical_id}.Properties"
        resolver = self._scope.resolver
        before = len(resolver.missing) + len(resolver.problems)
        check = Check()
        properties: dict[str, Any] = check.convert(kind.properties, resolver.value(resource.properties, path), path)
        problems = check.problems or kind.problems(properties, path)
        old = self.record.resources.get(resource.logical_id) if self.record is not None else None
        if old is not None and old.type != resource.type:
            problems = [
                *problems,
                "Update of resource type is not permitted. The new template modifies resource type of the following "
                f"resources: [{resource.logical_id}]",
            ]
        fixed = {*kind.replaced_by, *([kind.name_property] if kind.name_property else [])}
        problems += [
            f"expected a value that is known before anything is made, got one that needs {value.needs} - "
            f"at `{path}.{name}`"
            for name, value in properties.items()
            if name in fixed and isinstance(value, Later) and value.needs in self._scope.promised
        ]
        if problems or len(resolver.missing) + len(resolver.problems) > before:
            self._problems += problems
            self._scope.unsound.add(resource.logical_id)
            return None
        return self._decided(resource, kind, properties, old)

    def _decided(self, resource: Resource, kind: Kind, properties: dict[str, Any], old: ResourceRecord | None) -> Step:
        kept = masked(kind.properties, properties, self.where.stack_id)
        changes = [] if old is None else list(_changes(old.properties, kept, ""))
        generation = 0 if old is None else old.generation
        action: Action = "keep"
        if old is None or old.state == "creating":
            action = "create"
        elif kind.replaced_by & {change.path.partition(".")[0].partition("[")[0] for change in changes}:
            action, generation = "replace", generation + 1
        elif changes or old.state != "ready":
            action = "update"
        stays = old if action in ("keep", "update") else None
        name = self._name(resource, kind, properties, stays, generation)
        identity = kind.identity(self.where, name, properties)
        if action == "replace" and old is not None and identity == old.identity:
            self._problems.append(
                "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename "
                f"{old.name} and update the stack again. - at `Resources.{resource.logical_id}`"
            )
        attributes = kind.attributes(self.where, name, properties)
        if stays is not None:
            attributes = {**attributes, **{key: stays.attributes[key] for key in kind.late if key in stays.attributes}}
        self._scope.known[resource.logical_id] = attributes
        return Step(
            action=action,
            logical_id=resource.logical_id,
            type=resource.type,
            name=name,
            identity=identity,
            generation=generation,
            properties=properties,
            depends_on=resource.depends_on,
            retain=resource.retain,
            retain_replaced=resource.retain_replaced,
            changes=tuple(changes),
            before=old,
        )

    def _name(
        self,
        resource: Resource,
        kind: Kind,
        properties: Mapping[str, Any],
        stays: ResourceRecord | None,
        generation: int,
    ) -> str:
        given = properties.get(kind.name_property) if kind.name_property else None
        if given is not None:
            return str(given)
        if stays is not None:
            return stays.name
        name = generated_name(self.where, resource.logical_id, kind.name_chars_max, generation)
        fifo = properties.get("FifoQueue") is True or properties.get("FifoTopic") is True
        return f"{name}.fifo" if fifo else name

    def _check_identities(self, steps: Sequence[Step]) -> None:
        seen: dict[tuple[str, str], str] = {}
        for step in steps:
            twin = seen.setdefault((step.type, step.identity), step.logical_id)
            if twin != step.logical_id:
                self._problems.append(
                    f"{step.identity} already exists in stack {self.where.stack_id}: {twin} and {step.logical_id} have "
                    f"the same name - at `Resources.{step.logical_id}`"
                )

    def _deletes(self, wanted: set[str]) -> Iterator[Leftover]:
        if self.record is None:
            return
        yield from deletes(self.record, wanted)
        yield from self.record.leftovers


def deletes(record: StackRecord, wanted: set[str]) -> list[Leftover]:
    """The record's resources but for `wanted`, each before what it needs."""
    left = {logical_id: resource for logical_id, resource in record.resources.items() if logical_id not in wanted}
    rest = {
        logical_id: Resource(logical_id, resource.type, {}, None, resource.depends_on, False, False)
        for logical_id, resource in left.items()
    }
    return [Leftover(resource.logical_id, left[resource.logical_id]) for resource in reversed(_in_order(rest))]


def _in_order(resources: Mapping[str, Resource]) -> list[Resource]:
    """Each after what it needs; what is free to choose by kind (buses first, rules last), then as written."""
    left = {
        logical_id: {need for need in resource.depends_on if need in resources}
        for logical_id, resource in resources.items()
    }
    places = {
        logical_id: (KINDS[resource.type].rank if resource.type in KINDS else 0, index)
        for index, (logical_id, resource) in enumerate(resources.items())
    }
    ordered = []
    while left:
        free = [logical_id for logical_id, needs in left.items() if not needs & left.keys()]
        chosen = min(free, key=places.__getitem__)
        del left[chosen]
        ordered.append(resources[chosen])
    return ordered


def _changes(before: Any, after: Any, path: str) -> Iterator[Change]:
    """Where two values differ, as deep as both are mappings, or lists of equal length."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            here = f"{path}.{key}" if path else key
            if key not in after:
                yield Change(here, _shown(before[key]), "")
            elif key not in before:
                yield Change(here, "", _shown(after[key]))
            else:
                yield from _changes(before[key], after[key], here)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, f"{path}[{index}]")
    elif before != after:
        yield Change(path, _shown(before), _shown(after))


def _shown(value: Any) -> str:
    if isinstance(value, Later):
        return f"(known once {value.needs} is)"
    if isinstance(value, str):
        return "(secret)" if value.startswith("(secret ") else value
    return msgspec.json.encode(plain(_without_later(value))).decode()


def _without_later(value: Any) -> Any:
    match value:
        case Later():
            return f"(known once {value.needs} is)"
        case dict():
            return {key: _without_later(item) for key, item in value.items()}
        case list():
            return [_without_later(item) for item in value]
        case str():
            return "(secret)" if value.startswith("(secret ") else value
        case _:
            return value
