"""The models' Java patterns in Python."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.aws.model import API_VERSIONS, load_model, operation_names
from router.aws.patterns import LINEAR, MATCHED_CHARS_MAX, compiled, matches


def _patterns(service: str) -> set[str]:
    shapes = load_model(service, operation_names(service)).shapes.values()
    return {shape.pattern for shape in shapes if shape.pattern is not None}


@pytest.mark.parametrize("service", API_VERSIONS)
def test_every_pattern_of_the_models_is_checked(service: str) -> None:
    unchecked = [pattern for pattern in _patterns(service) if compiled(pattern) is None]
    assert unchecked == []


@pytest.mark.parametrize("service", API_VERSIONS)
def test_no_pattern_of_the_models_allows_more_than_is_matched(service: str) -> None:
    shapes = load_model(service, operation_names(service)).shapes.values()
    assert all(shape.max is None or shape.max <= MATCHED_CHARS_MAX for shape in shapes if shape.pattern is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"[\.\-_A-Za-z0-9]+", "a.b-c_D9", True),
        (r"[\.\-_A-Za-z0-9]+", "two words", False),
        (r"[\.\-_A-Za-z0-9]+", "name\n", False),
        (r"^\d{12}$", "111111111111", True),
        (r"^\d{12}$", "111111111111\n", False),
        (r"\d{12}", "١١١١١١١١١١١١", False),
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$", "Größe 1:2", True),
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$", "a#b", False),
        (r"[\w-_]*", "a-b_c", True),
        (r"[\w-_]*", "a.b", False),
        (r"[\w\p{Greek}]+", "not translated, so nothing is refused", True),
    ],
)
def test_a_value_must_match_as_a_whole_as_in_java(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_patterns_that_backtrack_are_replaced_in_every_model() -> None:
    everywhere = set().union(*(_patterns(service) for service in API_VERSIONS))
    assert set(LINEAR) <= everywhere


@given(st.sampled_from(sorted(LINEAR)), st.text(alphabet=" \ta:é\x7f\x01", max_size=9))
def test_replaced_patterns_accept_the_same_values(pattern: str, text: str) -> None:
    assert matches(pattern, text) is (re.fullmatch(pattern, text, re.ASCII) is not None)


def test_a_long_value_costs_no_more_than_its_length() -> None:
    pattern = next(iter(LINEAR))
    assert not matches(pattern, "a " * 4000 + ":")
