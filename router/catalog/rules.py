"""Rules: what may be put, changed and deleted, as pure functions over values.

Texts and codes are AWS's where classic.md section 3 or control_plane.md has them.
"""

import msgspec

from router.catalog.buses import DEFAULT
from router.catalog.model import Rule, RuleState
from router.core import schedule
from router.core.pattern import InvalidPattern, Pattern, parse
from router.errors import (
    InvalidEventPatternException,
    LimitExceededException,
    ManagedRuleException,
    ResourceNotFoundException,
    ValidationException,
)


def not_found(name: str, bus: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Rule {name} does not exist on EventBus {bus}.")


def check_not_managed(rule: Rule | None, *, force: bool = False) -> None:
    """Raises ManagedRuleException for a rule that a service made."""
    if rule is not None and rule.managed_by is not None and not force:
        raise ManagedRuleException(f"{rule.name} is a managed rule. Set 'force' parameter to true to override.")


def check_trigger(bus: str, event_pattern: str | None, schedule_expression: str | None, state: RuleState) -> None:
    """A rule needs a pattern or a schedule, and a schedule the default bus. A refused expression is the cause, with its
    reason, of the exception, whose text is AWS's."""
    if not event_pattern and not schedule_expression:
        raise ValidationException("Parameter(s) EventPattern or ScheduleExpression must be specified.")
    if state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS" and "/" in bus:
        raise ValidationException(f"State {state} is not supported for rules on partner event buses.")
    if not schedule_expression:
        return
    if bus != DEFAULT:
        raise ValidationException("ScheduleExpression is supported only on the default event bus.")
    try:
        schedule.parse(schedule_expression)
    except schedule.InvalidSchedule as error:
        raise ValidationException("Parameter ScheduleExpression is not valid.") from error
    if state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS":
        raise ValidationException(f"State {state} is not supported for a rule with a ScheduleExpression.")


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


def anchored(old: Rule | None, new: Rule, now_ms: int) -> Rule:
    """The rule with the time from which its schedule counts.

    Creating and enabling it and another expression begin it anew; a PutRule that changes neither keeps its cadence.
    """
    if new.schedule_expression is None:
        return msgspec.structs.replace(new, anchor_ms=0)
    kept = (
        old is not None
        and old.schedule_expression == new.schedule_expression
        and not (old.state == "DISABLED" and new.state != "DISABLED")
    )
    return msgspec.structs.replace(new, anchor_ms=old.anchor_ms if old is not None and kept else now_ms)
