"""Check a decoded JSON body against an input shape, and turn an output into JSON, as AWS's services do.

Promises: the texts are AWS's (recorded answers; control_plane "Targets"); every violated constraint is found, up to
ten, as AWS counts them; time and memory grow with the body and nothing else. A wrong JSON type is refused at once,
because no constraint can be judged then; AWS's text is followed by the place. Unknown members are ignored and `null` is
the same as absent, as AWS has it.

Values inside the hub: a timestamp is a whole number of milliseconds since 1970, a blob is `bytes`; on the wire they are
seconds and base64. This module knows no operation, no error code but SerializationException, and no HTTP.
"""

import base64
import binascii
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from router.aws.model import Model, Shape
from router.aws.patterns import matches
from router.errors import SerializationException

VIOLATIONS_MAX = 10  # AWS: the rest is not reported
VALUE_CHARS_MAX = 32_768  # ours: how much of a refused value is repeated in a violation's text
TIMESTAMP_S_MIN = -62_135_596_800  # the year 1
TIMESTAMP_S_MAX = 253_402_300_799  # the end of the year 9999

_NOT_NULL = "Member must not be null"
_CONTAINERS = frozenset({"structure", "list", "map"})
_INTEGERS = {"integer": ("an Integer", 2**31), "long": ("a Long", 2**63)}
_NOUNS = {
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "timestamp": "milliseconds since epoch",
    "blob": "a Blob",
}
# Members that AWS prints and its published model does not have (recorded: PutEvents with eleven entries).
_UNPUBLISHED = {"PutEventsRequestEntry": ("kmsKeyIdentifier", "internalMetadata")}


class Violation(msgspec.Struct, frozen=True):
    """A constraint that a value does not satisfy. `path` is AWS's (`targets.1.member.id`), `member` the model's."""

    path: str
    member: str
    constraint: str
    shape: Shape
    value: Any

    @property
    def missing(self) -> bool:
        return self.value is None


def read_input(model: Model, shape_name: str, data: Any) -> tuple[dict[str, Any], list[Violation]]:
    """The members of `data` that the shape has, converted, and what is wrong with them.

    Raises SerializationException where a JSON type is not the shape's.
    """
    reader = _Reader(model)
    return reader.structure(model.shapes[shape_name], data, ""), reader.violations


def violations_text(model: Model, violations: list[Violation]) -> str:
    """AWS's text: `2 validation errors detected: Value 'a' at 'b' failed to satisfy constraint: Member …; Value …`."""
    noun = "error" if len(violations) == 1 else "errors"
    return f"{len(violations)} validation {noun} detected: " + "; ".join(
        f"Value{_shown(model, violation)} at '{violation.path}' failed to satisfy constraint: {violation.constraint}"
        for violation in violations
    )


def write_output(model: Model, shape_name: str, output: dict[str, Any]) -> bytes:
    """The output as JSON, members that are None left out. A member that the shape does not have is a bug."""
    return msgspec.json.encode(_written(model, model.shapes[shape_name], output))


