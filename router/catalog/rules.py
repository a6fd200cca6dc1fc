"""Rules: what may be put, changed and deleted, as pure functions over values.

Texts and codes are AWS's where classic.md section 3 or control_plane.md has them.
"""

import re

import msgspec

from router.catalog.buses import DEFAULT
from router.catalog.model import Rule
from router.core.pattern import InvalidPattern, Pattern, parse
from router.errors import (
    InvalidEventPatternException,
    LimitExceededException,
    ManagedRuleException,
    ResourceNotFoundException,
    ValidationException,
)

_RATE = re.compile(r"rate\((?:1 (?:minute|hour|day)|(?!1 )0*[1-9][0-9]* (?:minutes|hours|days))\)")
_CRON = re.compile(r"cron\([^ ()]+ [^ ()]+ (?:\? [^ ()]+ (?!\?)[^ ()]+|(?!\?)[^ ()]+ [^ ()]+ \?) [^ ()]+\)")
_CRON_NAME = re.compile(r"[A-Z]{2,}|[a-z]{2,}")
_CRON_NAMES = re.compile(r"JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT|LW")


def not_found(name: str, bus: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Rule {name} does not exist on EventBus {bus}.")


def check_not_managed(rule: Rule | None, *, force: bool = False) -> None:
    """Raises ManagedRuleException for a rule that a service made."""
    if rule is not None and rule.managed_by is not None and not force:
        raise ManagedRuleException(f"{rule.name} is a managed rule. Set 'force' parameter to true to override.")


def check_trigger(bus: str, event_pattern: str | None, schedule_expression: str | None) -> None:
    """A rule needs a pattern or a schedule. Schedules do not run here yet, so none is accepted."""
    if not event_pattern and not schedule_expression:
        raise ValidationException("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if not schedule_expression:
        return
    if bus != DEFAULT:
        raise ValidationException("ScheduleExpression is supported only on the default event bus.")
    if not _looks_like_schedule(schedule_expression):
        raise ValidationException("Parameter ScheduleExpression is not valid.")
    raise ValidationException(
        f"ScheduleExpression is not supported: this version of the hub does not run schedules, got "
        f"{schedule_expression!r}."
    )


def _looks_like_schedule(text: str) -> bool:
    if _RATE.fullmatch(text):
        return True
    if not _CRON.fullmatch(text):
        return False
    names = _CRON_NAME.findall(text.removeprefix("cron"))
    minute = re.match(r"cron\(([0-9]+) ", text)
    return all(_CRON_NAMES.fullmatch(name.upper()) for name in names) and (minute is None or int(minute[1]) <= 59)


def check_pattern(name: str, text: str, chars_max: int) -> Pattern:
    """The rule's pattern. Raises LimitExceededException, InvalidEventPatternException."""
    if len(text) > chars_max:
        raise LimitExceededException(f"Parameter EventPattern for rule {name} exceeds limit of {chars_max}.")
    try:
        return parse(text)
    except InvalidPattern as error:
        raise InvalidEventPatternException(str(error)) from error


def updated(old: Rule | None, new: Rule) -> Rule:
    """The rule after PutRule: everything is replaced but what PutRule cannot say.

    Targets survive, tags are honoured only at creation (PutRule API reference).
    """
    if old is None:
        return new
    return msgspec.structs.replace(
        new,
        targets=old.targets,
        tags=old.tags,
        created_by=old.created_by,
        managed_by=old.managed_by,
        declared=old.declared,
    )
