"""What a soak's samples and its audit say: the samples' form, the audit, and the verdict with its limits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import Literal

import msgspec

from loadtest.soak_site import PERIOD

MEMORY_MB_MAX = 250.0
MEMORY_MB_PER_H_MAX = 20.0
MEMORY_MB_NOISE = 8.0
STORE_MB_PER_H_MAX = 50.0
STORE_MB_NOISE = 24.0
"""A size grows where the line fitted to the second half of the run is steeper than the limit, and has risen by more
than what an outage and the allocator move a flat one by."""
JUDGED_S_MIN = 600.0
"""A shorter run warms up for too large a part of it: its slopes, and faults that did not come, are told and do not
count."""
BEHIND_S_MAX = 1.0
"""A request that is made later than this was not made at its time."""
WARM_S = 300.0
LOST_SHOWN_MAX = 10


class Sample(msgspec.Struct, kw_only=True):
    """The hub at one moment, and what happened since the sample before. `None` is what nothing was seen of."""

    at_s: float
    """Since the faults began."""
    phase: Literal["soak", "settling"] = "soak"
    away: bool = False
    """The ledger was, for some of the time since the sample before."""
    busy: bool = False
    """So was the webhook."""
    memory_mb: float
    """Anonymous resident memory."""
    store_mb: float
    """Of the store's file, what was ever in use."""
    store_used_mb: float
    pending: int
    parked: int
    accepted_per_s: float
    delivered_per_s: float
    calm_p50_ms: float | None = None
    """From acceptance to delivery, of what nothing goes wrong with."""
    calm_p99_ms: float | None = None
    stormy_p50_ms: float | None = None
    stormy_p99_ms: float | None = None
    loop_lag_p99_ms: float | None = None
    cpu: float
    """The hub's share of one processor."""
    fds: int
    behind_s: float
    """How late the latest request was made."""
    throttled: int
    """Entries so far."""
    scrape_ms: float
    """How long `/metrics` took."""


