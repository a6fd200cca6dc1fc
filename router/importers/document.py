"""A template's text as plain values: JSON or YAML with CloudFormation's short forms, read safely and within bounds.

Promises that what comes out is made of dicts with text keys, lists, texts, numbers, booleans and None, that functions
have their long form (`!Sub x` is `{"Fn::Sub": "x"}`), and that size, depth and number of values are bounded, also where
YAML's aliases repeat a part many times. A key that stands twice is refused, and so are tags that CloudFormation does
not know and hash merges, which it does not support ("template-formats"). Knows nothing of sections and resources.
"""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

from router import limits


class TemplateRefused(Exception):
    """The template cannot be deployed. `problems` are all that were found, each one line that says where."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


_SHORT = frozenset(
    {
        "And", "Base64", "Cidr", "Contains", "EachMemberEquals", "EachMemberIn", "Equals", "FindInMap", "GetAtt",
        "GetAZs", "If", "ImportValue", "Join", "Length", "Not", "Or", "RefAll", "Select", "Split", "Sub",
        "ToJsonString", "Transform", "ValueOf", "ValueOfAll",
    }
)  # fmt: skip


def read(raw: bytes) -> dict[str, Any]:
    """Raises TemplateRefused."""
    if len(raw) > limits.TEMPLATE_BYTES_MAX:
        raise TemplateRefused([f"expected a template of at most {limits.TEMPLATE_BYTES_MAX} bytes, got {len(raw)}"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateRefused([f"the template is not UTF-8: {error}"]) from error
    try:
        value = _json(text) if text.lstrip()[:1] == "{" else _yaml(text)
    except RecursionError as error:
        raise _too_deep() from error
    if not isinstance(value, dict):
        raise TemplateRefused([f"expected a mapping of sections such as Resources, got {kind(value)}"])
    return value


def kind(value: Any) -> str:
    """What a value is, in the words of templates."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"


class _NotJson(ValueError):
    """It may still be YAML in flow style."""


def _json(text: str) -> Any:
    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise TemplateRefused([f"expected each key once, got {twice!r} again"])
        return found

    try:
        value = json.loads(text, object_pairs_hook=each_key_once, parse_constant=_no_constant)
    except ValueError as error:
        if "\t" in text:  # what JSON has and YAML refuses: the JSON reader's reason is the better one
            raise TemplateRefused([f"the template is not JSON: {error}"]) from error
        return _yaml(text)
    _Bounds().check(value)
    return value


def _no_constant(name: str) -> NoReturn:
    raise _NotJson(name)


class _Bounds:
    """Counts the values of a document and looks at their depth."""

    def __init__(self) -> None:
        self._count = 0

    def one(self, depth: int) -> None:
        self._count += 1
        if self._count > limits.TEMPLATE_VALUES_MAX:
            raise TemplateRefused([f"expected at most {limits.TEMPLATE_VALUES_MAX} values in a template, got more"])
        if depth > limits.TEMPLATE_DEPTH_MAX:
            raise _too_deep()

    def check(self, value: Any, depth: int = 0) -> None:
        self.one(depth)
        if isinstance(value, dict):
            for item in value.values():
                self.check(item, depth + 1)
        elif isinstance(value, list):
            for item in value:
                self.check(item, depth + 1)


def _too_deep() -> TemplateRefused:
    return TemplateRefused([f"expected at most {limits.TEMPLATE_DEPTH_MAX} values inside each other, got more"])


class _Loader(yaml.SafeLoader):
    """Dates stay text, as `Version: 2012-10-17` wants it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml(text: str) -> Any:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Values(loader).of(node, 0)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:
        raise TemplateRefused([f"the template is not YAML: {' '.join(str(error).split())}"]) from error


class _Values:
    """Values of YAML's nodes. A node that aliases repeat is counted each time, so that a bomb ends at the bound."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._bounds = _Bounds()

    def of(self, node: yaml.Node, depth: int) -> Any:
        self._bounds.one(depth)
        if node.tag.startswith("!"):
            return self._function(node, depth)
        match node:
            case yaml.ScalarNode():
                return self._scalar(node)
            case yaml.SequenceNode():
                return self._list(node, depth)
            case _:
                assert isinstance(node, yaml.MappingNode)
                return self._mapping(node, depth)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.rpartition(":")[2] not in ("null", "bool", "int", "float", "str", "value"):
            raise _refused(f"the tag {node.tag} is not supported in templates", node)
        value: Any = self._loader.construct_object(node)
        if isinstance(value, float) and value - value != 0:
            raise _refused(f"expected a number that JSON has, got {node.value}", node)
        return value

    def _list(self, node: yaml.SequenceNode, depth: int) -> list[Any]:
        if node.tag != "tag:yaml.org,2002:seq":
            raise _refused(f"the tag {node.tag} is not supported in templates", node)
        return [self.of(item, depth + 1) for item in node.value]

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            raise _refused(f"the tag {node.tag} is not supported in templates", node)
        found: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("expected a text as a key, got a list or a mapping", key)
            if key.value == "<<" and key.tag == "tag:yaml.org,2002:merge":
                raise _refused("hash merges (<<) are not supported in templates", key)
            if key.value in found:
                raise _refused(f"expected each key once, got {key.value!r} again", key)
            found[key.value] = self.of(item, depth + 1)
        return found

    def _function(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        name = node.tag[1:]
        if name not in _SHORT and name not in ("Ref", "Condition"):
            raise _refused(f"the tag !{name} is no function of templates", node)
        match node:
            case yaml.ScalarNode():
                value: Any = node.value
            case yaml.SequenceNode():
                value = [self.of(item, depth + 1) for item in node.value]
            case _:
                value = self._mapping(
                    yaml.MappingNode("tag:yaml.org,2002:map", node.value, node.start_mark, node.end_mark), depth
                )
        return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


def _refused(text: str, node: yaml.Node) -> TemplateRefused:
    return TemplateRefused([f"{text} - at line {node.start_mark.line + 1}"])
