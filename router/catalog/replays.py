"""Replays: what one may be, as values and pure functions.

A replay's states are AWS's; what it has come to is a row of its own (`Progress`), which changes with every batch of
events that it puts, while the replay itself changes only with its state. Texts are AWS's where classic.md section 5.7
or control_plane.md has them.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import msgspec

from router.catalog.archives import Archive
from router.catalog.model import Rule, Thing
from router.core.arn import InvalidArn, bus_name, parse, partition
from router.core.event import Location
from router.errors import ResourceNotFoundException, ValidationException

State = Literal["STARTING", "RUNNING", "CANCELLING", "COMPLETED", "CANCELLED", "FAILED"]
ACTIVE = ("STARTING", "RUNNING", "CANCELLING")
PROGRESS = "replay-progress"
"""The kind in the key of a Progress."""


class Replay(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """`created_ms` is its ReplayStartTime. What it came to at last is in it once it has ended."""

    kind: ClassVar[str] = "replay"
    description: str | None = None
    archive_arn: str
    archive: int
    """The archive's number: another archive of the same name is another one."""
    bus: str
    bus_arn: str
    filter_arns: tuple[str, ...] = ()
    start_ms: int
    end_ms: int
    state: State = "STARTING"
    state_reason: str | None = None
    ended_ms: int | None = None
    last_ms: int | None = None
    replayed: int = 0


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a replay has come: the key of the last row it put, that event's time, and how many it has put."""

    after: bytes = b""
    last_ms: int | None = None
    replayed: int = 0


_decode_progress = msgspec.json.Decoder(Progress).decode


def progress_key(location: Location, name: str) -> bytes:
    return "\0".join((PROGRESS, location.account, location.region, name)).encode()


def progress_row(progress: Progress) -> bytes:
    return msgspec.json.encode(progress)


def progress(row: bytes | None) -> Progress:
    return Progress() if row is None else _decode_progress(row)


def replay_arn(location: Location, name: str) -> str:
    return f"arn:{partition(location.region)}:events:{location.region}:{location.account}:replay/{name}"


def not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Replay {name} does not exist.")


def check_destination(text: str, here: Location) -> str:
    """The name of the destination bus. Raises ValidationException, ResourceNotFoundException."""
    try:
        location, name = bus_name(text)
    except InvalidArn:
        location, name = None, ""
    if location is None:
        raise ValidationException("Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN.")
    if location != here:
        raise ResourceNotFoundException(f"Event bus {name} does not exist.")
    return name


def archive_name(text: str, here: Location) -> str:
    """The name in an archive's ARN. Raises ValidationException."""
    try:
        arn = parse(text)
    except InvalidArn:
        arn = None
    kind, _, name = arn.resource.partition("/") if arn is not None else ("", "", "")
    if arn is None or arn.service != "events" or kind != "archive" or not name:
        raise ValidationException("Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN.")
    if arn.location != here:
        raise no_archive(name)
    return name


def no_archive(name: str) -> ValidationException:
    return ValidationException(f"Parameter EventSourceArn is not valid. Reason: Archive {name} does not exist.")


def check_times(start_ms: int, end_ms: int) -> None:
    if start_ms >= end_ms:
        raise ValidationException(
            "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime."
        )


def check_same_bus(archive: Archive, bus: str) -> None:
    if archive.bus != bus:
        raise ValidationException(
            "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted."
        )


def check_filters(arns: Sequence[str], here: Location, bus: str, find_rule: Callable[[str], Rule | None]) -> None:
    """Whether each is the ARN of a rule on the bus; a replay for nobody is refused. Raises ValidationException."""
    for arn in arns:
        rule = find_rule(arn)
        if rule is None or (rule.location, rule.bus) != (here, bus):
            raise ValidationException(
                f"Parameter Destination.FilterArns is not valid. Reason: {arn} is not the ARN of a rule on event bus "
                f"{bus}."
            )
