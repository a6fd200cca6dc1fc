"""What commands are given: JSON as an argument, in a file or on stdin; rules in files; events in files.

A file of rules is a hub file, or JSON or YAML with one pattern, one rule, a list of rules, or rules by their names; or
JSON lines, a rule or a pattern a line. A rule has its pattern under `pattern`, `EventPattern` or `event_pattern`, as an
object or as text. Patterns in JSON are kept to the letter, so that a key that stands twice is still seen. Raises
ConfigError, which names the file and what was expected in it.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from router import config
from router.config import ConfigError, Hub
from router.core.ruletable_values import decode_object

_PATTERN_KEYS = ("pattern", "EventPattern", "event_pattern")
_NAME_KEYS = ("name", "Name", "RuleName", "rule_name", "id", "Id")
_EXPECTED = "a hub file, or rules as JSON, JSON lines or YAML"
_HUB_KEYS = frozenset(Hub.__struct_fields__)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class NamedPattern(msgspec.Struct, frozen=True):
    """A rule as far as its pattern goes."""

    name: str
    pattern: str


class RulesFile(msgspec.Struct, frozen=True):
    """What a file has; `hub` where it is a hub file, whose declared rules the patterns then are."""

    patterns: list[NamedPattern]
    hub: Hub | None = None


def json_text(argument: str, what: str) -> str:
    """JSON text as it was given: itself, `-` for stdin, a file's name, or a file's name behind `@`."""
    if argument == "-":
        raw, source = sys.stdin.buffer.read(), "stdin"
    elif argument.lstrip()[:1] in ("{", "[", '"'):
        return argument
    else:
        source = argument.removeprefix("@")
        try:
            raw = Path(source).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"expected the {what} as JSON, as a file or as -, got {argument[:80]!r}: {reason}"
            ) from error
    return _decoded(raw, source)


def _decoded(raw: bytes, source: object) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: expected UTF-8, got {error}") from error


def _read(path: Path) -> str:
    try:
        return _decoded(path.read_bytes(), path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


# events


def events(path: Path) -> list[dict[str, Any]]:
    """The events of a file, at least one: one, a JSON array of them, or JSON lines."""
    found = _events(_read(path), path)
    if not found:
        raise ConfigError(f"{path}: expected at least one event, got none")
    return found


def _events(text: str, path: Path) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            texts = [bytes(element).decode() for element in _elements(text)]
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: expected a JSON array of events: {error}") from error
        return [_event(one, f"{path}: event {number}") for number, one in enumerate(texts, start=1)]
    try:
        return [decode_object(text)]
    except ValueError:
        return [_event(line, f"{path}: line {number}") for number, line in _lines(text)]


def _event(text: str, where: str) -> dict[str, Any]:
    try:
        return decode_object(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


# rules


def rules(path: Path) -> RulesFile:
    """See the module's contract."""
    text = _read(path)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _of_json(text, path)
        except msgspec.MsgspecError:
            lines = dict(_lines(text))
            if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines.values()):
                return _of_lines(lines, path)
    return _of_yaml(text, path)


def _of_lines(lines: Mapping[int, str], path: Path) -> RulesFile:
    found: list[NamedPattern] = []
    for number, line in lines.items():
        try:
            found += _rule(_members(line), line, f"line {number}")
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: line {number}: expected JSON, got {error}") from error
    return RulesFile(found)


def _of_yaml(text: str, path: Path) -> RulesFile:
    try:
        value = config.yaml_value(text.encode())
        encoded = msgspec.json.encode(value).decode()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path}: expected {_EXPECTED}: {error}") from error
    if not isinstance(value, dict | list):
        raise ConfigError(f"{path}: expected {_EXPECTED}, got {encoded[:80]}")
    return _of_json(encoded, path)


def _of_json(text: str, path: Path) -> RulesFile:
    if text.lstrip().startswith("["):
        return RulesFile(_list(_elements(text)))
    members = _members(text)
    if members.keys() & {"accounts", "regions"} or (members.keys() <= _HUB_KEYS and members.keys() - {"resources"}):
        return _hub(path)
    if members.keys() & {"AWSTemplateFormatVersion", "Resources"}:
        raise ConfigError(f"{path}: expected {_EXPECTED}, got a CloudFormation template")
    if not any(key in members for key in _PATTERN_KEYS):
        for key in ("rules", "Rules"):
            if key in members and bytes(members[key]).startswith(b"["):
                return RulesFile(_list(_elements(members[key])))
        named = {name: _inner(member) for name, member in members.items()}
        if named and all(any(key in inner for key in _PATTERN_KEYS) for inner in named.values()):
            return RulesFile([rule for name, inner in named.items() for rule in _rule(inner, "", name, named=True)])
    return RulesFile(_rule(members, text, path.stem))


def _inner(member: msgspec.Raw) -> dict[str, msgspec.Raw]:
    return _members(member) if bytes(member).startswith(b"{") else {}


def _list(elements: list[msgspec.Raw]) -> list[NamedPattern]:
    return [
        rule
        for number, element in enumerate(elements, start=1)
        for rule in _rule(_inner(element), bytes(element).decode(), f"#{number}")
    ]


def _rule(members: Mapping[str, msgspec.Raw], text: str, name: str, *, named: bool = False) -> list[NamedPattern]:
    """The rule, or `text` as a pattern where it has none under a key; a rule on a schedule has no pattern at all."""
    pattern = next((members[key] for key in _PATTERN_KEYS if key in members), None)
    if pattern is None:
        return [] if "ScheduleExpression" in members else [NamedPattern(name, text)]
    given = next((members[key] for key in _NAME_KEYS if key in members and not named), None)
    if given is not None and bytes(given).startswith(b'"'):
        name = msgspec.json.decode(given, type=str)
    encoded = bytes(pattern)
    return [
        NamedPattern(name, msgspec.json.decode(encoded, type=str) if encoded.startswith(b'"') else encoded.decode())
    ]


def _hub(path: Path) -> RulesFile:
    """A hub file with its declared rules; one name in several locations is told with its location."""
    hub = config.load(path)
    declared = [(resources, rule) for resources in hub.resources for rule in resources.rules]
    names = [rule.name for _, rule in declared]
    return RulesFile(
        [
            NamedPattern(
                rule.name if names.count(rule.name) == 1 else f"{rule.name} ({resources.account}/{resources.region})",
                rule.event_pattern
                if isinstance(rule.event_pattern, str)
                else msgspec.json.encode(rule.event_pattern).decode(),
            )
            for resources, rule in declared
            if rule.event_pattern is not None
        ],
        hub,
    )
