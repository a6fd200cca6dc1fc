"""Types of resource properties, and whether a value has its type.

Types come from the API's own model where the property is the API's member, so that a target's parameters need no list
here; the few names that CloudFormation writes otherwise are renamed. Values are converted as CloudFormation does: a
number or a boolean where a text is wanted and the other way round. Promises that a member nobody knows is refused with
what is expected, got, and where. A `Later` has every type. Pure.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from router.aws.model import Model
from router.importers.document import kind
from router.importers.intrinsics import Later
from router.importers.parameters import Secret, text

Name = Literal["text", "integer", "number", "boolean", "json", "list", "map", "object"]


class Type(msgspec.Struct, frozen=True, kw_only=True):
    """`members` are by CloudFormation's name, `api_names` has the API's where it is another."""

    name: Name
    members: Mapping[str, "Type"] = {}
    required: frozenset[str] = frozenset()
    api_names: Mapping[str, str] = {}
    element: "Type | None" = None
    enum: tuple[str, ...] = ()
    secret: bool = False
    """Its value is never shown and never kept as it is."""


TEXT = Type(name="text")
INTEGER = Type(name="integer")
BOOLEAN = Type(name="boolean")
JSON = Type(name="json")
"""An object, or its JSON text."""
TAG = Type(name="object", members={"Key": TEXT, "Value": TEXT}, required=frozenset({"Key", "Value"}))
TAGS = Type(name="list", element=TAG)
TEXTS = Type(name="list", element=TEXT)

_NAMES: Mapping[str, Name] = {
    "string": "text",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "list": "list",
    "map": "map",
    "structure": "object",
}
_RENAMED: Mapping[str, Mapping[str, str]] = {
    # By the model's shape: the API's member, and what CloudFormation calls it ("aws-properties-events-rule-…").
    "EcsParameters": {"Tags": "TagList", "PlacementStrategy": "PlacementStrategies"},
    "NetworkConfiguration": {"awsvpcConfiguration": "AwsVpcConfiguration"},
}


def of_model(model: Model, shape_name: str) -> Type:
    """The type of a model's shape, which must not contain itself."""
    shape = model.shapes[shape_name]
    renamed = _RENAMED.get(shape_name, {})
    inner = shape.element or shape.value
    return Type(
        name=_NAMES[shape.type],
        members={renamed.get(name, name): of_model(model, member) for name, member in shape.members.items()},
        required=frozenset(renamed.get(name, name) for name in shape.required),
        api_names={written: name for name, written in renamed.items()},
        element=of_model(model, inner) if inner else None,
        enum=shape.enum,
        secret=shape.sensitive,
    )


class Check:
    """Converts values to their types; `problems` gathers what has another."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def convert(self, type_: Type, value: Any, path: str) -> Any:
        if isinstance(value, Later):
            return value
        match type_.name:
            case "object":
                return self._object(type_, value, path)
            case "list":
                if not isinstance(value, list):
                    return self._wrong("a list", value, path)
                assert type_.element is not None
                return [self.convert(type_.element, item, f"{path}[{index}]") for index, item in enumerate(value)]
            case "map":
                if not isinstance(value, dict):
                    return self._wrong("a mapping", value, path)
                assert type_.element is not None
                return {key: self.convert(type_.element, item, f"{path}.{key}") for key, item in value.items()}
            case "json":
                return self._json(value, path)
            case _:
                return self._scalar(type_, value, path)

    def _object(self, type_: Type, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self._wrong("a mapping", value, path)
        found = {}
        for name, item in value.items():
            member = type_.members.get(name)
            if member is None:
                self.problems.append(f"expected one of {', '.join(sorted(type_.members))}, got {name} - at `{path}`")
            elif item is not None:
                found[name] = self.convert(member, item, f"{path}.{name}")
        self.problems += [
            f"expected {name}, got none - at `{path}`" for name in sorted(type_.required) if name not in found
        ]
        return found

    def _json(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            try:
                found = msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                found = None
            if isinstance(found, dict):
                return value if isinstance(value, Secret) else found
            return self._wrong("an object or its JSON text", value, path)
        return value if isinstance(value, dict) else self._wrong("an object or its JSON text", value, path)

    def _scalar(self, type_: Type, value: Any, path: str) -> Any:
        if isinstance(value, (dict, list)) or value is None:
            return self._wrong(_a(type_), value, path)
        written = text(value)
        match type_.name:
            case "text":
                if type_.enum and written not in type_.enum:
                    self.problems.append(
                        f"expected one of {', '.join(type_.enum)}, got {_shown(type_, value)} - at `{path}`"
                    )
                return written
            case "boolean":
                if written.lower() in ("true", "false"):
                    return written.lower() == "true"
            case "integer":
                number = written.removeprefix("-")
                if number.isascii() and number.isdigit() and len(number) <= 18:
                    return int(written)
            case _:
                try:
                    return float(written)
                except ValueError:
                    pass
        self.problems.append(f"expected {_a(type_)}, got {_shown(type_, value)} - at `{path}`")
        return value

    def _wrong(self, expected: str, value: Any, path: str) -> Any:
        self.problems.append(f"expected {expected}, got {kind(value)} - at `{path}`")
        return value


def _a(type_: Type) -> str:
    return f"an {type_.name}" if type_.name == "integer" else f"a {type_.name}"


def _shown(type_: Type, value: Any) -> str:
    return "a value that is not shown" if type_.secret or isinstance(value, Secret) else repr(value)


def api_value(type_: Type, value: Any) -> Any:
    """A converted value in the API's words: renamed members, JSON as text."""
    match type_.name:
        case "object":
            return {
                type_.api_names.get(name, name): api_value(type_.members[name], item) for name, item in value.items()
            }
        case "list" if type_.element is not None:
            return [api_value(type_.element, item) for item in value]
        case "map" if type_.element is not None:
            return {name: api_value(type_.element, item) for name, item in value.items()}
        case "json":
            return json_text(value)
        case _:
            return str(value) if isinstance(value, Secret) else value


def json_text(value: Any) -> str:
    return str(value) if isinstance(value, str) else msgspec.json.encode(plain(value)).decode()


def plain(value: Any) -> Any:
    """The same without Secrets among its texts, for encoders that take plain texts only."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Secret) else value
