"""What an event pattern asks for at one field, as the condition keys of PutRule see it.

A policy lets an account put rules for certain sources or detail types only ("eb-use-conditions"), so nothing that a
pattern lets in may be missing here: a field that is free in one alternative of an `$or` is free, and what is no plain
text is there in words that no source has. Which keys there are is not known here.
"""

from router.core.operators import Test, Text
from router.core.pattern import Pattern
from router.core.pattern_text import expected


def asked_values(pattern: Pattern, path: str) -> list[str] | None:
    """The values at a path, sorted; None where an event may have any there."""
    values: set[str] = set()
    for branch in pattern.branches:
        tests = next((field.tests for field in branch if field.path == path), None)
        if tests is None:
            return None
        values.update(map(_value, tests))
    return sorted(values)


def _value(test: Test) -> str:
    return test.text if isinstance(test, Text) else expected(test)
