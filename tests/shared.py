"""Where the reference data stands in a development checkout; users do not have it, so tests that need it skip."""

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data is not part of the project")


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of the reference data; empty where it is absent."""
    path = SHARED / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
