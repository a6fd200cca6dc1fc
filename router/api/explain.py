"""`/_hub/v1/explain`: why an event matches a pattern, or which rules of a bus it matches and which it comes nearest to.

Asked with a JSON body (`{"pattern": …, "event": …}` or `{"bus": …, "event": …}`, patterns and events as objects or as
their text) or, where there is no body, with the same names as query parameters. A bus is an ARN, or a name with
`account` and `region`, which are the hub file's first ones where they are left out; `rule` names the only rule of it to
look at.

Work is bounded: an event has at most EXPLAINED_EVENT_CHARS_MAX characters, a pattern as many as a rule's may have, and
of a bus at most EXPLAINED_RULES_MAX rules are looked at, in the order of their names. All of it is done on a thread,
a bus's rules RULES_A_TURN at a time, so that the event loop goes on. Nothing is delivered, stored or counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
import msgspec

from router import limits
from router.catalog import buses
from router.catalog.catalog import Catalog
from router.catalog.model import Bus, Rule
from router.catalog.rules import not_found
from router.core.arn import InvalidArn, bus_name
from router.core.event import Location
from router.core.explain import Nearest, NearestRule, explain
from router.core.pattern import InvalidPattern, Pattern, parse
from router.errors import InvalidEventPatternException, ResourceNotFoundException, ValidationException
from router.pipeline import Pipeline

RULES_A_TURN = 50
_FORM = '{"pattern": …, "event": …} or {"bus": …, "event": …}'
_DISABLED = "matches, but it is DISABLED"
_WITHHELD = "matches, but its state ENABLED does not see read-only management events"
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked; an empty `pattern` or `event` was left out."""

    pattern: msgspec.Raw = msgspec.Raw()
    event: msgspec.Raw = msgspec.Raw()
    bus: str | None = None
    rule: str | None = None
    account: str | None = None
    region: str | None = None


async def answer(
    query: Mapping[str, str], body: bytes, *, catalog: Catalog, pipeline: Pipeline, default_location: Location
) -> Any:
    """An Explanation, or the bus's rules that match with the nearest one where none does. Raises ApiError."""
    question = _question(query, body)
    if bool(question.pattern) == (question.bus is not None) or not question.event:
        raise ValidationException(f"expected {_FORM}, got {_given(question)}")
    event = _text(question.event, "event")
    if len(event) > limits.EXPLAINED_EVENT_CHARS_MAX:
        raise ValidationException(
            f"expected an event of at most {limits.EXPLAINED_EVENT_CHARS_MAX} characters, got {len(event)} - at `event`"
        )
    try:
        if question.pattern:
            if any((question.rule, question.account, question.region)):
                raise ValidationException("expected `rule`, `account` and `region` beside `bus` only, got `pattern`")
            return await anyio.to_thread.run_sync(explain, _pattern(question), event)
        bus = _bus(question, catalog, default_location)
        return await _bus_answer(bus, _rules(question, bus, catalog), event, pipeline)
    except ValueError as error:  # the event is no JSON object, or takes too many steps
        raise ValidationException(f"Parameter Event is not valid. Reason: {error}") from error


# the question


def _question(query: Mapping[str, str], body: bytes) -> Question:
    try:
        return msgspec.json.decode(body or msgspec.json.encode(dict(query)), type=Question)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValidationException(f"expected {_FORM}: {error}") from error


def _given(question: Question) -> str:
    return ", ".join(name for name in question.__struct_fields__ if getattr(question, name)) or "nothing"


def _text(raw: msgspec.Raw, name: str) -> str:
    """A text's text, and the JSON of everything else."""
    try:
        encoded = bytes(raw)
        return str(msgspec.json.decode(encoded, type=str)) if encoded.startswith(b'"') else encoded.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValidationException(f"expected JSON in UTF-8, got {error} - at `{name}`") from error


