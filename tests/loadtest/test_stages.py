"""What a moment of the hub's CPU counts as, and the table that comes of it."""

import sys
from pathlib import Path
from types import FrameType

from loadtest import stages
from router.core.event import Event, envelope

_EVENT = Event("id", "type", "source", "111111111111", "2026-01-01T00:00:00Z", "us-east-1", (), "{}")


def _deepest(call: object) -> FrameType:
    """The frame that a call is in at its last line."""
    found: list[FrameType] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "return":
            found.append(frame)

    assert callable(call)
    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found[0]


def test_a_moment_counts_as_the_innermost_file_that_has_a_stage() -> None:
    assert stages.stage(_deepest(lambda: envelope(_EVENT))) == "check the entries"
    assert stages.stage(sys._getframe()) == "event loop, sockets in"


def test_every_stage_is_of_a_file_that_there_is() -> None:
    files = [str(path) for path in (Path(__file__).parents[2] / "router").rglob("*.py")]
    parts = [part for part in stages._STAGES if part != "<rules>"]
    assert [part for part in parts if not any(part in file for file in files)] == []


def test_the_table_has_a_column_a_path_and_no_empty_rows() -> None:
    text = stages.table({"nothing": {"match": 1.04, "plan": 2.0}, "archive": {"plan": 3.0, "commit thread": 4.0}})
    assert text.splitlines() == [
        "| µs an event | nothing | archive |",
        "| --- | --- | --- |",
        "| match | 1.0 |  |",
        "| plan | 2.0 | 3.0 |",
        "| commit thread |  | 4.0 |",
        "| all | 3.0 | 7.0 |",
    ]
