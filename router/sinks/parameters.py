"""Dynamic parameters: a target parameter whose whole text is a JSON path takes its value from the original event
(user guide, "eb-targets": path parameters in target settings). Knows no target's own parameters.
"""

import functools
from typing import Any

import msgspec

from router.core.event import Event, envelope
from router.core.jsonpath import InvalidPath, Path, compile_path, get_json


class BadParameter(ValueError):
    """The event has no usable value for the parameter."""


def is_dynamic(text: str) -> bool:
    """Whether its value depends on the event."""
    return _path(text) is not None


def value_of(text: str, event: Event) -> str:
    """The parameter's value for this event: what the path finds (a string without its quotes), or the text itself."""
    path = _path(text)
    if path is None:
        return text
    try:
        found = get_json(path, envelope(event))
        if not isinstance(found, bytes):
            raise BadParameter(f"the event has nothing at {text}")
        return msgspec.json.decode(found, type=str) if found[:1] == b'"' else found.decode()
    except msgspec.DecodeError:  # JSON by its grammar, yet no text (`"\ud800"`)
        raise BadParameter(f"the event has no text at {text}") from None


def filled(block: Any, event: Event) -> Any:
    """A parameter block as JSON values, with every text in it that is a path replaced by what it finds. Raises
    BadParameter."""
    if isinstance(block, dict):
        return {name: filled(value, event) for name, value in block.items()}
    if isinstance(block, list):
        return [filled(value, event) for value in block]
    return value_of(block, event) if isinstance(block, str) else block


@functools.lru_cache(maxsize=10_000)
def _path(text: str) -> Path | None:
    if not text.startswith("$."):
        return None
    try:
        return compile_path(text)
    except InvalidPath:
        return None
