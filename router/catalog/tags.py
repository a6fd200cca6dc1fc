"""Tags of buses and rules: pure changes. Order is the order in which keys were first given."""

from collections.abc import Iterable, Mapping
from typing import Any

from router import limits
from router.errors import LimitExceededException, ValidationException

LIMIT_EXCEEDED = "The requested resource exceeds the maximum number allowed."


def from_request(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The request's list of Key and Value as a mapping; a key given twice is refused."""
    given: dict[str, str] = {}
    for tag in tags:
        if tag["Key"] in given:
            raise ValidationException("Invalid parameter: Duplicated keys are not allowed.")
        given[tag["Key"]] = tag["Value"]
    return given


def to_answer(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def merged(old: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The tags after TagResource, or at creation with `old` empty."""
    for key in given:
        if key.lower().startswith("aws:"):
            raise ValidationException(f"Invalid parameter: Tag keys that start with 'aws:' are reserved, got {key!r}.")
    new = {**old, **given}
    if len(new) > limits.TAGS_PER_RESOURCE_MAX:
        raise LimitExceededException(LIMIT_EXCEEDED)
    return new


def without(old: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """The tags after UntagResource; keys that are not there do not matter."""
    gone = set(keys)
    return {key: value for key, value in old.items() if key not in gone}
