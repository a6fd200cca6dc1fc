"""The files of config/prometheus and config/grafana as tests read them: panels' queries, rules, and what they name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "config" / "prometheus"
GRAFANA = ROOT / "config" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
OF_PROMETHEUS = {"instance", "job"}
"""Labels that a series gets when it is scraped."""

_SELECTOR = re.compile(r"\b(crossbus[\w:]+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


class PanelQuery(NamedTuple):
    dashboard: str
    panel: str
    legend: str
    expr: str

    def __str__(self) -> str:
        return f"{self.dashboard}/{self.panel}/{self.legend}".replace(" ", "-")


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def panels(path: Path) -> list[dict[str, Any]]:
    """All that show something."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def panel_queries() -> list[PanelQuery]:
    return [
        PanelQuery(path.stem, panel["title"], target["legendFormat"], target["expr"])
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]


def variables() -> Iterator[tuple[str, str, str]]:
    """Dashboard, name and query of each variable that asks for values."""
    for path in DASHBOARDS:
        for variable in dashboard(path)["templating"]["list"]:
            if variable["type"] == "query":
                yield path.stem, variable["name"], variable["query"]["query"]


def rules(name: str) -> list[dict[str, Any]]:
    """Of one of the rule files, all groups together."""
    groups = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def filled(expr: str) -> str:
    """The query as Grafana sends it with `All` chosen everywhere. Rates are over more than a restart of the hub takes:
    what changes meanwhile is seen by samples on both sides."""
    expr = expr.replace("$__rate_interval", "20s").replace("$__range", "60s")
    return re.sub(r"\$\w+", ".*", expr)


def selectors(expr: str) -> list[tuple[str, set[str]]]:
    """The series that an expression names, each with the labels that it tests."""
    return [(name, set(_LABEL.findall(labels))) for name, labels in _SELECTOR.findall(expr)]


def grouped_by(expr: str) -> set[str]:
    return {label.strip() for labels in _BY.findall(expr) for label in labels.split(",")}


def documented() -> dict[str, set[str]]:
    """The series of docs/metrics.md with their labels."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for name, labels, meaning in re.findall(r"^\| `(crossbus_\w+)` \|([^|]*)\| (.*) \|$", text, re.MULTILINE):
        given = {label.strip() for label in labels.split(",") if label.strip()}
        kind = meaning.partition(":")[0]
        if kind in ("histogram", "summary"):
            found |= {f"{name}_count": given, f"{name}_sum": given}
            if kind == "histogram":
                found[f"{name}_bucket"] = given | {"le"}
        else:
            found[name] = given
    return found
