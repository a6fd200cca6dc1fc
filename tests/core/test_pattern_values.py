"""What a pattern asks for at a field: nothing that it lets in is missing."""

import pytest
from hypothesis import given

from router.core.event import Event, envelope
from router.core.operators import Text
from router.core.pattern import parse
from router.core.pattern_values import asked_values
from router.core.ruletable import matches
from tests.core.generated import Parts, rules_and_parts_of_events


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ('{"source":["b","a"]}', ["a", "b"]),
        ('{"detail":{"a":[1]}}', None),
        ('{"$or":[{"source":["a"]},{"source":["b"],"detail-type":["t"]}]}', ["a", "b"]),
        ('{"$or":[{"source":["a"]},{"detail-type":["t"]}]}', None),
        ('{"source":["a"],"$or":[{"detail-type":["t"]},{"account":["1"]}]}', ["a"]),
        ('{"source":["a",{"prefix":"b"}]}', ["a", 'prefix "b"']),
        ('{"source":[{"anything-but":["a"]}]}', ['anything but "a"']),
        ('{"source":[{"exists":true},null,1]}', ["1", "null", "present"]),
    ],
)
def test_a_patterns_values_at_a_field(pattern: str, values: list[str] | None) -> None:
    assert asked_values(parse(pattern), "source") == values


def test_a_nested_field_is_found_however_it_is_written() -> None:
    for pattern in ('{"detail":{"service":["EC2"]}}', '{"detail":{"service":["EC2"],"a":[{"exists":true}]}}'):
        assert asked_values(parse(pattern), "detail.service") == ["EC2"]


@given(rules_and_parts_of_events())
def test_an_event_that_matches_has_one_of_the_values(drawn: tuple[list[str], list[Parts]]) -> None:
    patterns, events = drawn
    for text in patterns:
        pattern = parse(text)
        values = asked_values(pattern, "source")
        fields = [field for branch in pattern.branches for field in branch if field.path == "source"]
        if values is None or not all(isinstance(test, Text) for field in fields for test in field.tests):
            continue
        for parts in events:
            made = Event(
                "i", parts.detail_type, parts.source, parts.account, "t", "r", tuple(parts.resources), parts.detail
            )
            assert parts.source in values or not matches(pattern, envelope(made).decode())
