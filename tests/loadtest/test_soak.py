"""A soak's parts: the events and where they belong, the audit, the verdict, the chart."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from loadtest.soak import main
from loadtest.soak_chart import chart, panels
from loadtest.soak_site import BATCH, PERIOD, ROUTES, Cycle, entries, kind, masks, profiles, route, settings
from loadtest.soak_target import NUMBER_MAX, Tally
from loadtest.soak_verdict import Arrivals, Ending, Line, Sample, audit, good, growth, markdown, samples_of, verdict
from router.config_profiles import Profile

SVG = "{http://www.w3.org/2000/svg}"
MASKS = masks()
GONE = {"calm_p50_ms": None, "calm_p99_ms": None}


def sample(at_s: float, **given: Any) -> Sample:
    usual: dict[str, Any] = {
        "memory_mb": 60.0,
        "store_mb": 90.0,
        "store_used_mb": 80.0,
        "pending": 10,
        "parked": 5,
        "accepted_per_s": 2000.0,
        "delivered_per_s": 2010.0,
        "calm_p50_ms": 3.0,
        "calm_p99_ms": 12.0,
        "stormy_p50_ms": 20.0,
        "stormy_p99_ms": 900.0,
        "loop_lag_p99_ms": 4.0,
        "cpu": 0.5,
        "fds": 100,
        "behind_s": 0.002,
        "throttled": 0,
        "scrape_ms": 5.0,
    }
    return Sample(at_s=at_s, **{**usual, **given})


def samples(seconds: int = 1800, /, **grows_mb_per_h: float) -> list[Sample]:
    """One every five seconds, of which some sizes grow, and shake by 3 MB."""
    rows = []
    for at_s in range(5, seconds + 1, 5):
        sizes = {"memory_mb": 60.0, "store_mb": 90.0, "store_used_mb": 80.0}
        for name, per_h in grows_mb_per_h.items():
            sizes[name] += per_h * at_s / 3600
        rows.append(sample(float(at_s), **{name: size + at_s % 20 / 5 for name, size in sizes.items()}))
    return rows


def ending(**given: Any) -> Ending:
    routes = {name: Arrivals(expected=mask.count(1)) for name, mask in MASKS.items()}
    usual: dict[str, Any] = {
        "minutes": 30.0,
        "rate": 2000.0,
        "saturation": 4000.0,
        "acknowledged": PERIOD,
        "throttled": 0,
        "refused": 0,
        "unanswered": 0,
        "routes": routes,
        "pending": 0,
        "dead_letters_kept": 0,
        "sink_bugs": 0,
        "faults": {"ledger-away": 3},
        "settled_s": 4.0,
        "verified": "good",
        "p99_ms": {"bus `calm`, otherwise": 12.0},
    }
    return Ending(**{**usual, **given})


def bad(lines: list[Line]) -> list[str]:
    return [line.what for line in lines if line.good is False]


# --- The events


def test_each_event_of_a_period_has_one_route_in_the_shares_that_are_told() -> None:
    counts = {name: mask.count(1) for name, mask in MASKS.items()}
    assert counts == {"orders": 600, "ledger": 200, "webhook": 80, "audited": 100, "failed": 20}
    assert [sum(column) for column in zip(*MASKS.values(), strict=True)] == [1] * PERIOD


def test_routes_are_the_same_in_every_period() -> None:
    assert [route(number) for number in range(PERIOD)] == [route(number + 7 * PERIOD) for number in range(PERIOD)]


def test_an_entry_says_its_number_and_matches_the_rule_whose_target_is_its_route() -> None:
    rules = {rule["Name"]: rule for rule in settings(9)["resources"][0]["rules"]}
    arns: dict[str, set[str]] = {name: set() for name in ROUTES}
    for first in range(0, PERIOD, BATCH):
        for number, entry in enumerate(json.loads(entries(first))["Entries"], first):
            detail = json.loads(entry["Detail"])
            assert (detail["number"], detail["kind"]) == (number, f"kind-{kind(number)}")
            rule = rules[f"{entry['EventBusName']}-{kind(number)}"]
            assert rule["EventPattern"]["detail"]["kind"] == [detail["kind"]]
            arns[route(number)].add(rule["Targets"][0]["Arn"])
    ends = {name: {arn.rpartition(":")[2].rpartition("/")[2] for arn in found} for name, found in arns.items()}
    assert ends == {
        "orders": {"orders"},
        "ledger": {"ledger"},
        "webhook": {"webhook"},
        "audited": {"audit"},
        "failed": {"refusing"},
    }


def test_profiles_are_good_and_their_names_differ() -> None:
    found = [msgspec.convert(one, Profile) for one in profiles(2000.0, Cycle())]
    assert [one.problem() for one in found] == [None] * len(found)
    assert max(Counter(one.name for one in found).values()) == 1


def test_a_window_touches_what_overlaps_it_in_any_round() -> None:
    cycle = Cycle(100.0)
    assert cycle.away == (20.0, 30.0)
    spans = [(0, 20), (0, 21), (29, 40), (30, 120), (30, 121), (122, 123), (230, 319), (10, 500)]
    found = [cycle.touches(cycle.away, *span) for span in spans]
    assert found == [False, True, True, False, True, True, False, True]
    assert [cycle.within(cycle.away, moment) for moment in (19.0, 20.0, 29.0, 30.0, 125.0)] == [
        False,
        True,
        True,
        False,
        True,
    ]


# --- The audit


def counts(*numbers: int) -> bytes:
    tally = Tally()
    for number in numbers:
        tally.add(number)
    return tally.counts()


def test_a_tally_counts_each_number_up_to_what_a_byte_has() -> None:
    tally = Tally()
    for number in [3] * 300 + [0]:
        tally.add(number)
    assert (tally.events, tally.arrivals, tally.counts()[:5]) == (2, 301, bytes([1, 0, 0, 255, 0]))
    with pytest.raises(ValueError, match="the most is"):
        tally.add(NUMBER_MAX)


@pytest.mark.parametrize("name", ROUTES)
def test_the_audit_finds_nothing_where_all_has_arrived(name: str) -> None:
    acknowledged = bytes([1]) * (2 * PERIOD + 340)
    arrived = (MASKS[name] * 3)[: len(acknowledged)]
    wanted = sum(route(number) == name for number in range(len(acknowledged)))
    assert audit(acknowledged, arrived, MASKS[name]) == Arrivals(expected=wanted)


def test_the_audit_tells_lost_twice_unacknowledged_and_strayed() -> None:
    orders = [number for number in range(3 * PERIOD) if route(number) == "orders"]
    stray = next(number for number in range(PERIOD) if route(number) != "orders")
    lost, thrice, unanswered = orders[5], orders[700], orders[1300]
    acknowledged = counts(*(number for number in orders if number != unanswered))
    arrived = counts(*(number for number in orders if number != lost), thrice, thrice, stray)
    found = audit(acknowledged, arrived, MASKS["orders"])
    assert found == Arrivals(expected=len(orders) - 1, lost=1, twice=2, unacknowledged=1, strays=1, some_lost=[lost])


def test_what_is_beyond_the_last_arrival_is_lost() -> None:
    found = audit(bytes([1]) * (2 * PERIOD), MASKS["ledger"], MASKS["ledger"])
    assert (found.expected, found.lost, len(found.some_lost)) == (400, 200, 10)


# --- The verdict


def test_a_flat_run_that_lost_nothing_is_good() -> None:
    lines = verdict(samples(), ending())
    assert bad(lines) == []
    assert good(lines)


@pytest.mark.parametrize(
    ("grows", "told"),
    [
        ({"memory_mb": 100.0}, "anonymous memory"),
        ({"store_mb": 300.0}, "the store's file"),
        ({"store_used_mb": 300.0}, "the store's pages in use"),
    ],
)
def test_what_grows_is_told(grows: dict[str, float], told: str) -> None:
    lines = verdict(samples(**grows), ending())
    assert bad(lines) == [told]
    assert not good(lines)


def test_growth_before_the_second_half_does_not_count() -> None:
    rows = [sample(float(at), memory_mb=min(60.0 + at / 20, 100.0)) for at in range(5, 1801, 5)]
    assert bad(verdict(rows, ending())) == []


def test_a_run_that_is_too_short_is_not_judged_by_its_slopes() -> None:
    lines = verdict(samples(120, memory_mb=3000.0), ending())
    assert bad(lines) == []
    assert bad(verdict(samples(), ending(minutes=1.0, faults={"ledger-away": 0}))) == []
    assert next(line.reached for line in lines if line.what == "anonymous memory").endswith(
        "(not judged before 10 minutes)"
    )


def test_samples_of_the_settling_do_not_count_as_growth() -> None:
    settling = [sample(1800.0 + at, phase="settling", memory_mb=200.0) for at in range(5, 600, 5)]
    assert bad(verdict([*samples(), *settling], ending())) == []


def test_more_memory_than_allowed_is_told_however_short_it_was() -> None:
    rows = samples()
    rows[7] = sample(rows[7].at_s, memory_mb=251.0)
    assert bad(verdict(rows, ending())) == ["anonymous memory, at most"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pending": 1}, "pending at the end"),
        ({"dead_letters_kept": 1}, "dead letters that no queue took"),
        ({"sink_bugs": 1}, "exceptions of sinks"),
        ({"refused": 1, "error": "boom"}, "entries refused, but for throttling"),
        ({"verified": "EVENTS 00: nothing needs it"}, "the store, verified after the end"),
        ({"faults": {"ledger-away": 0}}, "fault profiles that did nothing"),
        ({"acknowledged": PERIOD + 1}, "events with a route"),
    ],
)
def test_what_is_not_as_it_must_be_is_told(given: dict[str, Any], told: str) -> None:
    assert bad(verdict(samples(), ending(**given))) == [told]


def test_a_lost_event_is_told_with_its_number() -> None:
    routes = ending().routes | {"ledger": Arrivals(expected=200, lost=1, some_lost=[4711])}
    lines = verdict(samples(), ending(routes=routes))
    assert bad(lines) == ["acknowledged events that were lost"]
    assert "events 4711" in lines[0].reached


def test_an_event_that_strayed_is_told() -> None:
    routes = ending().routes | {"webhook": Arrivals(expected=80, strays=1)}
    assert bad(verdict(samples(), ending(routes=routes))) == ["events where they do not belong"]


def test_throttled_and_unanswered_entries_and_a_late_client_are_told_and_count_for_nothing() -> None:
    rows = [*samples(), sample(1805.0, behind_s=3.0)]
    lines = verdict(rows, ending(throttled=7, unanswered=10))
    assert bad(lines) == []
    told = {line.what: line.reached for line in lines}
    assert told["dead letters in their queue"] == "20 events, 0 deliveries twice"
    assert (told["entries throttled"], told["events of requests without an answer"]) == ("7", "10")
    assert told["the client kept the pace"].startswith("no: 1 of 361 samples")


def test_the_slope_is_that_of_the_second_half() -> None:
    rows = [(float(at), 500.0 if at < 500 else at / 10) for at in range(0, 1001, 5)]
    found = growth(rows)
    assert found is not None
    assert found.per_h == pytest.approx(360.0)
    assert found.rise == pytest.approx(50.0)
    assert (found.warm, found.end) == (500.0, 99.5)
    assert growth(rows[:3]) is None


def test_the_verdict_is_a_table() -> None:
    lines = verdict(samples(), ending(pending=3))
    text = markdown(lines, ending(pending=3), "a machine")
    assert "| pending at the end | 0 | 3 | **NO** |" in text
    assert text.count("\n| ") == len(lines) + 2


# --- The chart


def drawn(rows: list[Sample]) -> ElementTree.Element:
    return ElementTree.fromstring(chart(rows))


def test_the_chart_has_a_point_for_each_sample_in_each_series() -> None:
    rows = samples()
    lines = [len(str(line.get("points")).split()) for line in drawn(rows).iter(f"{SVG}polyline")]
    assert lines == [len(rows)] * sum(len(panel.series) for panel in panels(rows))


def test_where_nothing_was_seen_the_chart_has_a_gap() -> None:
    rows = [sample(5.0), sample(10.0), sample(15.0, **GONE), sample(20.0), sample(25.0, **GONE), sample(30.0)]
    root = drawn(rows)
    lines = [len(str(line.get("points")).split()) for line in root.iter(f"{SVG}polyline")]
    assert sorted(lines) == [2, 2, *[6] * 8]
    assert len(list(root.iter(f"{SVG}circle"))) == 4


def test_points_lie_within_their_panels() -> None:
    rows = [sample(5.0 * n, parked=n * n * 37, calm_p99_ms=0.3 * 4**n, calm_p50_ms=0.0) for n in range(1, 9)]
    root = drawn(rows)
    height, width = float(root.get("height", "0")), float(root.get("width", "0"))
    for line in root.iter(f"{SVG}polyline"):
        points = [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]
        ys = [y for _, y in points]
        assert max(ys) - min(ys) <= 118
        assert all(0 <= x <= width for x, _ in points)
        assert all(0 <= y <= height for y in ys)


def test_what_went_wrong_is_shaded_in_every_panel() -> None:
    rows = [sample(5.0 * n, away=n == 3, busy=n in (5, 6)) for n in range(1, 9)]
    fills = Counter(str(shape.get("fill")) for shape in drawn(rows).iter(f"{SVG}rect"))
    count = len(panels(rows))
    assert (fills["#f3c9c9"], fills["#f7e7b4"]) == (count + 1, 2 * count + 1)  # and in the legend


def test_without_samples_there_is_no_chart() -> None:
    with pytest.raises(ValueError, match="no samples"):
        chart([])


def test_a_chart_is_drawn_again_from_the_samples_of_a_run_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    rows = samples(60)
    torn = msgspec.json.encode(rows[0])[:40]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows) + torn)
    assert samples_of(path) == rows
    assert main(["--chart-only", str(path)]) == 0
    assert len(list(ElementTree.parse(path.with_suffix(".svg")).iter(f"{SVG}polyline"))) == 10
