"""A soak of a few seconds: a real hub while targets are slow, fail, throttle and go away; nothing is lost.

`make soak` is the same for an hour, and judges what memory and store do.
"""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtest import soak
from loadtest.soak_site import settings
from loadtest.soak_verdict import good, samples_of


@pytest.mark.timeout(120)
def test_a_short_soak_loses_nothing_and_writes_its_results(tmp_path: Path) -> None:
    lines = soak.run(8 / 60, tmp_path, rate=600.0)
    told = (tmp_path / "soak.md").read_text()
    assert good(lines), told
    ending = json.loads((tmp_path / "soak.json").read_text())["ending"]
    assert ending["acknowledged"] > 0, told
    assert sum(one["expected"] for one in ending["routes"].values()) == ending["acknowledged"], told
    assert all(one["expected"] for one in ending["routes"].values()), told
    samples = samples_of(tmp_path / "soak.jsonl")
    assert {"soak"} <= {one.phase for one in samples}
    assert any(one.away for one in samples)
    ElementTree.parse(tmp_path / "soak.svg")


@pytest.mark.timeout(120)
def test_events_that_arrive_nowhere_are_lost_and_fail_the_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_a_rule(target_port: int) -> dict[str, Any]:
        made = settings(target_port)
        made["resources"][0]["rules"] = [rule for rule in made["resources"][0]["rules"] if rule["Name"] != "calm-7"]
        return made

    monkeypatch.setattr(soak, "settings", without_a_rule)
    monkeypatch.setattr(soak, "_SETTLED_S_MAX", 3.0)
    lines = soak.run(3 / 60, tmp_path, rate=600.0)
    assert not good(lines)
    assert "acknowledged events that were lost" in {line.what for line in lines if line.good is False}
