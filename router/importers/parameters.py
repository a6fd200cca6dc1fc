"""The values of a template's parameters: what was given, else what the stack had, else the default, each checked.

Promises that every value satisfies its declaration, and that a value of a NoEcho parameter is a `Secret`, which no
output, plan or record shows. Refusals are CloudFormation's. Types that name a thing of another service
(`AWS::EC2::VPC::Id`) are texts; `AWS::SSM::Parameter::Value<…>` needs its value given, because the hub has no parameter
store to look in. Knows nothing of resources.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.importers.document import TemplateRefused, kind

Value = str | list[str]


class Secret(str):
    """A text that nobody may be shown. Texts made with one are Secrets too."""

    __slots__ = ()


class Values(msgspec.Struct, frozen=True):
    values: dict[str, Value]
    """By name; texts, also for numbers, and lists of texts."""
    secret: frozenset[str]


_MEMBERS = frozenset(
    {
        "Type", "Default", "Description", "AllowedValues", "AllowedPattern", "ConstraintDescription", "MaxLength",
        "MinLength", "MaxValue", "MinValue", "NoEcho",
    }
)  # fmt: skip
_PLAIN = ("String", "Number", "List<Number>", "CommaDelimitedList")
_OF_AWS = re.compile(r"AWS::[A-Za-z0-9]+(::[A-Za-z0-9]+)+")
_SSM_VALUE = re.compile(r"AWS::SSM::Parameter::Value<(.+)>")
_SSM = "AWS::SSM::Parameter::Value"
_LIST = re.compile(r"List<(.+)>")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def values(
    declared: Mapping[str, Any], given: Mapping[str, str], previous: Mapping[str, Value] | None = None
) -> Values:
    """`previous` are the stack's own from its last deployment. Raises TemplateRefused with every problem."""
    problems: list[str] = []
    unknown = [name for name in given if name not in declared]
    if unknown:
        problems.append(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    found: dict[str, Value] = {}
    missing: list[str] = []
    secret: set[str] = set()
    for name, declaration in declared.items():
        errors = list(_declaration_problems(name, declaration))
        if errors:
            problems += errors
            continue
        base = _base_type(declaration["Type"])
        if _flag(declaration.get("NoEcho")):
            secret.add(name)
        raw: Any = given.get(name)
        if raw is None and previous is not None and name in previous:
            raw = previous[name]
        if raw is None and declaration["Type"].startswith(_SSM):
            problems.append(
                f"Parameter {name} has the type {declaration['Type']}: this hub has no parameter store, give the value "
                f"that the store would have with --parameter {name}=VALUE"
            )
            continue
        if raw is None:
            raw = declaration.get("Default")
        if raw is None:
            missing.append(name)
            continue
        value, errors = _checked(name, base, declaration, raw)
        problems += errors
        found[name] = Secret(value) if name in secret and isinstance(value, str) else value
    if missing:
        problems.append(f"Parameters: [{', '.join(missing)}] must have values")
    if problems:
        raise TemplateRefused(problems)
    return Values(found, frozenset(secret))


def text(value: Any) -> str:
    """A scalar as CloudFormation writes it into a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _flag(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _base_type(type_: str) -> str:
    match = _SSM_VALUE.fullmatch(type_)
    return match[1] if match else type_


def _is_list(base: str) -> bool:
    return base == "CommaDelimitedList" or base.startswith("List<")


def _declaration_problems(name: str, declaration: Any) -> Iterator[str]:
    where = f"Parameters.{name}"
    if not isinstance(declaration, dict):
        yield f"expected a mapping with Type, got {kind(declaration)} - at `{where}`"
        return
    for key in declaration:
        if key not in _MEMBERS:
            yield f"Invalid template parameter property '{key}' - at `{where}`"
    type_ = declaration.get("Type")
    if not isinstance(type_, str):
        yield f"Template format error: Every Parameters object must contain a Type member. - at `{where}`"
        return
    base = _base_type(type_)
    inner = _LIST.fullmatch(base)
    if base not in _PLAIN and _OF_AWS.fullmatch(inner[1] if inner else base) is None and base != "List<String>":
        yield f"Template format error: Unrecognized parameter type: {type_} - at `{where}.Type`"
    pattern = declaration.get("AllowedPattern")
    if pattern is not None:
        try:
            re.compile(text(pattern))
        except re.error as error:
            yield f"expected a regular expression, got {pattern!r}: {error} - at `{where}.AllowedPattern`"
    if not isinstance(declaration.get("AllowedValues", []), list):
        yield f"expected a list, got {kind(declaration['AllowedValues'])} - at `{where}.AllowedValues`"
    for key in ("MinLength", "MaxLength", "MinValue", "MaxValue"):
        if key in declaration and _NUMBER.fullmatch(text(declaration[key])) is None:
            yield f"expected a number, got {declaration[key]!r} - at `{where}.{key}`"


def _checked(name: str, base: str, declaration: Mapping[str, Any], raw: Any) -> tuple[Value, list[str]]:
    if isinstance(raw, dict) or (isinstance(raw, list) and not _is_list(base)):
        return "", [f"Template format error: Every Default member must be a string. - at `Parameters.{name}.Default`"]
    if _is_list(base):
        whole = ",".join(text(item) for item in raw) if isinstance(raw, list) else text(raw)
        parts = [part.strip() for part in whole.split(",")] if whole else []
        problems = [problem for part in parts for problem in _part_problems(name, base, declaration, part)]
        return parts, list(dict.fromkeys(problems))
    value = text(raw)
    return value, list(_part_problems(name, base, declaration, value))


def _part_problems(name: str, base: str, declaration: Mapping[str, Any], value: str) -> Iterator[str]:
    """What is wrong with one text; a NoEcho value is not repeated."""
    if "AllowedValues" in declaration and value not in [text(item) for item in declaration["AllowedValues"]]:
        allowed = ", ".join(text(item) for item in declaration["AllowedValues"])
        yield f"Parameter '{name}' must be one of AllowedValues: {allowed}"
        return
    if base in ("Number", "List<Number>"):
        if _NUMBER.fullmatch(value) is None:
            yield f"Parameter '{name}' must be a number."
            return
        number = float(value)
        if "MinValue" in declaration and number < float(text(declaration["MinValue"])):
            yield _failed(name, declaration, f"must be a number not less than {text(declaration['MinValue'])}")
        if "MaxValue" in declaration and number > float(text(declaration["MaxValue"])):
            yield _failed(name, declaration, f"must be a number not greater than {text(declaration['MaxValue'])}")
        return
    if "MinLength" in declaration and len(value) < float(text(declaration["MinLength"])):
        yield _failed(name, declaration, f"must contain at least {text(declaration['MinLength'])} characters")
    if "MaxLength" in declaration and len(value) > float(text(declaration["MaxLength"])):
        yield _failed(name, declaration, f"must contain at most {text(declaration['MaxLength'])} characters")
    pattern = declaration.get("AllowedPattern")
    if pattern is not None and re.fullmatch(text(pattern), value) is None:
        yield _failed(name, declaration, f"must match pattern {text(pattern)}")


def _failed(name: str, declaration: Mapping[str, Any], why: str) -> str:
    description = declaration.get("ConstraintDescription")
    return f"Parameter {name} failed to satisfy constraint: {text(description) if description else why}"