class _Reader:
    """One pass over one body. Constraints are noted in `violations`; wrong types raise."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.violations: list[Violation] = []

    def structure(self, shape: Shape, data: Any, path: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _unexpected(data, "Expected null", path)
        prefix = path and path + "."
        result: dict[str, Any] = {}
        for member, member_shape in shape.members.items():
            value = data.get(member)
            if value is not None:
                here = prefix + _lower(member)
                result[member] = self.value(self.model.shapes[member_shape], value, here, member)
            elif member in shape.required:
                self.violate(self.model.shapes[member_shape], None, prefix + _lower(member), member, _NOT_NULL)
        return result

    def value(self, shape: Shape, data: Any, path: str, member: str) -> Any:
        match shape.type:
            case "structure":
                return self.structure(shape, data, path)
            case "list":
                return self.list(shape, data, path, member)
            case "map":
                return self.map(shape, data, path, member)
            case _:
                value = _scalar(shape, data, path)
                for constraint in _failed(shape, value):
                    self.violate(shape, value, path, member, constraint)
                return value

    def list(self, shape: Shape, data: Any, path: str, member: str) -> list[Any]:
        if not isinstance(data, list):
            raise _unexpected(data, "Expected list or null", path)
        result: list[Any] = []
        for constraint in _wrong_length(shape, len(data)):
            self.violate(shape, result, path, member, constraint)
        element = self.model.shapes[shape.element]
        if element.type in _CONTAINERS:
            for index, item in enumerate(data, 1):
                result.append(self.nested(element, item, f"{path}.{index}.member", member))
            return result
        result += [None if item is None else _scalar(element, item, path) for item in data]
        if any(item is None or _fails(element, item) for item in result):
            self.violate(
                shape, result, path, member, f"Member must satisfy constraint: {_all(element, None in result)}"
            )
        return result

    def map(self, shape: Shape, data: Any, path: str, member: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _unexpected(data, "Expected map or null", path)
        result: dict[str, Any] = {}
        for constraint in _wrong_length(shape, len(data)):
            self.violate(shape, result, path, member, constraint)
        key, value = self.model.shapes[shape.key], self.model.shapes[shape.value]
        if any(_fails(key, name) for name in data):
            self.violate(shape, result, path, member, f"Map keys must satisfy constraint: {_all(key)}")
        if value.type in _CONTAINERS:
            for name, item in data.items():
                result[name] = self.nested(value, item, f"{path}.{_clipped(name, 256)}.member", member)
            return result
        result.update((name, None if item is None else _scalar(value, item, path)) for name, item in data.items())
        null = None in result.values()
        if null or any(_fails(value, item) for item in result.values()):
            self.violate(shape, result, path, member, f"Map value must satisfy constraint: {_all(value, null)}")
        return result

    def nested(self, shape: Shape, data: Any, path: str, member: str) -> Any:
        if data is None:
            self.violate(shape, None, path, member, _NOT_NULL)
            return None
        return self.value(shape, data, path, member)

    def violate(self, shape: Shape, value: Any, path: str, member: str, constraint: str) -> None:
        # Text is made later: the value of a list is still being read here.
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(path, member, constraint, shape, value))


def _scalar(shape: Shape, data: Any, path: str) -> Any:
    if isinstance(data, (list, dict)):
        raise _unexpected(data, "", path)
    match shape.type:
        case "string" if isinstance(data, str):
            return data
        case "boolean" if isinstance(data, bool):
            return data
        case "integer" | "long" if not isinstance(data, (bool, str)) and data == int(data):
            return _integer(shape, int(data), path)
        case "float" | "double" if not isinstance(data, (bool, str)):
            return float(data)
        case "timestamp" if not isinstance(data, (bool, str)) and TIMESTAMP_S_MIN <= data <= TIMESTAMP_S_MAX:
            return data * 1000 if isinstance(data, int) else round(data * 1000)
        case "blob" if isinstance(data, str):
            return _blob(data, path)
        case _:
            raise SerializationException(f"{_token(data)} can not be converted to {_NOUNS[shape.type]}{_at(path)}")


def _integer(shape: Shape, number: int, path: str) -> int:
    # AWS judges a number that is too large for the type by the member's own range, where it has one.
    noun, end = _INTEGERS[shape.type]
    if not -end <= number < end and not _fails(shape, number):
        raise SerializationException(f"NUMBER_VALUE can not be converted to {noun}{_at(path)}")
    return number


def _blob(text: str, path: str) -> bytes:
    if len(text) % 4:
        reason = f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(text)}"
    else:
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            reason = "Invalid Base64 character"
    raise SerializationException(f"'{_clipped(text, 256)}' can not be converted to a Blob: {reason}{_at(path)}")


def _unexpected(data: Any, otherwise: str, path: str) -> SerializationException:
    if isinstance(data, list):
        return SerializationException(f"Start of list found where not expected{_at(path)}")
    if isinstance(data, dict):
        return SerializationException(f"Start of structure or map found where not expected.{_at(path)}")
    return SerializationException(f"{otherwise}{_at(path)}")


def _token(data: object) -> str:
    """What AWS's JSON reader calls a value."""
    if isinstance(data, bool):
        return "TRUE_VALUE" if data else "FALSE_VALUE"
    return {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}.get(type(data), "NULL_VALUE")


def _at(path: str) -> str:
    return f" (at '{_clipped(path, 256)}')" if path else ""


def _wrong_length(shape: Shape, length: int) -> Iterator[str]:
    if shape.max is not None and length > shape.max:
        yield f"Member must have length less than or equal to {int(shape.max)}"
    if shape.min is not None and length < shape.min:
        yield f"Member must have length greater than or equal to {int(shape.min)}"


