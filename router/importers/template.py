"""A template's sections, checked as far as that needs neither parameters nor a hub, with the order of its resources.

Promises that section names, resource attributes, logical ids and every reference between them hold, also in resources
that the hub then skips, and that no resource needs itself. Refusals are in CloudFormation's words where it has some.
A `Transform` is refused by its name: what a macro makes of a template is not known here. Nothing is resolved here.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router import limits
from router.importers.document import TemplateRefused, kind, read

_SECTIONS = frozenset(
    {
        "AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Mappings", "Conditions", "Resources",
        "Outputs", "Transform", "Rules", "Hooks",
    }
)  # fmt: skip
_MAPPINGS = ("Metadata", "Parameters", "Mappings", "Conditions", "Resources", "Outputs")
_ATTRIBUTES = frozenset(
    {
        "Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "UpdatePolicy",
        "CreationPolicy", "Metadata",
    }
)  # fmt: skip
_POLICIES = ("Delete", "Retain", "RetainExceptOnCreate", "Snapshot")
_LOGICAL_ID = re.compile(r"[A-Za-z0-9]{1,255}")
_TYPE = re.compile(r"[A-Za-z0-9]+::[A-Za-z0-9_@:-]+")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
PSEUDO = frozenset(
    {
        "AWS::AccountId", "AWS::NoValue", "AWS::NotificationARNs", "AWS::Partition", "AWS::Region", "AWS::StackId",
        "AWS::StackName", "AWS::URLSuffix",
    }
)  # fmt: skip


class Resource(msgspec.Struct, frozen=True):
    """A resource as it is written; `properties` are not resolved."""

    logical_id: str
    type: str
    properties: dict[str, Any]
    condition: str | None
    depends_on: tuple[str, ...]
    """Every resource that it names, by DependsOn or in its properties."""
    retain: bool
    """It stays when it leaves the stack, or the stack is deleted."""
    retain_replaced: bool


class Template(msgspec.Struct, frozen=True):
    """A checked template. `resources` are in the order in which it has them."""

    parameters: dict[str, dict[str, Any]]
    mappings: dict[str, Any]
    conditions: dict[str, Any]
    resources: dict[str, Resource]
    outputs: dict[str, Any]


class Reference(msgspec.Struct, frozen=True):
    """Something named: by `Ref` (`attribute` None) or by `Fn::GetAtt`."""

    name: str
    attribute: str | None = None


def load(raw: bytes) -> Template:
    """Raises TemplateRefused."""
    return check(read(raw))


def check(document: Mapping[str, Any]) -> Template:
    """Raises TemplateRefused."""
    _check_sections(document)
    sections: dict[str, dict[str, Any]] = {name: document.get(name) or {} for name in _MAPPINGS}
    resources = _resources(sections["Resources"])
    template = Template(
        parameters=sections["Parameters"],
        mappings=sections["Mappings"],
        conditions=sections["Conditions"],
        resources=resources,
        outputs=sections["Outputs"],
    )
    problems = [*_counts(template), *_shapes(template), *_unknown_conditions(template), *_unresolved(template)]
    if problems:
        raise TemplateRefused(problems)
    _check_no_circle(resources)
    return template


def _check_sections(document: Mapping[str, Any]) -> None:
    unknown = [name for name in document if name not in _SECTIONS]
    transform = document.get("Transform")
    if transform:
        names = transform if isinstance(transform, list) else [transform]
        shown = ", ".join(str(name.get("Name")) if isinstance(name, dict) else str(name) for name in names)
        raise TemplateRefused(
            [f"the template has the Transform {shown}: this hub deploys templates without one - at `Transform`"]
        )
    problems = []
    if unknown:
        of_sam = ": Globals needs the Transform AWS::Serverless-2016-10-31" if "Globals" in unknown else ""
        problems.append(f"Invalid template property or properties [{', '.join(unknown)}]{of_sam}")
    if document.get("AWSTemplateFormatVersion", "2010-09-09") != "2010-09-09":
        problems.append("Template format error: unsupported value for AWSTemplateFormatVersion.")
    problems += [
        f"the section {name} is not supported: take it out of the template - at `{name}`"
        for name in ("Rules", "Hooks")
        if document.get(name)
    ]
    for name in _MAPPINGS:
        section = document.get(name)
        if section is not None and not isinstance(section, dict):
            problems.append(f"expected a mapping, got {kind(section)} - at `{name}`")
    if not document.get("Resources"):
        problems.append("At least one Resources member must be defined.")
    if problems:
        raise TemplateRefused(problems)


def _resources(section: Mapping[str, Any]) -> dict[str, Resource]:
    problems: list[str] = []
    found: dict[str, Resource] = {}
    serverless = []
    for logical_id, raw in section.items():
        where = f"Resources.{logical_id}"
        errors = list(_resource_problems(logical_id, raw, where))
        problems += errors
        if not errors:
            if raw["Type"].startswith("AWS::Serverless::"):
                serverless.append(raw["Type"])
            found[logical_id] = _resource(logical_id, raw, section)
    if serverless:
        names = ", ".join(sorted(set(serverless)))
        problems.append(
            f"Template format error: Unrecognized resource types: [{names}]: they need the Transform "
            "AWS::Serverless-2016-10-31, and this hub deploys templates without one"
        )
    if problems:
        raise TemplateRefused(problems)
    return found


def _resource_problems(logical_id: str, raw: Any, where: str) -> Iterator[str]:
    if _LOGICAL_ID.fullmatch(logical_id) is None:
        yield f"Template format error: Resource name {logical_id} is non alphanumeric."
    if not isinstance(raw, dict):
        yield f"expected a mapping with Type and Properties, got {kind(raw)} - at `{where}`"
        return
    for name in raw:
        if name not in _ATTRIBUTES:
            yield f"Invalid template resource property '{name}' - at `{where}`"
    if not isinstance(raw.get("Type"), str) or _TYPE.fullmatch(raw["Type"]) is None:
        yield f"expected a type such as AWS::Events::Rule, got {raw.get('Type')!r} - at `{where}.Type`"
    if not isinstance(raw.get("Properties") or {}, dict):
        yield f"expected a mapping, got {kind(raw['Properties'])} - at `{where}.Properties`"
    if not isinstance(raw.get("Condition") or "", str):
        yield f"expected the name of a condition, got {kind(raw['Condition'])} - at `{where}.Condition`"
    depends = raw.get("DependsOn") or []
    if not isinstance(depends, str) and not (
        isinstance(depends, list) and all(isinstance(item, str) for item in depends)
    ):
        yield f"expected a logical id or a list of them, got {kind(depends)} - at `{where}.DependsOn`"
    for name in ("DeletionPolicy", "UpdateReplacePolicy"):
        if raw.get(name, "Delete") not in _POLICIES:
            yield f"expected one of {', '.join(_POLICIES)}, got {raw[name]!r} - at `{where}.{name}`"


def _resource(logical_id: str, raw: Mapping[str, Any], section: Mapping[str, Any]) -> Resource:
    depends = raw.get("DependsOn") or []
    named = [depends] if isinstance(depends, str) else list(depends)
    properties = raw.get("Properties") or {}
    named += [reference.name for reference in references(properties) if reference.name in section]
    return Resource(
        logical_id=logical_id,
        type=raw["Type"],
        properties=properties,
        condition=raw.get("Condition") or None,
        depends_on=tuple(dict.fromkeys(named)),
        retain=raw.get("DeletionPolicy", "Delete") in ("Retain", "RetainExceptOnCreate"),
        retain_replaced=raw.get("UpdateReplacePolicy") == "Retain",
    )


def references(value: Any) -> Iterator[Reference]:
    """Everything that a value names by Ref, Fn::GetAtt and Fn::Sub, in all branches of its conditions.

    What only looks like a function (in a document that a property holds) names nothing.
    """
    if isinstance(value, list):
        for item in value:
            yield from references(item)
        return
    if not isinstance(value, dict):
        return
    if len(value) == 1:
        name, argument = next(iter(value.items()))
        if name == "Ref" and isinstance(argument, str):
            yield Reference(argument)
            return
        if name == "Fn::GetAtt" and (parts := attribute_parts(argument)) is not None:
            yield Reference(parts[0], parts[1] if isinstance(parts[1], str) else "")
            yield from references(parts[1])
            return
        if name == "Fn::Sub":
            yield from _sub_references(argument)
            return
    for item in value.values():
        yield from references(item)


def attribute_parts(argument: Any) -> tuple[str, Any] | None:
    """The logical id and the attribute of a GetAtt; None where it is none. An attribute may be a function."""
    if isinstance(argument, str):
        name, _, attribute = argument.partition(".")
        return (name, attribute) if name and attribute else None
    if isinstance(argument, list) and len(argument) >= 2 and isinstance(argument[0], str):
        if len(argument) == 2:
            return argument[0], argument[1]
        if all(isinstance(part, str) for part in argument):  # !GetAtt [Stack, Outputs, Name]
            return argument[0], ".".join(argument[1:])
    return None


def _sub_references(argument: Any) -> Iterator[Reference]:
    text, given = argument, {}
    if isinstance(argument, list) and len(argument) == 2 and isinstance(argument[1], dict):
        text, given = argument
        yield from references(given)
    if isinstance(text, str):
        for name in sub_variables(text):
            if name not in given:
                first, _, attribute = name.partition(".")
                yield Reference(first, attribute or None)


def sub_variables(text: str) -> Iterator[str]:
    """The names in a text's `${Name}`; `${!Name}` is none."""
    for match in _VARIABLE.finditer(text):
        if not match[1].startswith("!"):
            yield match[1].strip()


