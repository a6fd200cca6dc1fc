"""A service's model: which operations there are and what their inputs and outputs look like.

The models are botocore's data files; they are read directly, because importing botocore's own loader costs ten times
the time (0.2 s) and 12 MB. Documentation is skipped while decoding, and only shapes that the wanted operations reach
are kept. This module knows nothing of requests, errors or HTTP.
"""

import gzip
from collections.abc import Iterable
from importlib import resources
from typing import Literal

import msgspec

ShapeType = Literal[
    "structure", "list", "map", "string", "integer", "long", "float", "double", "boolean", "timestamp", "blob"
]

API_VERSIONS = {"events": "2015-10-07", "sqs": "2012-11-05", "logs": "2014-03-28"}


NO_MINIMUM = frozenset({"TraceHeader"})
"""Shapes whose published minimum AWS does not ask for (observed: an empty TraceHeader of PutEvents is dropped)."""


class _Reference(msgspec.Struct, frozen=True):
    shape: str


class _ShapeData(msgspec.Struct, frozen=True):
    type: ShapeType
    members: dict[str, _Reference] = {}
    required: list[str] = []
    member: _Reference | None = None
    key: _Reference | None = None
    value: _Reference | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    enum: list[str] = []
    sensitive: bool = False


class _OperationData(msgspec.Struct, frozen=True):
    input: _Reference | None = None
    output: _Reference | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    target_prefix: str
    json_version: str


class _ServiceData(msgspec.Struct, frozen=True):
    metadata: _Metadata
    operations: dict[str, _OperationData]
    shapes: dict[str, _ShapeData]


class Shape(msgspec.Struct, frozen=True):
    """One type of a model. Members, elements, keys and values are names of other shapes; shapes may be recursive.

    `min` and `max` bound a number's value, or the length of a text, list or map.
    """

    name: str
    type: ShapeType
    members: dict[str, str] = {}
    required: frozenset[str] = frozenset()
    element: str = ""
    key: str = ""
    value: str = ""
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    sensitive: bool = False


class Operation(msgspec.Struct, frozen=True):
    """An operation's input and output shapes by name; None where it has none."""

    input: str | None
    output: str | None


class Model(msgspec.Struct, frozen=True):
    """A service: its wanted operations and every shape they reach."""

    target_prefix: str
    json_version: str
    operations: dict[str, Operation]
    shapes: dict[str, Shape]


def load_model(service: str, operations: Iterable[str], *, enums: bool = True) -> Model:
    """The model of `service`, cut down to `operations`; without `enums`, any text will do where it lists values.

    Takes some 10 ms. Raises KeyError for an operation that the service does not have.
    """
    data = _decoded(service)
    kept = {}
    wanted = []
    for name in operations:
        operation = data.operations[name]
        shapes = [None if end is None else end.shape for end in (operation.input, operation.output)]
        kept[name] = Operation(input=shapes[0], output=shapes[1])
        wanted += [shape for shape in shapes if shape is not None]
    reached: dict[str, Shape] = {}
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached[name] = shape = _shape(name, data.shapes[name], enums)
            wanted += [*shape.members.values(), *filter(None, (shape.element, shape.key, shape.value))]
    return Model(data.metadata.target_prefix, data.metadata.json_version, kept, reached)


def operation_names(service: str) -> list[str]:
    """All operations that the service's model has."""
    return list(_decoded(service).operations)


def _shape(name: str, data: _ShapeData, enums: bool) -> Shape:
    return Shape(
        name=name,
        type=data.type,
        members={member: reference.shape for member, reference in data.members.items()},
        required=frozenset(data.required),
        element=data.member.shape if data.member else "",
        key=data.key.shape if data.key else "",
        value=data.value.shape if data.value else "",
        min=None if name in NO_MINIMUM else data.min,
        max=data.max,
        pattern=data.pattern,
        enum=tuple(data.enum) if enums else (),
        sensitive=data.sensitive,
    )


def _decoded(service: str) -> _ServiceData:
    return msgspec.json.decode(gzip.decompress(_PACKED[service]), type=_ServiceData)


def _read(service: str, version: str) -> bytes:
    file = resources.files("botocore").joinpath("data", service, version, "service-2.json.gz")
    if not file.is_file():
        raise RuntimeError(f"the installed botocore has no model of {service} {version}: expected {file}")
    return file.read_bytes()


# 150 KB, read on import: a service may be built while the event loop runs, where no file may be read.
_PACKED = {service: _read(service, version) for service, version in API_VERSIONS.items()}
