"""The dashboards, rules and alerts as files: they are whole, and name only series and labels that there are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.files import (
    DASHBOARDS,
    GRAFANA,
    OF_PROMETHEUS,
    PROMETHEUS,
    ROOT,
    PanelQuery,
    dashboard,
    documented,
    grouped_by,
    panel_queries,
    panels,
    rules,
    selectors,
    variables,
)

DOCUMENT = ROOT / "docs" / "dashboards.md"
HOME = "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
by_file = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def alerts() -> list[dict[str, Any]]:
    return rules("alerts.yml")


def scenarios() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts-test.yml").read_text(encoding="utf-8"))["tests"]
    return found


# the dashboards


def test_the_dashboards_are_what_their_source_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", GRAFANA / "make.py", tmp_path], check=True)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS}, "run `make dashboards`"
    assert len(made) == 4


@by_file
def test_a_dashboard_says_what_it_is_and_finds_the_others(path: Path) -> None:
    whole = dashboard(path)
    assert whole["uid"] == path.stem
    assert whole["schemaVersion"] >= 38, "Grafana 10"
    assert whole["title"].startswith("crossbus: ")
    assert whole["description"]
    assert whole["tags"] == whole["links"][0]["tags"] == ["crossbus"]
    assert len({panel["id"] for panel in whole["panels"]}) == len(whole["panels"])


@by_file
def test_every_panel_has_a_unit_a_description_and_the_chosen_datasource(path: Path) -> None:
    for panel in panels(path):
        assert len(panel["description"]) > 20 or panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        unit = panel["options"]["yAxis"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]
        assert unit["unit"], panel["title"]


@by_file
def test_panels_fill_the_grid_and_none_lies_on_another(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard(path)["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        assert x + w <= 24
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert not cells & taken, panel["title"]
        taken |= cells


@by_file
def test_a_dashboard_uses_all_of_its_variables_and_no_others(path: Path) -> None:
    defined = {variable["name"] for variable in dashboard(path)["templating"]["list"]}
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{?(?!__)([a-z]+)", text)) == defined
    assert set(re.findall(r"\$(__\w+)", text)) == {"__all", "__rate_interval", "__range"}


def test_account_region_bus_rule_and_sink_can_be_chosen() -> None:
    assert {"hub", "account", "region", "bus", "rule", "sink"} == {name for _, name, _ in variables()}


@pytest.mark.parametrize("query", panel_queries(), ids=str)
def test_a_panel_asks_for_series_and_labels_that_there_are(query: PanelQuery) -> None:
    known = documented()
    asked = selectors(query.expr)
    assert asked
    for name, labels in asked:
        assert name in known
        assert "instance" in labels, "the hub can be chosen"
        assert labels <= known[name] | OF_PROMETHEUS
        assert grouped_by(query.expr) <= known[name] | OF_PROMETHEUS
        for choice in ("account", "region"):
            if choice in known[name]:
                assert choice in labels, "where it happened can be chosen"
    assert "vector(" not in query.expr, "a panel without data says so"
    shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    assert shown <= (grouped_by(query.expr) or {"instance"})


def test_variables_ask_for_series_and_labels_that_there_are() -> None:
    known = documented()
    for _, name, query in variables():
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        ((metric, labels),) = selectors(found[1])
        assert labels <= known[metric] | OF_PROMETHEUS, name
        assert found[2] in known[metric] | OF_PROMETHEUS, name


# rules and alerts


def test_rules_and_alerts_compute_with_series_and_labels_that_there_are() -> None:
    known = documented()
    for rule in rules("recording.yml"):
        for metric, labels in selectors(rule["expr"]):
            assert labels <= known[metric] | OF_PROMETHEUS, rule
        known[rule["record"]] = grouped_by(rule["expr"])
    for rule in alerts():
        asked = selectors(rule["expr"])
        assert asked or rule["expr"].startswith("up{"), rule
        for metric, labels in asked:
            assert labels <= known[metric] | OF_PROMETHEUS, rule


def test_an_alerts_text_names_labels_that_it_has() -> None:
    known = documented() | {"up": set()}
    known |= {rule["record"]: grouped_by(rule["expr"]) for rule in rules("recording.yml")}
    for rule in alerts():
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        metric = selectors(rule["expr"])[0][0] if selectors(rule["expr"]) else "up"
        assert named <= (grouped_by(rule["expr"]) or known[metric] | OF_PROMETHEUS), rule["alert"]


def test_every_alert_has_a_severity_a_text_and_its_page() -> None:
    headings = re.findall(r"^### (\w+)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    names = [rule["alert"] for rule in alerts()]
    documented_ones = [name for name in headings if name.startswith("Crossbus")]
    assert documented_ones == names
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/dashboards.md"
        assert anchor == rule["alert"].lower()


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
def test_an_alert_has_a_scenario_in_which_it_fires_for_one_hub_and_not_before_its_time(alert: str) -> None:
    (scenario,) = [one for one in scenarios() if one["name"].startswith(f"{alert}: ")]
    before, after = scenario["promql_expr_test"]
    firing = 'sum by (alertname, instance) (ALERTS{alertstate="firing"})'
    assert before["expr"] == after["expr"] == firing
    assert before["exp_samples"] == []
    fires = [sample["labels"] for sample in after["exp_samples"] if f'alertname="{alert}"' in sample["labels"]]
    assert fires == [f'{{alertname="{alert}", instance="bad"}}']
    assert any('instance="good"' in series["series"] for series in scenario["input_series"])


@needs_promtool
@pytest.mark.parametrize("command", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts-test.yml"]])
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run([PROMTOOL, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout


# what brings them up


def test_prometheus_scrapes_the_job_that_the_alerts_ask_for() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "crossbus"
    files = [*config["rule_files"], *job["file_sd_configs"][0]["files"]]
    assert [name for name in files if not (PROMETHEUS / name).is_file()] == []


def test_compose_mounts_files_that_there_are_and_gives_the_hub_its_variables() -> None:
    services = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [mount.split(":") for service in services.values() for mount in service["volumes"]]
    bound = {target: (ROOT / "config" / source).resolve() for source, target, *_ in mounts if source.startswith(".")}
    assert [path for path in bound.values() if not path.exists()] == []
    assert (ROOT / "config" / services["hub"]["build"]).resolve() == ROOT
    named = re.findall(r"\$\{(\w+)", re.sub(r"#.*", "", (ROOT / "config" / "docker.yaml").read_text(encoding="utf-8")))
    assert set(services["hub"]["environment"]) == set(named)
    # Prometheus finds its files, Grafana its dashboards and Prometheus.
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    needed = {"prometheus.yml", *config["rule_files"], "targets.yml"}
    assert {Path(target).name for target in bound if target.startswith("/etc/prometheus/")} == needed
    (targets,) = yaml.safe_load((PROMETHEUS / "targets-compose.yml").read_text(encoding="utf-8"))
    assert targets["targets"] == ["hub:4610"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/crossbus.yaml").read_text())["providers"]
    assert bound[provider["options"]["path"]] == GRAFANA / "dashboards"
    provisioned = {target: path for target, path in bound.items() if target.startswith("/etc/grafana/provisioning/")}
    assert {Path(target).name for target in provisioned} == {"datasources", "dashboards"}
    assert all(path == GRAFANA / "provisioning" / Path(target).name for target, path in provisioned.items())
    assert bound[str(Path(services["grafana"]["environment"][HOME]).parent)] == GRAFANA / "dashboards"
    assert (GRAFANA / "dashboards" / Path(services["grafana"]["environment"][HOME]).name).is_file()
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]) for service in services.values()
               if "image" in service)  # fmt: skip


def test_compose_lets_nobody_change_anything_in_grafana() -> None:
    """The user that Grafana makes has a password that everybody knows."""
    settings = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text(encoding="utf-8"))["services"]["grafana"]
    settings = settings["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert (settings["GF_AUTH_DISABLE_LOGIN_FORM"], settings["GF_AUTH_BASIC_ENABLED"]) == ("true", "false")


def test_compose_keeps_what_the_hub_writes_and_publishes_ports_on_this_machine_only() -> None:
    services = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    hub = yaml.safe_load((ROOT / "config" / "docker.yaml").read_text(encoding="utf-8"))
    assert services["hub"]["volumes"] == [f"hub-data:{hub['data_folder']}"]
    assert services["hub"]["ports"] == [f"127.0.0.1:{hub['listen']['port']}:{hub['listen']['port']}"]
    assert [
        port for service in services.values() for port in service["ports"] if not port.startswith("127.0.0.1:")
    ] == []
