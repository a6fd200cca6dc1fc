"""The oracle is short, shares no code with what it judges, and gives every recorded verdict."""

import ast
import sys
from pathlib import Path

from tests import oracle
from tests.core.test_pattern_conformance import CASES, LAST_DUPLICATE_COUNTS, expected, text
from tests.oracle import matches
from tests.shared import needs_shared, rows

LINES_MAX = 150


def test_the_oracle_is_short_and_imports_the_standard_library_only() -> None:
    source = Path(oracle.__file__).read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name.partition(".")[0]
        for node in imports
        for name in ([node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert len(source.splitlines()) <= LINES_MAX
    assert names <= sys.stdlib_module_names


@needs_shared
def test_the_oracle_has_the_verdict_of_every_case_with_a_valid_pattern_and_event() -> None:
    cases = [row for row in CASES if isinstance(expected(row), bool)]
    wrong = {row["id"] for row in cases if matches(row["pattern"], row["event"]) != expected(row)}
    assert len(cases) > 4300
    assert wrong == LAST_DUPLICATE_COUNTS


@needs_shared
def test_the_oracle_has_the_verdict_of_every_valid_pair_and_detection_of_the_corpus() -> None:
    cases = [row for row in rows("corpus/pattern_event_pairs.jsonl") if row["expect"] is not None]
    detections = rows("corpus/detections.jsonl")
    wrong = [row for row in cases + detections if matches(text(row["pattern"]), text(row["event"])) != row["expect"]]
    assert len(cases) > 590
    assert len(detections) > 600
    assert wrong == []
