"""The goals' table and picture: medians, what is met, how numbers are written, and that the picture is one."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest import goals, paths, picture, report, suite
from loadtest.goals import ROWS, Goal, Line, lines, table
from loadtest.paths import Figures, Sizes

SVG = "{http://www.w3.org/2000/svg}"


def run(per_cpu_s: float, **more: float) -> Figures:
    return {"load_average": 0.5, "per_s": 20_000, "per_cpu_s": per_cpu_s, "loaded_anonymous_mb": 60.0, **more}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


INBOX = [run(27_111, p50_ms=6.04, p99_ms=14.96), run(29_499, p50_ms=7, p99_ms=15), run(28_511, p50_ms=8, p99_ms=16)]
LATENCY = {"load_average": 0.5, "p50_ms": 2.04, "p99_ms": 6.0, "max_ms": 9.0, "events": 600}


def test_the_goals_are_those_that_were_set() -> None:
    floors = {row.name: goal.bound for row in ROWS for goal in row.goals if goal.is_floor}
    assert floors == {
        "nothing": 55_000,
        "archive": 40_000,
        "archive-verified": 33_000,
        "inbox-1": 28_000,
        "inbox-1000": 25_000,
        "inbox-10000": 20_000,
        "api-destination": 15_000,
        "sqs-endpoint": 25_000,
        "sqs-source": 20_000,
        "bus-to-bus": 15_000,
    }
    limits = {(row.name, goal.figure): goal.bound for row in ROWS for goal in row.goals if not goal.is_floor}
    assert limits == {
        ("latency", "p50_ms"): 2.5,
        ("latency", "p99_ms"): 6,
        ("half-inbox", "p99_ms"): 30,
        ("half-http", "p99_ms"): 30,
        ("start", "ready_s"): 0.8,
        ("start", "idle_anonymous_mb"): 80,
    }
    assert (goals.SATURATED.figure, goals.SATURATED.bound) == ("loaded_anonymous_mb", 250)


def test_a_row_has_the_median_its_range_and_whether_the_floor_is_met() -> None:
    row = cells(table(lines({"inbox-1": INBOX})).splitlines()[2])
    assert row == [
        "delivered to an SQS inbox, 1 rule",
        "28,000",
        "28,500 (27,100 to 29,500)",
        "20,000",
        "7.0 / 15.0 ms",
        "60 MB",
        "yes",
    ]


@pytest.mark.parametrize(("reached", "met"), [(27_999, "**no**"), (28_000, "yes")])
def test_a_floor_is_met_when_it_is_reached(reached: float, met: str) -> None:
    assert cells(table(lines({"inbox-1": [run(reached)]})).splitlines()[2])[-1] == met


def test_a_limit_is_met_only_below_it_and_all_of_a_row_must_be() -> None:
    (line,) = lines({"latency": [LATENCY]})
    assert (line.medians["p50_ms"] < 2.5, line.is_met) == (True, False)
    assert cells(table([line]).splitlines()[2])[1::5] == ["p50 < 2.5 ms, p99 < 6 ms", "**no**"]
    (better,) = lines({"latency": [{**LATENCY, "p99_ms": 5.99}]})
    assert better.is_met


def test_rows_keep_the_tables_order_and_those_not_run_are_left_out() -> None:
    found = lines({"bus-to-bus": [run(16_000)], "nothing": [run(60_000)], "inbox-1": []})
    assert [line.name for line in found] == ["nothing", "bus-to-bus", "saturated"]


def test_memory_at_saturation_is_the_most_of_all_paths() -> None:
    found = lines({"nothing": [run(60_000)], "inbox-10000": [{**run(21_000), "loaded_anonymous_mb": 251.0}]})
    assert (found[-1].path, found[-1].medians, found[-1].is_met) == (
        "memory at saturation, at most (inbox-10000)",
        {"loaded_anonymous_mb": 251.0},
        False,
    )


def test_a_start_tells_when_it_was_ready() -> None:
    (line,) = lines({"start": [{"load_average": 0.1, "ready_s": 0.554, "idle_anonymous_mb": 47.6}]})
    assert cells(table([line]).splitlines()[2])[1:] == [
        "ready < 0.8 s, idle < 80 MB",
        "ready after 0.55 s",
        "",
        "",
        "48 MB",
        "yes",
    ]


def test_every_goal_that_was_measured_has_a_bar_and_a_mark() -> None:
    found = lines({"inbox-1": INBOX, "bus-to-bus": [run(10_000)], "latency": [LATENCY]})
    root = ElementTree.fromstring(picture.draw(found, "CPU <fast> & quiet"))
    bars = root.findall(f"{SVG}rect")[1:]  # the first is the paper
    marks = root.findall(f"{SVG}path")
    assert len(bars) == len(marks) == len([goal for line in found for goal in line.goals]) == 5
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[-1] == "CPU <fast> & quiet"
    assert "28,511" in texts
    assert "10,000 (missed)" in texts
    assert "6 of 6 (missed)" in texts


def test_bars_are_as_long_as_their_figures_and_stay_in_the_picture() -> None:
    found = lines({"inbox-1": [run(56_000)], "bus-to-bus": [run(14_000)], "latency": [{**LATENCY, "p99_ms": 6000.0}]})
    root = ElementTree.fromstring(picture.draw(found, "here"))
    widths = [float(bar.attrib["width"]) for bar in root.findall(f"{SVG}rect")[1:]]
    assert widths[0] == pytest.approx(4 * widths[1])
    assert max(widths) <= widths[0]


def test_the_suite_goes_on_after_a_path_that_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: Sizes) -> Figures:
        raise RuntimeError("3 of 10 events were delivered within 60 s")

    rows = [goals.Row("nothing", "a path", fails, ()), goals.Row("inbox-1", "another", lambda _: run(28_000), ())]
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    results, failed = suite.measure(rows, 2, Sizes())
    assert [len(results[name]) for name in ("nothing", "inbox-1")] == [0, 2]
    assert failed == {"nothing": "RuntimeError: 3 of 10 events were delivered within 60 s"}
    assert capsys.readouterr().out.count("28,000 a CPU second, 20,000 a second") == 2
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["failed"], [row["name"] for row in written["rows"]]) == (failed, ["inbox-1", "saturated"])
    assert [len(row["runs"]) for row in written["rows"]] == [2, 2]
    assert "Not measured: nothing: RuntimeError: 3 of 10" in (tmp_path / "bench.md").read_text()
    ElementTree.parse(tmp_path / "bench.svg")


def test_a_run_too_short_for_the_clock_counts_as_one_tick_of_it() -> None:
    assert paths.per_cpu_s(200, 0.0) == 200 * os.sysconf("SC_CLK_TCK")
    assert paths.per_cpu_s(200, 2.0) == 100


def test_a_goal_says_what_it_wants() -> None:
    wanted = [Goal("per_cpu_s", 55_000, is_floor=True), Goal("p99_ms", 6), Goal("loaded_anonymous_mb", 250)]
    assert list(map(str, wanted)) == ["55,000", "p99 < 6 ms", "loaded < 250 MB"]


def test_a_line_without_a_goals_figure_is_a_programmers_error() -> None:
    with pytest.raises(KeyError):
        _ = Line("x", "x", (Goal("p99_ms", 6),), {}, []).is_met
