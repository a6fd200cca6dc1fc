"""The documents say what the code does: metrics have their row, and every row its metric."""

import re
from pathlib import Path

from router.core.delivery import EDGES, diagram
from router.core.event import Location
from router.metrics import Metrics

DOCS = Path(__file__).resolve().parents[1] / "docs"
DAEMON = Path(__file__).resolve().parents[1] / "router" / "daemon.py"


def test_every_metric_has_its_row_and_every_row_its_metric() -> None:
    metrics = Metrics()
    metrics.bus(Location("111111111111", "us-east-1"), "default")
    gauges = set(re.findall(r'gauge\(\s*"(\w+)"', DAEMON.read_text(encoding="utf-8")))
    assert gauges, "the daemon registers gauges"
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.families()} | {
        f"crossbus_{name}" for name in gauges
    }
    documented = set(
        re.findall(r"^\| `(crossbus_\w+)`", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert exposed == documented


def test_the_diagram_of_a_deliverys_life_is_made_from_its_table() -> None:
    (shown,) = re.findall(
        r"^```mermaid\n(.*?)\n```", (DOCS / "durability.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert shown == diagram()
    assert len(re.findall(r"^    \w+ --> \w+: \w+$", shown, re.MULTILINE)) == len(EDGES)