def _pattern(question: Question) -> Pattern:
    text = _text(question.pattern, "pattern")
    if len(text) > limits.PATTERN_CHARS_RAISED:
        raise ValidationException(
            f"expected a pattern of at most {limits.PATTERN_CHARS_RAISED} characters, got {len(text)} - at `pattern`"
        )
    try:
        return parse(text)
    except InvalidPattern as error:
        raise InvalidEventPatternException(str(error)) from error


def _bus(question: Question, catalog: Catalog, default_location: Location) -> Bus:
    assert question.bus is not None
    try:
        location, name = bus_name(question.bus or buses.DEFAULT)
    except InvalidArn as error:
        raise ValidationException(f"{error} - at `bus`") from error
    if location is None:
        location = Location(question.account or default_location.account, question.region or default_location.region)
    elif question.account is not None or question.region is not None:
        raise ValidationException("expected `account` and `region` with a bus's name, got them with its ARN")
    found = catalog.bus(location, name)
    if found is None:
        raise ResourceNotFoundException(f"Event bus {name} does not exist in {location}.")
    return found


def _rules(question: Question, bus: Bus, catalog: Catalog) -> list[Rule]:
    """The rules that have a pattern and are asked about, by name."""
    rules = catalog.rules(bus.location, bus.name)
    if question.rule is not None and question.rule not in rules:
        raise not_found(question.rule, bus.name)
    names = sorted(rules) if question.rule is None else [question.rule]
    return [rules[name] for name in names if rules[name].event_pattern is not None]


# a bus


async def _bus_answer(bus: Bus, rules: Sequence[Rule], event: str, pipeline: Pipeline) -> Any:
    looked_at = rules[: limits.EXPLAINED_RULES_MAX]
    search = await anyio.to_thread.run_sync(NearestRule, event)
    matching: list[Rule] = []
    for start in range(0, len(looked_at), RULES_A_TURN):
        matching += await anyio.to_thread.run_sync(_matching, search, looked_at[start : start + RULES_A_TURN])
    read_only = bool(matching) and _is_read_only(event, pipeline)
    reasons = {rule.name: reason for rule in matching if (reason := _why_not(rule, read_only=read_only)) is not None}
    matched = [rule.name for rule in matching if rule.name not in reasons]
    near = None if matched else await anyio.to_thread.run_sync(search.nearest)
    return {
        "bus": bus.name,
        "account": bus.location.account,
        "region": bus.location.region,
        "rules": len(rules),
        "looked_at": len(looked_at),
        "matched": matched,
        "withheld": [
            {"rule": rule.name, "state": rule.state, "reason": reasons[rule.name]}
            for rule in matching
            if rule.name in reasons
        ],
        "nearest": None if near is None else _nearest(near, looked_at, reasons),
    }


def _matching(search: NearestRule, rules: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in rules if search.offer(rule.name, parse(rule.event_pattern or ""))]


def _why_not(rule: Rule, *, read_only: bool) -> str | None:
    """Why a rule that matches gets nothing of the event, or None."""
    if rule.state == "DISABLED":
        return _DISABLED
    return _WITHHELD if read_only and rule.state == "ENABLED" else None


def _is_read_only(event: str, pipeline: Pipeline) -> bool:
    """Whether the event is one that rules in state ENABLED do not see. It is known to be one JSON object."""
    try:
        members = _read_members(event)
        source, detail_type = (msgspec.json.decode(members[name], type=str) for name in ("source", "detail-type"))
        return pipeline.planner.withheld_from_enabled(source, detail_type, bytes(members["detail"]).decode())
    except (KeyError, msgspec.MsgspecError, UnicodeError):
        return False  # such an event never stands on a bus


def _nearest(near: Nearest, rules: Sequence[Rule], reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "rule": near.rule,
        "state": next(rule.state for rule in rules if rule.name == near.rule),
        "failing": near.failing,
        "summary": reasons.get(near.rule, near.summary),
        "explanation": near.explanation,
    }
