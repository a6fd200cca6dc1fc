"""Intrinsic functions: what a template's value is, once parameters, conditions and other resources are known.

Promises that a function with a wrong argument is refused with its place, that what cannot be known (an export that no
stack has, an attribute of a kind that the hub does not have) is named, and that what only the hub will know when a
resource is made (the ARN of a connection has a UUID) is left as a `Later`, to be resolved again then. A text made with
a Secret is a Secret. Problems are collected, so that all are told at once. Pure: no clock, no calls.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from router.importers.document import kind
from router.importers.parameters import Secret, text
from router.importers.template import attribute_parts

_NO_VALUE = object()


class Later(msgspec.Struct, frozen=True):
    """A value that is known once what it needs exists. `needs` has `LogicalId.Attribute`, or why it never will be."""

    raw: Any
    needs: str


class NotYet(Exception):
    """The attribute is known once its resource exists; the text is `LogicalId.Attribute`."""


class Missing(Exception):
    """Something that is not in the template is needed and not there; the text names it."""


class _Wrong(Exception):
    """A function is not used as it must be."""


class Scope(Protocol):
    """What functions may ask for. `resource` raises NotYet and Missing, `imported` raises Missing."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def pseudo(self) -> Mapping[str, Any]: ...
    @property
    def mappings(self) -> Mapping[str, Any]: ...
    @property
    def conditions(self) -> Mapping[str, Any]: ...
    def resource(self, logical_id: str, attribute: str) -> str: ...
    def imported(self, name: str) -> str: ...


_CONDITIONS = frozenset({"Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals", "Condition"})
_REFUSED = {
    "Fn::Cidr": "Fn::Cidr is not supported: give the blocks as a parameter",
    "Fn::GetAZs": "Fn::GetAZs is not supported: this hub has no availability zones",
    "Fn::Transform": "Fn::Transform is not supported: this hub has no macros",
    "Fn::ForEach": "Fn::ForEach needs the Transform AWS::LanguageExtensions",
    "Fn::Length": "Fn::Length needs the Transform AWS::LanguageExtensions",
    "Fn::ToJsonString": "Fn::ToJsonString needs the Transform AWS::LanguageExtensions",
}


