"""Each constraint of each operation's model, broken once: in the validator, and over the service for the hub's own."""

import json
from collections import Counter

import pytest

from router.api.operations import _ACTIONS
from router.aws.model import load_model, operation_names
from router.aws.service import Caller
from router.aws.validate import read_input, violations_text
from router.errors import ApiError, SerializationException
from tests.aws.model_walk import OPERATIONS, SHAPES, Case, cases, comparable, example
from tests.aws.service import serving
from tests.pipeline.hub import HERE

MODEL = load_model("events", operation_names("events"))
ME = Caller(HERE.account, HERE.region)


def validated(operation: str, case: Case) -> str:
    shape = MODEL.operations[operation].input
    assert shape is not None
    try:
        _, violations = read_input(MODEL, shape, case.value)
    except SerializationException as error:
        return error.message
    return violations_text(MODEL, violations) if violations else "accepted"


def expected(case: Case) -> str:
    """A wrong type of the whole request has no place."""
    return comparable(case.text().removesuffix(" (at '')"))


def test_the_model_has_57_operations() -> None:
    assert len(OPERATIONS) == 57
    assert sorted(OPERATIONS) == sorted(operation_names("events"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_smallest_right_request_is_right(operation: str) -> None:
    assert validated(operation, Case("right", example(OPERATIONS[operation]), [])) == "accepted"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_broken_constraint_is_refused_in_awss_words(operation: str) -> None:
    for case in cases(OPERATIONS[operation]):
        assert comparable(validated(operation, case)) == expected(case), case


def test_the_walk_breaks_every_constraint_that_requests_have() -> None:
    """Counted over the shapes themselves: no kind of constraint is left out of the walk."""
    reached: set[str] = set()
    wanted = list(OPERATIONS.values())
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            shape = SHAPES[name]
            wanted += [reference["shape"] for reference in shape.get("members", {}).values()]
            wanted += [shape[end]["shape"] for end in ("member", "key", "value") if end in shape]
    there: Counter[str] = Counter(
        kind for name in reached for kind in ("max", "pattern", "enum") if kind in SHAPES[name]
    )
    there["min"] = sum(SHAPES[name].get("min", 0) > 0 for name in reached)
    there["required"] = sum(len(SHAPES[name].get("required", ())) for name in reached)
    walked = Counter(case.kind for name in OPERATIONS.values() for case in cases(name))
    assert set(walked) == {"type", *there}
    assert all(walked[kind] >= there[kind] > 0 for kind in there), (walked, there)


@pytest.mark.parametrize("operation", ["PutEvents", *_ACTIONS])
async def test_over_the_service_each_is_refused_with_its_code_and_changes_nothing(operation: str) -> None:
    async with serving() as (hub, service):
        before = {table: dict(rows) for table, rows in hub.store.tables.items()}  # type: ignore[attr-defined]
        for case in cases(OPERATIONS[operation]):
            with pytest.raises(ApiError) as refusal:
                await service.call(operation, json.dumps(case.value).encode(), ME)
            code = "SerializationException" if case.wrong_type else "ValidationException"
            assert (refusal.value.code, comparable(refusal.value.message)) == (code, expected(case)), case
        assert {table: dict(rows) for table, rows in hub.store.tables.items()} == before  # type: ignore[attr-defined]
