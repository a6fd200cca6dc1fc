"""What the hub keeps of a stack: enough to tell what a new deployment changes, and to undo it. Nothing secret.

A record is written before each step, with the step's resource marked, and after the last. So whoever deploys again
after a crash knows what may be half made and begins there. Secrets are kept as a salted digest: equal values are told
from changed ones, and nobody reads them.
"""

import hashlib
import re
from typing import Any, Literal

import msgspec

from router.importers.intrinsics import Later
from router.importers.parameters import Secret, Value
from router.importers.property_types import Type

State = Literal["ready", "creating", "updating", "deleting"]
Status = Literal["complete", "changing", "failed"]
_MASK = "(secret "
STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
STACK_NAME_FORM = "a stack's name: a letter, then letters, digits and hyphens, at most 128"


class ResourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`properties` are in CloudFormation's words, secrets masked; `attributes` are what Ref and GetAtt give."""

    type: str
    name: str
    identity: str
    state: State
    generation: int = 0
    """How often it was replaced: part of generated names."""
    properties: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    depends_on: tuple[str, ...] = ()
    retain: bool = False


class Leftover(msgspec.Struct, frozen=True):
    """A resource that was replaced or taken out of the template, and is still to be deleted."""

    logical_id: str
    resource: ResourceRecord


class StackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stack. `version` grows with each write; a write that does not know the latest is refused."""

    account: str
    region: str
    stack: str
    version: int = 0
    status: Status = "changing"
    reason: str = ""
    """Why it failed."""
    template_sha256: str = ""
    declared: bool = False
    """The hub file lists its template."""
    parameters: dict[str, Value] = {}
    """Without those that are NoEcho."""
    resources: dict[str, ResourceRecord] = {}
    leftovers: tuple[Leftover, ...] = ()
    outputs: dict[str, str] = {}
    exports: dict[str, str] = {}
    imports: tuple[str, ...] = ()
    """The names of exports that it uses."""


def masked(type_: Type, value: Any, salt: str) -> Any:
    """The value with everything secret in it replaced by a digest, and what is not known yet by its expression."""
    if isinstance(value, Later):
        return value
    if type_.secret or isinstance(value, Secret):
        if is_masked(value):
            return value
        return f"{_MASK}{_digest(str(value), salt)})"
    match value:
        case dict():
            return {
                key: masked(type_.members.get(key) or type_.element or _ANY, item, salt) for key, item in value.items()
            }
        case list():
            return [masked(type_.element or _ANY, item, salt) for item in value]
        case _:
            return value


def is_masked(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_MASK)


def has_mask(value: Any) -> bool:
    """Whether something in it was secret, so that it cannot be put again."""
    match value:
        case dict():
            return any(has_mask(item) for item in value.values())
        case list():
            return any(has_mask(item) for item in value)
        case _:
            return is_masked(value)


_ANY = Type(name="json")


def _digest(value: str, salt: str) -> str:
    """Slow on purpose (about 20 ms): a short secret shall not be guessed from it."""
    return hashlib.scrypt(value.encode(), salt=salt.encode(), n=2**13, r=8, p=1, dklen=12).hex()
