"""The subset of JSON path that EventBridge evaluates (user guide, "eb-transform-target-input").

`$`, `.name` with letters, digits, `-`, `_` and `/`, `['any name']`, `[n]`, and `*` as `.*` or `[*]`. A path without a
star finds one value or `MISSING`. A path with stars finds a list of values: `MISSING` only where the part before the
first star leads nowhere, and without the elements that lack what follows it. Looks at values and at JSON text alike; in
text it opens only the containers on the path, so that numbers and everything else come out exactly as they were sent.
"""

import enum
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec


class InvalidPath(ValueError):
    """The text is not a JSON path of the subset."""


class Missing(enum.Enum):
    MISSING = "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING


class Path(msgspec.Struct, frozen=True):
    """A compiled path: names, indices and, for a star, None; `definite` is how many steps come before a star."""

    text: str
    steps: tuple[str | int | None, ...]
    definite: int

    @property
    def is_definite(self) -> bool:
        return self.definite == len(self.steps)


_STEP = re.compile(
    r"\.(?P<name>[-_A-Za-z0-9/]+)|\[(?P<index>[0-9]{1,9})\]|(?P<star>\.\*|\[\*\])|\['(?P<quoted>[^']+)'\]"
)
_open_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_open_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def compile_path(text: str) -> Path:
    """The compiled path; raises `InvalidPath`, which says where the text leaves the subset."""
    if not text.startswith("$"):
        raise InvalidPath(f"Expected a JSON path that starts with $, got {text!r}")
    steps: list[str | int | None] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise InvalidPath(f"Expected .name, [index] or * at character {position + 1} of JSON path {text!r}")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(match["name"] or match["quoted"])
        position = match.end()
    definite = steps.index(None) if None in steps else len(steps)
    return Path(text, tuple(steps), definite)


def get(path: Path, value: Any) -> Any:
    """What the path finds in a decoded JSON value, or `MISSING`."""
    return _find(path, value, _as_is)


def get_json(path: Path, text: bytes) -> bytes | Missing:
    """What the path finds in a JSON text, as JSON text, or `MISSING`."""
    found = _find(path, text, _opened)
    if isinstance(found, Missing):
        return found
    if path.is_definite:
        return bytes(found)
    return b"[" + b",".join(map(bytes, found)) + b"]"


def _as_is(value: Any) -> Any:
    return value


def _opened(text: Any) -> Any:
    """One level of a JSON text: an object or array of texts; anything else holds nothing."""
    first = bytes(memoryview(text)[:1])
    if first == b"{":
        return _open_object(text)
    if first == b"[":
        return _open_array(text)
    return None


def _step(container: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return container.get(step, MISSING) if isinstance(container, dict) else MISSING
    return container[step] if isinstance(container, list) and step < len(container) else MISSING


def _find(path: Path, value: Any, opened: Callable[[Any], Any]) -> Any:
    for step in path.steps[: path.definite]:
        assert step is not None
        value = _step(opened(value), step)
        if value is MISSING:
            return MISSING
    if path.is_definite:
        return value
    found = [value]
    for step in path.steps[path.definite :]:
        containers = [opened(item) for item in found]
        if step is not None:
            found = [item for container in containers if (item := _step(container, step)) is not MISSING]
        else:
            found = []
            for container in containers:
                if isinstance(container, dict):
                    found.extend(container.values())
                elif isinstance(container, list):
                    found.extend(container)
    return found
