"""The event: its text as delivered and compacted."""

import pytest

from router.core.event import compact


def test_compacting_takes_out_white_space_between_tokens_and_nothing_else() -> None:
    assert compact('{ "a" : [1, 1.50,\n"b c"],\t"a":1e2 }') == '{"a":[1,1.50,"b c"],"a":1e2}'
    assert compact('{"a":1}') == '{"a":1}'


@pytest.mark.parametrize("levels", [3000, 100_000])
def test_a_text_nested_too_deep_for_the_formatter_stays_as_it_is(levels: int) -> None:
    text = '{"a": ' + "[" * levels + "]" * levels + "}"
    assert compact(text) == text