def _failed(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of a scalar that `value` does not satisfy, in AWS's order."""
    match shape.type:
        case "string":
            if shape.enum and value not in shape.enum:
                yield _enum_text(shape)
            if shape.pattern is not None and not matches(shape.pattern, value):
                yield f"Member must satisfy regular expression pattern: {shape.pattern}"
            yield from _wrong_length(shape, len(value))
        case "blob":
            yield from _wrong_length(shape, len(value))
        case "integer" | "long" | "float" | "double":
            if shape.max is not None and value > shape.max:
                yield f"Member must have value less than or equal to {_bound(shape, shape.max)}"
            if shape.min is not None and value < shape.min:
                yield f"Member must have value greater than or equal to {_bound(shape, shape.min)}"
        case _:
            pass


def _fails(shape: Shape, value: Any) -> bool:
    return next(_failed(shape, value), None) is not None


def _all(shape: Shape, null: bool = False) -> str:
    """All constraints of a scalar, which AWS lists where it is an element, a key or a value."""
    of = "value" if shape.type in ("integer", "long", "float", "double") else "length"
    texts = []
    if shape.max is not None:
        texts.append(f"Member must have {of} less than or equal to {_bound(shape, shape.max)}")
    if shape.min is not None:
        texts.append(f"Member must have {of} greater than or equal to {_bound(shape, shape.min)}")
    if shape.pattern is not None:
        texts.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    if shape.enum:
        texts.append(_enum_text(shape))
    if null:
        texts.append(_NOT_NULL)
    return f"[{', '.join(texts)}]"


def _bound(shape: Shape, bound: float) -> str:
    return str(float(bound)) if shape.type in ("float", "double") else str(int(bound))


def _enum_text(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(_java_order(shape.enum))}]"


def _java_order(values: tuple[str, ...]) -> list[str]:
    """The values in the order in which AWS prints them.

    It is that of a Java hash table of 32 buckets by `String.hashCode`, later values first in a bucket; this gives every
    recorded answer (HTTP methods, authorization types) and those seen for other services.
    """
    buckets = 32
    while len(values) > buckets * 3 // 4:
        buckets *= 2

    def bucket(text: str) -> int:
        code = 0
        for character in text:
            code = (31 * code + ord(character)) & 0xFFFFFFFF
        return code & (buckets - 1)

    return sorted(values, key=lambda value: (bucket(value), -values.index(value)))


def _shown(model: Model, violation: Violation) -> str:
    if violation.value is None:
        return " null"
    if violation.shape.sensitive:
        return ""
    return f" '{_clipped(_java_text(model, violation.shape, violation.value), VALUE_CHARS_MAX)}'"


def _java_text(model: Model, shape: Shape, value: Any) -> str:
    """A value as Java prints it: `[a, b]`, `{k=v}`, `Shape(member=value, other=null)`."""
    if value is None:
        return "null"
    if shape.sensitive:
        return "*** Sensitive Data Redacted ***"
    match shape.type:
        case "structure":
            texts = [
                f"{_lower(member)}={_java_text(model, model.shapes[member_shape], value.get(member))}"
                for member, member_shape in shape.members.items()
            ]
            texts += [f"{member}=null" for member in _UNPUBLISHED.get(shape.name, ())]
            return f"{shape.name}({', '.join(texts)})"
        case "list":
            element = model.shapes[shape.element]
            return f"[{', '.join([_java_text(model, element, item) for item in value])}]"
        case "map":
            element = model.shapes[shape.value]
            return f"{{{', '.join([f'{key}={_java_text(model, element, item)}' for key, item in value.items()])}}}"
        case "boolean":
            return "true" if value else "false"
        case "timestamp":
            return datetime.fromtimestamp(value // 1000, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
        case "blob":
            return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        case _:
            return str(value)


def _written(model: Model, shape: Shape, value: Any) -> Any:
    match shape.type:
        case "structure":
            unknown = value.keys() - shape.members.keys()
            assert not unknown, f"{shape.name} has no {', '.join(sorted(unknown))}"
            return {
                member: _written(model, model.shapes[shape.members[member]], item)
                for member, item in value.items()
                if item is not None
            }
        case "list":
            element = model.shapes[shape.element]
            return [_written(model, element, item) for item in value]
        case "map":
            element = model.shapes[shape.value]
            return {key: _written(model, element, item) for key, item in value.items() if item is not None}
        case "timestamp":
            return value / 1000 if value % 1000 else value // 1000
        case "blob":
            return base64.b64encode(value).decode()
        case _:
            return value


def _lower(member: str) -> str:
    return member[:1].lower() + member[1:]


def _clipped(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[:chars_max] + "…"