def samples_of(path: Path) -> list[Sample]:
    """Those of a file with one a line; a last line that was not written to its end is left out."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Sample) for line in lines if line.endswith(b"\n")]


class Arrivals(msgspec.Struct):
    """The audit of one route."""

    expected: int = 0
    """Acknowledged events that belong here."""
    lost: int = 0
    twice: int = 0
    """Deliveries of events that had come before."""
    unacknowledged: int = 0
    """Events that came although nobody was told that they would: their answer was lost on its way."""
    strays: int = 0
    """Events that belong elsewhere."""
    some_lost: list[int] = []


def audit(acknowledged: bytes, arrived: bytes, mask: bytes) -> Arrivals:
    """Compare what was acknowledged with what came on a route, which is for those of each period that `mask` says.

    In all of them a byte is an event; what lies beyond an end is 0."""
    found = Arrivals()
    whole = bytes([1]) * PERIOD
    per_period = mask.count(1)
    for start in range(0, max(len(acknowledged), len(arrived)), PERIOD):
        put = acknowledged[start : start + PERIOD].ljust(PERIOD, b"\0")
        came = arrived[start : start + PERIOD].ljust(PERIOD, b"\0")
        if put == whole and came == mask:
            found.expected += per_period
        elif any(put) or any(came):
            _audit_period(found, start, (put, came, mask))
    return found


def _audit_period(found: Arrivals, start: int, period: tuple[bytes, bytes, bytes]) -> None:
    for number, (put, came, belongs) in enumerate(zip(*period, strict=True), start):
        if not belongs:
            found.strays += came > 0
            continue
        found.expected += put > 0
        found.unacknowledged += came > 0 and not put
        found.twice += max(0, came - 1)
        if put and not came:
            found.lost += 1
            if len(found.some_lost) < LOST_SHOWN_MAX:
                found.some_lost.append(number)


class Ending(msgspec.Struct, kw_only=True):
    """What is known once the run is over."""

    minutes: float
    rate: float
    saturation: float | None
    """Events a second; None where it was not looked for."""
    acknowledged: int
    throttled: int
    refused: int
    unanswered: int
    error: str = ""
    """What the last entry or request that failed said."""
    routes: dict[str, Arrivals]
    pending: int
    dead_letters_kept: int
    sink_bugs: int
    faults: dict[str, int]
    """Attempts that each profile did something to."""
    settled_s: float
    """From the last request until everything had arrived."""
    verified: str
    """`good`, or what `crossbus store verify` said last."""
    p99_ms: dict[str, float | None]
    """By bus, while the ledger is away and otherwise."""


class Line(msgspec.Struct, frozen=True):
    """One line of the verdict; `good` is None where nothing is asked."""

    what: str
    asked: str
    reached: str
    good: bool | None = None


class Growth(msgspec.Struct, frozen=True):
    """How something went on in the second half of a run."""

    warm: float
    """At minute 5, or in the middle of a shorter run."""
    end: float
    per_h: float
    rise: float
    """Of the fitted line, from the middle to the end."""

    def flat(self, per_h_max: float, noise: float) -> bool:
        return self.per_h <= per_h_max or self.rise <= noise


def growth(rows: Sequence[tuple[float, float]]) -> Growth | None:
    """Of rows with a moment in seconds and a value. None where there are too few of them."""
    if len(rows) < 4:
        return None
    first_s, last_s = rows[0][0], rows[-1][0]
    middle_s = (first_s + last_s) / 2
    late = [row for row in rows if row[0] >= middle_s]
    slope = linear_regression([at for at, _ in late], [value for _, value in late]).slope
    warm_s = min(WARM_S, middle_s)
    warm = next(number for number, (at, _) in enumerate(rows) if at >= warm_s)
    # Three samples each, so that one spike is not called the size.
    around = rows[max(0, warm - 1) : warm + 2]
    return Growth(
        warm=median(value for _, value in around),
        end=median(value for _, value in rows[-3:]),
        per_h=slope * 3600,
        rise=slope * (last_s - late[0][0]),
    )


def verdict(samples: Sequence[Sample], ending: Ending) -> list[Line]:
    """What must hold, and what is only told."""
    return [*_audit_lines(ending), _fault_line(ending), *_size_lines(samples), *_told(samples, ending)]


def good(lines: Sequence[Line]) -> bool:
    return all(line.good is not False for line in lines)


def _audit_lines(ending: Ending) -> Iterator[Line]:
    routes = ending.routes
    lost = sum(one.lost for one in routes.values())
    some = [str(number) for one in routes.values() for number in one.some_lost]
    reached = f"{lost:,} of {ending.acknowledged:,}" + (f" (events {', '.join(some[:LOST_SHOWN_MAX])})" if some else "")
    yield Line("acknowledged events that were lost", "0", reached, lost == 0)
    expected = sum(one.expected for one in routes.values())
    yield Line("events with a route", f"{ending.acknowledged:,}", f"{expected:,}", expected == ending.acknowledged)
    strays = sum(one.strays for one in routes.values())
    yield Line("events where they do not belong", "0", f"{strays:,}", strays == 0)
    yield Line("pending at the end", "0", f"{ending.pending:,}", ending.pending == 0)
    kept = ending.dead_letters_kept
    yield Line("dead letters that no queue took", "0", f"{kept:,}", kept == 0)
    yield Line("exceptions of sinks", "0", f"{ending.sink_bugs:,}", ending.sink_bugs == 0)
    failed = f"{ending.refused:,}" + (f" ({ending.error})" if ending.refused else "")
    yield Line("entries refused, but for throttling", "0", failed, ending.refused == 0)
    yield Line("the store, verified after the end", "good", ending.verified, ending.verified == "good")


def _fault_line(ending: Ending) -> Line:
    idle = ", ".join(sorted(name for name, count in ending.faults.items() if not count)) or "none"
    # In a short run the dice may spare somebody.
    judged = ending.minutes * 60 >= JUDGED_S_MIN
    return Line("fault profiles that did nothing", "none", idle, idle == "none" if judged else None)


def _size_lines(samples: Sequence[Sample]) -> Iterator[Line]:
    rows = [one for one in samples if one.phase == "soak"]
    most_mb = max((one.memory_mb for one in samples), default=0.0)
    yield Line("anonymous memory, at most", f"{MEMORY_MB_MAX:g} MB", f"{most_mb:.1f} MB", most_mb <= MEMORY_MB_MAX)
    for what, attribute, per_h_max, noise in (
        ("anonymous memory", "memory_mb", MEMORY_MB_PER_H_MAX, MEMORY_MB_NOISE),
        ("the store's pages in use", "store_used_mb", STORE_MB_PER_H_MAX, STORE_MB_NOISE),
        ("the store's file", "store_mb", STORE_MB_PER_H_MAX, STORE_MB_NOISE),
    ):
        found = growth([(one.at_s, getattr(one, attribute)) for one in rows])
        if found is None:
            yield Line(what, "flat", "too few samples")
            continue
        seconds = rows[-1].at_s - rows[0].at_s
        judged = seconds >= JUDGED_S_MIN - 30
        reached = f"{found.warm:.1f} MB when warm, {found.end:.1f} MB at the end, {found.per_h:+.1f} MB/h"
        yield Line(
            what,
            f"at most {per_h_max:g} MB/h, or {noise:g} MB in all",
            reached + ("" if judged else f" (not judged before {JUDGED_S_MIN / 60:g} minutes)"),
            found.flat(per_h_max, noise) if judged else None,
        )


def _told(samples: Sequence[Sample], ending: Ending) -> Iterator[Line]:
    for name, one in ending.routes.items():
        note = f", {one.unacknowledged:,} came without an answer" if one.unacknowledged else ""
        what = "dead letters in their queue" if name == "failed" else f"route {name}"
        yield Line(what, "", f"{one.expected:,} events, {one.twice:,} deliveries twice{note}")
    yield Line("entries throttled", "", f"{ending.throttled:,}")
    yield Line("events of requests without an answer", "", f"{ending.unanswered:,}")
    for name, p99_ms in ending.p99_ms.items():
        yield Line(f"p99 to delivery, {name}", "", "–" if p99_ms is None else f"{p99_ms:,.1f} ms")
    rows = [one for one in samples if one.phase == "soak"]
    if rows:
        yield Line("the hub's share of a processor, median", "", f"{median(one.cpu for one in rows):.0%}")
        lags = [one.loop_lag_p99_ms for one in rows if one.loop_lag_p99_ms is not None]
        yield Line("p99 of the event loop's lag, median", "", f"{median(lags):.1f} ms" if lags else "–")
        yield Line("parked, at most", "", f"{max(one.parked for one in rows):,}")
        yield Line("open files, at most", "", f"{max(one.fds for one in rows):,}")
        late = sum(one.behind_s > BEHIND_S_MAX for one in rows)
        most_s = max(one.behind_s for one in rows)
        kept = f"no: {late} of {len(rows)} samples" if late else "yes"
        yield Line("the client kept the pace", "", f"{kept}, latest request {most_s * 1000:,.0f} ms after its time")
    yield Line("until all had arrived, after the last request", "", f"{ending.settled_s:.1f} s")


def markdown(lines: Sequence[Line], ending: Ending, machine: str) -> str:
    """The verdict as people read it."""
    found = "" if ending.saturation is None else f", saturation {ending.saturation:,.0f}"
    rows = [f"| {line.what} | {line.asked} | {line.reached} | {_word(line.good)} |" for line in lines]
    return "\n".join(
        [
            "# Soak",
            "",
            f"{ending.minutes:g} minutes at {ending.rate:,.0f} events a second{found}, faults on; hub, client and "
            f"targets share {machine}.",
            "",
            "| | asked | reached | |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Attempts that a fault profile did something to: "
            + ", ".join(f"{name} {count:,}" for name, count in sorted(ending.faults.items()))
            + ".",
            "",
        ]
    )


def _word(found: bool | None) -> str:
    return "" if found is None else "yes" if found else "**NO**"