class Resolver:
    """Resolves values of one template. `problems` and `missing` gather what was found, each with its place."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.problems: list[str] = []
        self.missing: list[str] = []
        self._known_conditions: dict[str, bool] = {}
        self._open_conditions: list[str] = []
        self._inside = 0
        """How many functions are being evaluated: what fails in one is told at the outermost."""

    def value(self, raw: Any, path: str) -> Any:
        """The value, with a `Later` for each part that is not known; None for AWS::NoValue alone."""
        found = self._value(raw, path)
        return None if found is _NO_VALUE else found

    def condition(self, name: str, path: str) -> bool:
        """Whether a condition of the template is true; False with a problem noted where it cannot be said."""
        try:
            return self._named_condition(name)
        except (_Wrong, Missing, NotYet) as error:
            self.problems.append(f"{error} - at `{path}`")
            return False

    # values

    def _value(self, raw: Any, path: str) -> Any:
        if isinstance(raw, dict):
            name = next((key for key in raw if key == "Ref" or key.startswith("Fn::")), None)
            if name is not None:
                return self._outermost(raw, name, path) if not self._inside else self._function(raw, name, path)
            items = {key: self._value(item, f"{path}.{key}") for key, item in raw.items()}
            return {key: item for key, item in items.items() if item is not _NO_VALUE}
        if isinstance(raw, list):
            found = [self._value(item, f"{path}[{index}]") for index, item in enumerate(raw)]
            return [item for item in found if item is not _NO_VALUE]
        if isinstance(raw, str) and not self._inside:
            return self._without_dynamic(raw, raw, path)
        return raw

    def _outermost(self, raw: dict[str, Any], name: str, path: str) -> Any:
        """A function that stands in no other: here failures become Laters, so that the rest is looked at too."""
        if name == "Fn::If" and len(raw) == 1:
            try:
                branch = self._branch(raw[name])
            except (_Wrong, Missing, NotYet) as error:
                return self._failed(raw, error, path)
            return self._value(branch, path)
        self._inside += 1
        try:
            found = self._function(raw, name, path)
        except (_Wrong, Missing, NotYet) as error:
            return self._failed(raw, error, path)
        finally:
            self._inside -= 1
        return self._without_dynamic(found, raw, path)

    def _failed(self, raw: Any, error: Exception, path: str) -> Later:
        if isinstance(error, Missing):
            self.missing.append(f"{error} - at `{path}`")
        elif isinstance(error, _Wrong):
            self.problems.append(f"{error} - at `{path}`")
        return Later(raw, str(error))

    def _without_dynamic(self, value: Any, raw: Any, path: str) -> Any:
        if isinstance(value, str) and "{{resolve:" in value:
            start = value.index("{{resolve:")
            reference = "a dynamic reference" if isinstance(value, Secret) else value[start:].partition("}}")[0] + "}}"
            error = Missing(f"{reference} cannot be looked up: this hub has no parameter store and no secrets")
            return self._failed(raw, error, path)
        return value

    def _function(self, raw: dict[str, Any], name: str, path: str) -> Any:
        if len(raw) != 1:
            others = ", ".join(key for key in raw if key != name)
            raise _Wrong(f"expected {name} alone, got {others} beside it")
        if name in _REFUSED:
            raise _Wrong(_REFUSED[name])
        function = _FUNCTIONS.get(name)
        if function is None:
            raise _Wrong(f"expected a function that may stand here, got {name}")
        return function(self, raw[name], path)

    def _text(self, raw: Any, path: str, what: str) -> str:
        value = self._value(raw, path)
        if isinstance(value, (dict, list)) or value is None or value is _NO_VALUE:
            raise _Wrong(f"expected {what}, got {_shown(value)}")
        return text(value)

    def _list(self, raw: Any, path: str, what: str) -> list[Any]:
        value = self._value(raw, path)
        if not isinstance(value, list):
            raise _Wrong(f"expected {what}, got {_shown(value)}")
        return value

    def ref(self, argument: Any, path: str) -> Any:
        if not isinstance(argument, str):
            raise _Wrong(f"expected a name in Ref, got {kind(argument)}")
        if argument == "AWS::NoValue":
            return _NO_VALUE
        if argument in self._scope.parameters:
            return self._scope.parameters[argument]
        if argument in self._scope.pseudo:
            return self._scope.pseudo[argument]
        return self._resource(argument, "Ref")

    def _resource(self, logical_id: str, attribute: str) -> str:
        if self._open_conditions:
            raise _Wrong(
                "Template format error: Unresolved dependencies "
                f"[{logical_id}]. Cannot reference resources in the Conditions block of the template"
            )
        return self._scope.resource(logical_id, attribute)

    def get_att(self, argument: Any, path: str) -> Any:
        parts = attribute_parts(argument)
        if parts is None:
            raise _Wrong(f"expected a logical id and an attribute in Fn::GetAtt, got {_shown(argument)}")
        return self._resource(parts[0], self._text(parts[1], path, "the name of an attribute in Fn::GetAtt"))

    def sub(self, argument: Any, path: str) -> str:
        template, given = argument, {}
        if isinstance(argument, list):
            if len(argument) != 2 or not isinstance(argument[1], dict):
                raise _Wrong(f"expected a text and a mapping in Fn::Sub, got {_shown(argument)}")
            template, given = argument
        if not isinstance(template, str):
            raise _Wrong(f"expected a text in Fn::Sub, got {kind(template)}")
        parts: list[str] = []
        rest = template
        while (start := rest.find("${")) >= 0 and (end := rest.find("}", start)) >= 0:
            parts.append(rest[:start])
            name = rest[start + 2 : end]
            if name.startswith("!"):
                parts.append("${" + name[1:] + "}")
            else:
                parts.append(self._variable(name.strip(), given, path))
            rest = rest[end + 1 :]
        return _joined([*parts, rest])

    def _variable(self, name: str, given: Mapping[str, Any], path: str) -> str:
        if name in given:
            return self._text(given[name], path, f"a text for ${{{name}}} in Fn::Sub")
        logical_id, dot, attribute = name.partition(".")
        if dot:
            return self._resource(logical_id, attribute)
        value = self.ref(name, path)
        if value is _NO_VALUE or isinstance(value, (list, dict)):
            raise _Wrong(f"Template error: variable {name} in Fn::Sub expression does not resolve to a string")
        return text(value)

    def join(self, argument: Any, path: str) -> str:
        delimiter, raw = self._pair(argument, "Fn::Join", "a delimiter and a list")
        if not isinstance(delimiter, str):
            raise _Wrong(f"expected a text as the delimiter of Fn::Join, got {kind(delimiter)}")
        items = self._list(raw, path, "a list in Fn::Join")
        parts = [self._text(item, path, "texts in Fn::Join's list") for item in items]
        found = [part for item in parts for part in (delimiter, item)][1:]
        return _joined(found)

    def split(self, argument: Any, path: str) -> list[str]:
        delimiter, raw = self._pair(argument, "Fn::Split", "a delimiter and a text")
        if not isinstance(delimiter, str) or not delimiter:
            raise _Wrong(f"expected a text that is not empty as the delimiter of Fn::Split, got {delimiter!r}")
        whole = self._text(raw, path, "a text in Fn::Split")
        parts = whole.split(delimiter)
        return [Secret(part) for part in parts] if isinstance(whole, Secret) else parts

    def select(self, argument: Any, path: str) -> Any:
        raw_index, raw = self._pair(argument, "Fn::Select", "an index and a list")
        index = self._text(raw_index, path, "an index in Fn::Select")
        items = self._list(raw, path, "a list in Fn::Select")
        if not index.isdecimal() or int(index[:9]) >= len(items):
            raise _Wrong(
                f"Template error: Fn::Select cannot select nonexistent value at index {index}: expected an index below "
                f"{len(items)}"
            )
        return items[int(index)]

    def find_in_map(self, argument: Any, path: str) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:
            raise _Wrong("expected a map's name and two keys in Fn::FindInMap")
        name, first, second = (self._text(part, path, "a text in Fn::FindInMap") for part in argument)
        found: Any = self._scope.mappings
        for key in (name, first, second):
            if key not in found:
                raise _Wrong(f"Template error: Unable to get mapping for {name}::{first}::{second}")
            found = found[key]
        return found

    def import_value(self, argument: Any, path: str) -> str:
        if self._open_conditions:
            raise _Wrong("Fn::ImportValue may not stand in the Conditions block of the template")
        return self._scope.imported(self._text(argument, path, "the name of an export in Fn::ImportValue"))

    def base64(self, argument: Any, path: str) -> str:
        whole = self._text(argument, path, "a text in Fn::Base64")
        encoded = base64.b64encode(whole.encode()).decode()
        return Secret(encoded) if isinstance(whole, Secret) else encoded

    def if_(self, argument: Any, path: str) -> Any:
        return self._value(self._branch(argument), path)

    def _branch(self, argument: Any) -> Any:
        if not isinstance(argument, list) or len(argument) != 3:
            raise _Wrong("expected a condition's name and two values in Fn::If")
        name, yes, no = argument
        if isinstance(name, dict) and set(name) == {"Condition"}:
            name = name["Condition"]
        if not isinstance(name, str):
            raise _Wrong(f"expected the name of a condition in Fn::If, got {kind(name)}")
        return yes if self._named_condition(name) else no

    def _pair(self, argument: Any, function: str, what: str) -> tuple[Any, Any]:
        if not isinstance(argument, list) or len(argument) != 2:
            raise _Wrong(f"expected {what} in {function}, got {_shown(argument)}")
        return argument[0], argument[1]

    # conditions

    def _named_condition(self, name: str) -> bool:
        if name in self._known_conditions:
            return self._known_conditions[name]
        if name not in self._scope.conditions:
            raise _Wrong(f"Template format error: Unresolved condition dependency {name}")
        if name in self._open_conditions:
            circle = [*self._open_conditions[self._open_conditions.index(name) :], name]
            raise _Wrong(f"Circular dependency between conditions: [{', '.join(circle)}]")
        self._open_conditions.append(name)
        self._inside += 1
        try:
            found = self._truth(self._scope.conditions[name], f"Conditions.{name}")
        finally:
            self._inside -= 1
            self._open_conditions.pop()
        self._known_conditions[name] = found
        return found

    def _truth(self, raw: Any, path: str) -> bool:
        if not isinstance(raw, dict) or len(raw) != 1 or next(iter(raw)) not in _CONDITIONS:
            raise _Wrong(
                "expected one of Fn::And, Fn::Or, Fn::Not, Fn::Equals or Condition as a condition, got "
                f"{next(iter(raw)) if isinstance(raw, dict) and raw else kind(raw)}"
            )
        name, argument = next(iter(raw.items()))
        if name == "Condition":
            if not isinstance(argument, str):
                raise _Wrong(f"expected the name of a condition, got {kind(argument)}")
            return self._named_condition(argument)
        if not isinstance(argument, list):
            raise _Wrong(f"expected a list in {name}, got {kind(argument)}")
        least, most = {"Fn::Not": (1, 1), "Fn::Equals": (2, 2)}.get(name, (2, 10))
        if not least <= len(argument) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise _Wrong(f"expected {count} values in {name}, got {len(argument)}")
        match name:
            case "Fn::Equals":
                first, second = (self._value(item, path) for item in argument)
                return bool(_comparable(first) == _comparable(second))
            case "Fn::Not":
                return not self._truth(argument[0], path)
            case "Fn::And":
                return all(self._truth(item, path) for item in argument)
            case _:
                return any(self._truth(item, path) for item in argument)


_FUNCTIONS: Mapping[str, Callable[[Resolver, Any, str], Any]] = {
    "Ref": Resolver.ref,
    "Fn::GetAtt": Resolver.get_att,
    "Fn::Sub": Resolver.sub,
    "Fn::Join": Resolver.join,
    "Fn::Split": Resolver.split,
    "Fn::Select": Resolver.select,
    "Fn::FindInMap": Resolver.find_in_map,
    "Fn::ImportValue": Resolver.import_value,
    "Fn::Base64": Resolver.base64,
    "Fn::If": Resolver.if_,
}


def _joined(parts: list[str]) -> str:
    whole = "".join(parts)
    return Secret(whole) if any(isinstance(part, Secret) for part in parts) else whole


def _comparable(value: Any) -> Any:
    """As CloudFormation compares: scalars by their text."""
    return value if isinstance(value, (list, dict)) else text(value)


def _shown(value: Any) -> str:
    return "AWS::NoValue" if value is _NO_VALUE else kind(value)