def _counts(template: Template) -> Iterator[str]:
    for name, count, count_max in (
        ("Parameters", len(template.parameters), limits.TEMPLATE_PARAMETERS_MAX),
        ("Mappings", len(template.mappings), limits.TEMPLATE_MAPPINGS_MAX),
        ("Resources", len(template.resources), limits.TEMPLATE_RESOURCES_MAX),
        ("Outputs", len(template.outputs), limits.TEMPLATE_OUTPUTS_MAX),
    ):
        if count > count_max:
            yield f"expected at most {count_max} members, got {count} - at `{name}`"


def _shapes(template: Template) -> Iterator[str]:
    for name, mapping in template.mappings.items():
        if not isinstance(mapping, dict) or not all(isinstance(item, dict) for item in mapping.values()):
            yield f"expected a mapping of mappings - at `Mappings.{name}`"
    for name, output in template.outputs.items():
        where = f"Outputs.{name}"
        if not isinstance(output, dict):
            yield f"expected a mapping with Value, got {kind(output)} - at `{where}`"
            continue
        if "Value" not in output:
            yield f"expected Value, got none - at `{where}`"
        for key in output:
            if key not in ("Value", "Description", "Condition", "Export"):
                yield f"Invalid template output property '{key}' - at `{where}`"
        export = output.get("Export")
        if export is not None and (not isinstance(export, dict) or set(export) != {"Name"}):
            yield f"expected a mapping with Name alone - at `{where}.Export`"


