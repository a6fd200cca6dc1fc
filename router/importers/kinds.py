"""What a kind of resource is to a stack: its properties, its names, and the calls that make, change and unmake it.

A kind's steps are generators: they yield a `Call` and get its answer, or have a `CallRefused` thrown at them. Who runs
them, over HTTP or inside the hub, is not known here.
"""

import hashlib
from collections.abc import Generator, Mapping
from typing import Any, ClassVar

import msgspec

from router.core.arn import partition
from router.core.event import Location
from router.importers.property_types import Type

_SUFFIX_CHARS = 12
_SUFFIX_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Where(msgspec.Struct, frozen=True):
    """The stack and where it is deployed."""

    location: Location
    stack: str

    @property
    def partition(self) -> str:
        return partition(self.location.region)

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.location.region}:{self.location.account}:{resource}"

    @property
    def url_suffix(self) -> str:
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    @property
    def stack_id(self) -> str:
        """As AWS forms it; the UUID is always the same for the same stack."""
        h = hashlib.sha256(f"{self.location}/{self.stack}".encode()).hexdigest()
        return self.arn("cloudformation", f"stack/{self.stack}/{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}")


class Call(msgspec.Struct, frozen=True):
    """One call of an AWS API of the hub."""

    service: str
    action: str
    request: dict[str, Any]


class CallRefused(Exception):
    """The API's answer to a call is a refusal."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


Steps = Generator[Call, Any, Any]


class Kind:
    """One kind of resource that the hub deploys, and what most kinds have in common."""

    type: ClassVar[str]
    rank: ClassVar[int]
    """Orders what does not depend on each other: low ones are made first."""
    properties: ClassVar[Type]
    name_property: ClassVar[str | None] = None
    name_chars_max: ClassVar[int]
    replaced_by: ClassVar[frozenset[str]] = frozenset()
    """The properties whose change makes another resource."""
    late: ClassVar[frozenset[str]] = frozenset()
    """The attributes that only the hub's answer has."""

    def identity(self, where: Where, name: str, properties: Mapping[str, Any]) -> str:
        """The physical id: two resources of a kind with the same one are the same."""
        return name

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        """What Ref and GetAtt give, as far as it follows from the name: `Ref` and the attributes' names."""
        return {"Ref": name}

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        """What types cannot say, with its place. Properties may hold Laters."""
        return []

    def without_effect(self, properties: Mapping[str, Any]) -> list[str]:
        """The properties that are taken and that nothing follows from."""
        return []

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        """Returns whether there is one already that the stack must not take over."""
        yield from ()
        return False

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        """Returns the late attributes."""
        yield from ()
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        """Returns the late attributes. In `old`, secrets are masked."""
        yield from ()
        return {}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        """What is not there is as good as deleted."""
        yield from ()


def generated_name(where: Where, logical_id: str, chars_max: int, generation: int, *, lower: bool = False) -> str:
    """STACK-LOGICALID-SUFFIX, as AWS names what has no name of its own. The suffix follows from the rest and from
    `generation`, which counts replacements, so that the same stack keeps its names.
    """
    seed = f"{where.location}/{where.stack}/{logical_id}/{generation}"
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:10], "big")
    suffix = ""
    for _ in range(_SUFFIX_CHARS):
        number, digit = divmod(number, len(_SUFFIX_ALPHABET))
        suffix += _SUFFIX_ALPHABET[digit]
    room = chars_max - _SUFFIX_CHARS - 2
    stack, rest = where.stack, logical_id
    if len(stack) + len(rest) > room:
        stack = stack[: max(room // 2, room - len(rest))]
        rest = rest[: room - len(stack)]
    name = f"{stack}-{rest}-{suffix}"
    return name.lower() if lower else name


def present(properties: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: properties[name] for name in names if name in properties}


def gone(steps: Steps, *codes: str) -> Steps:
    """Steps whose refusal with one of these codes means that there is nothing: returns False then, else True."""
    try:
        yield from steps
    except CallRefused as refused:
        if refused.code in codes or refused.code.rpartition("#")[2] in codes:
            return False
        raise
    return True
