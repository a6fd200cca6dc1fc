"""What a Grafana dashboard is made of, as JSON for Grafana 10 and later: panels in rows, variables, links between the
dashboards. It knows Grafana's model and nothing of what is shown; the modules beside it say that.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24  # Grafana's grid


class Query(NamedTuple):
    expr: str
    legend: str


class Limits(NamedTuple):
    """From which value on a panel is yellow, and red; below it is green."""

    yellow: float | None = None
    red: float | None = None


class Row(NamedTuple):
    title: str
    height: int
    panels: Sequence[Json]


def _thresholds(limits: Limits | None, base: str) -> Json:
    steps: list[Json] = [{"color": base, "value": None}]
    for color in ("yellow", "red"):
        value = getattr(limits, color) if limits else None
        if value is not None:
            steps.append({"color": color, "value": value})
    return {"mode": "absolute", "steps": steps}


def _targets(queries: Sequence[Query], **more: object) -> list[Json]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": " ".join(query.expr.split()),
            "legendFormat": query.legend,
            **more,
        }
        for number, query in enumerate(queries)
    ]


def stat(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    limits: Limits | None = None,
    words: dict[str, tuple[str, str]] | None = None,
) -> Json:
    """A number, or one for each query, coloured by its limits. `words` gives values a text and a colour."""
    mappings = [
        {"type": "value", "options": {value: {"index": index, "text": text, "color": color}}}
        for index, (value, (text, color)) in enumerate((words or {}).items())
    ]
    return {
        "type": "stat",
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": _targets(queries, range=True),
        "fieldConfig": {
            "defaults": {"unit": unit, "decimals": 0 if unit == "short" else None, "mappings": mappings,
                         "thresholds": _thresholds(limits, "green" if limits or words else "blue")},
            "overrides": [],
        },
        "options": {
            "colorMode": "background_solid" if limits or words else "value",
            "graphMode": "none" if words or len(queries) > 1 else "area",
            "justifyMode": "center",
            "orientation": "vertical" if len(queries) > 1 else "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "value_and_name" if len(queries) > 1 else "value",
        },
    }  # fmt: skip


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    limits: Limits | None = None,
    stacked: bool = False,
    maximum: float | None = None,
) -> Json:
    """Lines over time. With `limits` the area above them is tinted."""
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line+area" if limits else "off"},
    }
    defaults: Json = {"unit": unit, "min": 0, "custom": custom, "thresholds": _thresholds(limits, "transparent")}
    if maximum is not None:
        defaults["max"] = maximum
    return {
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": _targets(queries, range=True),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def heatmap(title: str, description: str, query: Query, *, unit: str) -> Json:
    """A histogram's buckets over time."""
    return {
        "type": "heatmap",
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": _targets([query], range=True, format="heatmap"),
        "fieldConfig": {"defaults": {"custom": {"hideFrom": {"legend": False, "tooltip": False, "viz": False}}},
                        "overrides": []},
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "show": True, "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "unit": unit},
        },
    }  # fmt: skip


def table(title: str, description: str, labels: Sequence[str], *queries: Query, sort: str) -> Json:
    """A line for each combination of `labels`, a column for each query, named as its legend."""
    names = {f"Value #{chr(ord('A') + number)}": query.legend for number, query in enumerate(queries)}
    targets = _targets(queries, instant=True, range=False, format="table")
    return {
        "type": "table",
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": "short", "decimals": 0, "custom": {"filterable": True}}, "overrides": []},
        "options": {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": sort, "desc": True}]},
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: index for index, name in enumerate([*labels, *names])},
                    "renameByName": names,
                },
            },
        ],
    }


def variable(name: str, label: str, query: str) -> Json:
    """Values of a label to choose from, several or all of them."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
    }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "options": [],
        "regex": "",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
    }


def dashboard(uid: str, title: str, description: str, variables: Sequence[Json], rows: Sequence[Row]) -> Json:
    """Panels of a row share its width."""
    panels: list[Json] = []
    y = 0
    for row in rows:
        panels.append(
            {"type": "row", "title": row.title, "collapsed": False, "panels": [],
             "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}}
        )  # fmt: skip
        y += 1
        width = WIDTH // len(row.panels)
        for number, panel in enumerate(row.panels):
            panels.append({**panel, "gridPos": {"h": row.height, "w": width, "x": number * width, "y": y}})
        y += row.height
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["crossbus"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "crossbus", "tags": ["crossbus"], "asDropdown": False, "includeVars": True,
             "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}
        ],
        "templating": {"list": [_datasource(), *variables]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }  # fmt: skip
