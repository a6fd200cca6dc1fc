"""The table that has crossbus beside others."""

from typing import Any

from loadtest.peers import PEERS, medians, table


def outcome(path: str = "queue", rules: int = 1, **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "accepted": 200,
        "arrived": 200,
        "lost": 0,
        "arrived_per_s": 150.0,
        "arrived_per_cpu_s": 300.0,
    }
    usual |= {"anonymous_mb": 50.0, "p50_ms": 2.0, "p99_ms": 4.0, "is_supported": True, "note": ""}
    return {"path": path, "rules": rules, **usual, **more}


def runs(*outcomes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"outcomes": list(outcomes)}]


def test_every_peer_is_pinned() -> None:
    assert all(peer.version and peer.version[0].isdigit() for peer in PEERS)


def test_each_cell_says_what_became_of_the_events() -> None:
    text = table(
        {
            "crossbus": runs(
                outcome(rules=1000, arrived_per_cpu_s=24_000.0, arrived_per_s=20_000.0),
                outcome("http"),
                outcome("latency", p50_ms=1.26, arrived_per_cpu_s=None),
            ),
            "ministack": runs(
                outcome(rules=1000, arrived_per_cpu_s=None, lost=20, arrived=180),
                outcome("http", arrived=0, lost=200, arrived_per_cpu_s=None),
            ),
            "moto": runs(
                outcome(rules=1000, arrived_per_cpu_s=16.0),
                outcome("http", is_supported=False, arrived_per_cpu_s=None),
                outcome("latency", p50_ms=None, arrived_per_cpu_s=None),
            ),
        }
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert rows == [
        ["queue, 1,000 rules", "24,000 / 20,000", "- / 150 (20 of 200 lost)", "16 / 150", "1,500"],
        ["HTTP target", "300 / 150", "not delivered", "not supported", ""],
        ["HTTP target, 20 events a second", "p50 1.3, p99 4.0 ms", "not measured", "arrived without their ids", ""],
        ["anonymous memory, at most", "50 MB", "50 MB", "50 MB", ""],
    ]


def test_figures_are_medians_and_one_that_a_run_lacks_is_none() -> None:
    three = [
        *runs(outcome(arrived_per_s=1.0)),
        *runs(outcome(arrived_per_s=9.0, anonymous_mb=None)),
        *runs(outcome(arrived_per_s=3.0)),
    ]
    (found,) = medians(three)
    assert (found["arrived_per_s"], found["anonymous_mb"], found["rules"]) == (3.0, None, 1)
