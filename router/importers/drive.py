"""Runs the deeds of a deployment: whoever has a way to do one deed gives it, and the rest is here, once.

What is done raises CallRefused where a call is refused; anything else that it raises ends the run where it stands.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from router.importers.apply import Deed, Deeds
from router.importers.kinds import CallRefused
from router.importers.record import StackRecord

_PREFIXES = {"events": "AWSEvents", "sqs": "AmazonSQS", "logs": "Logs_20140328"}


def target(service: str, action: str) -> str:
    """X-Amz-Target for a call."""
    return f"{_PREFIXES[service]}.{action}"


def drive(deeds: Deeds, do: Callable[[Deed], Any]) -> Any:
    """What the deeds return. Raises what they raise."""
    try:
        deed = next(deeds)
        while True:
            try:
                answer = do(deed)
            except CallRefused as refused:
                deed = deeds.throw(refused)
            else:
                deed = deeds.send(answer)
    except StopIteration as done:
        return done.value


async def drive_async(deeds: Deeds, do: Callable[[Deed], Awaitable[Any]]) -> Any:
    """The same, where doing is awaited."""
    try:
        deed = next(deeds)
        while True:
            try:
                answer = await do(deed)
            except CallRefused as refused:
                deed = deeds.throw(refused)
            else:
                deed = deeds.send(answer)
    except StopIteration as done:
        return done.value


def exports_of_others(records: Iterable[StackRecord], stack: str) -> dict[str, str]:
    """Every export of the place but the stack's own."""
    return {name: value for record in records if record.stack != stack for name, value in record.exports.items()}


def used_exports(records: Iterable[StackRecord], stack: str) -> Mapping[str, str]:
    """The exports that other stacks import, each with one that does."""
    return {name: record.stack for record in records if record.stack != stack for name in record.imports}


def in_use(record: StackRecord, used: Mapping[str, str]) -> str | None:
    """Why the stack cannot be deleted, in CloudFormation's words."""
    for name in record.exports:
        if name in used:
            return f"Export {name} cannot be deleted as it is in use by {used[name]}"
    return None
