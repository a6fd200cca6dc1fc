"""Archives: what one may be, and the managed rule that feeds it, as values and pure functions.

An archive is a rule `Events-Archive-NAME` on its source bus whose target is the archive, as on AWS: its pattern is the
archive's and `"replay-name": [{"exists": false}]`, so that what is replayed is not archived again. Texts are AWS's
where classic.md section 5.7, control_plane.md or its published errors have them.
"""

from typing import ClassVar, Literal

import msgspec

from router.catalog.model import InputTransformer, Rule, Target, Thing
from router.core.arn import InvalidArn, bus_name, partition, rule_arn
from router.core.event import Location
from router.core.pattern import InvalidPattern, Pattern, parse
from router.errors import (
    InvalidEventPatternException,
    LimitExceededException,
    ResourceNotFoundException,
    ValidationException,
)

MANAGED_BY = "prod.vhs.events.aws.internal"
_RULE_PREFIX = "Events-Archive-"
_NOT_REPLAYED = '"replay-name":[{"exists":false}]'
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

State = Literal["ENABLED", "DISABLED"]


class Archive(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """`number` is that of its rows; `retention_days` 0 is for ever."""

    kind: ClassVar[str] = "archive"
    number: int
    bus: str
    bus_arn: str
    description: str | None = None
    event_pattern: str | None = None
    retention_days: int = 0

    @property
    def rule_name(self) -> str:
        return _RULE_PREFIX + self.name


def archive_arn(location: Location, name: str) -> str:
    return f"arn:{partition(location.region)}:events:{location.region}:{location.account}:archive/{name}"


def not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Archive {name} does not exist.")


def state(archive: Archive, rule: Rule | None) -> State:
    """DISABLED is an archive whose managed rule, or its target, somebody removed by force."""
    return "ENABLED" if rule is not None and rule.archive == archive.number and rule.targets else "DISABLED"


def check_pattern(name: str, text: str, chars_max: int) -> None:
    """Raises LimitExceededException, InvalidEventPatternException."""
    if len(text) > chars_max:
        raise LimitExceededException(f"Parameter EventPattern for archive {name} exceeds limit of {chars_max}.")
    try:
        parse(text)
    except InvalidPattern as error:
        raise InvalidEventPatternException(str(error)) from error


def source_bus(text: str, here: Location) -> str:
    """The name of the bus that an archive in this location may have as its source. Raises ValidationException, and
    ResourceNotFoundException for a bus of another account or region: archives are beside their buses."""
    try:
        location, name = bus_name(text)
    except InvalidArn:
        location, name = None, ""
    if location is None:
        raise ValidationException("Parameter EventSourceArn is not valid. Reason: Must contain an event bus ARN.")
    if location != here:
        raise ResourceNotFoundException(f"Event bus {name} does not exist.")
    return name


def managed_pattern(event_pattern: str | None) -> str:
    """The managed rule's pattern; the archive's has been checked."""
    if event_pattern is None:
        return f"{{{_NOT_REPLAYED}}}"
    fields = _decode_object(event_pattern)
    fields.pop("replay-name", None)
    parts = [f"{msgspec.json.encode(name).decode()}:{bytes(value).decode()}" for name, value in fields.items()]
    return f"{{{','.join([*parts, _NOT_REPLAYED])}}}"


def managed_rule(archive: Archive) -> tuple[Rule, Pattern]:
    """The rule that feeds the archive."""
    text = managed_pattern(archive.event_pattern)
    where = archive.location
    target = Target(
        id=archive.rule_name,
        arn=f"arn:{partition(where.region)}:events:{where.region}:::",
        input_transformer=InputTransformer(
            f'{{"archive-arn": "{archive.arn}:{archive.number}", "event": <aws.events.event.json>, '
            '"ingestion-time": <aws.events.event.ingestion-time>}'
        ),
    )
    rule = Rule(
        name=archive.rule_name,
        bus=archive.bus,
        location=where,
        arn=rule_arn(where, archive.bus, archive.rule_name),
        event_pattern=text,
        created_by=where.account,
        managed_by=MANAGED_BY,
        targets=(target,),
        archive=archive.number,
    )
    return rule, parse(text)