def _unknown_conditions(template: Template) -> Iterator[str]:
    used: list[tuple[str, Any]] = [
        (f"Resources.{logical_id}.Condition", resource.condition)
        for logical_id, resource in template.resources.items()
        if resource.condition is not None
    ]
    used += [
        (f"Outputs.{name}.Condition", output["Condition"])
        for name, output in template.outputs.items()
        if isinstance(output, dict) and output.get("Condition") is not None
    ]
    for where, name in used:
        if not isinstance(name, str) or name not in template.conditions:
            yield f"Template format error: Unresolved condition dependency {name} - at `{where}`"


def _unresolved(template: Template) -> Iterator[str]:
    """Names that nothing in the template has, in CloudFormation's words."""
    for section, parts in (
        ("Resources", [resource.properties for resource in template.resources.values()]),
        ("Outputs", [output for output in template.outputs.values() if isinstance(output, dict)]),
    ):
        missing: dict[str, None] = {}
        for reference in references(parts):
            known = reference.name in template.resources
            if reference.attribute is None:
                known = known or reference.name in template.parameters or reference.name in PSEUDO
            if not known:
                missing[reference.name] = None
        if section == "Resources":
            for resource in template.resources.values():
                missing.update({name: None for name in resource.depends_on if name not in template.resources})
        if missing:
            names = ", ".join(missing)
            yield (
                f"Template format error: Unresolved resource dependencies [{names}] in the {section} block of the "
                "template"
            )


def _check_no_circle(resources: Mapping[str, Resource]) -> None:
    """Takes away what needs nothing that is left, until nothing is left."""
    left = {logical_id: set(resource.depends_on) for logical_id, resource in resources.items()}
    while True:
        free = [logical_id for logical_id, needs in left.items() if not needs & left.keys()]
        if not free:
            break
        for logical_id in free:
            del left[logical_id]
    if left:
        raise TemplateRefused([f"Circular dependency between resources: [{', '.join(left)}]"])
