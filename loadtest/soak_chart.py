"""The chart of a soak: what the samples say over time, one panel a quantity, with the times of what went wrong shaded.

An SVG of its own, without a script or a font; every series has a point a sample, and a gap where nothing was seen.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import ceil, floor, log10

import msgspec

from loadtest.soak_verdict import Sample

_WIDTH = 960
_LEFT, _RIGHT = 78, 14
_TOP = 46
_PANEL, _GAP = 118, 44
_BOTTOM = 40
_PLOT = _WIDTH - _LEFT - _RIGHT
_COLORS = ("#1f5fa8", "#c2571a")
_AWAY, _BUSY = "#f3c9c9", "#f7e7b4"
_INK, _GRID = "#222222", "#dddddd"
_LOG_LEAST = 0.1

Values = list[float | None]


class Panel(msgspec.Struct, frozen=True):
    """One quantity with its unit; a logarithmic axis where `log` says so."""

    title: str
    series: list[tuple[str, Values]]
    log: bool = False


def panels(samples: Sequence[Sample]) -> list[Panel]:
    """What the chart shows, from top to bottom."""

    def of(attribute: str) -> Values:
        return [getattr(one, attribute) for one in samples]

    return [
        Panel("events a second", [("accepted", of("accepted_per_s")), ("delivered", of("delivered_per_s"))]),
        Panel(
            "acceptance to delivery, bus `calm`, ms",
            [("p50", of("calm_p50_ms")), ("p99", of("calm_p99_ms"))],
            log=True,
        ),
        Panel(
            "acceptance to delivery, bus `stormy`, ms",
            [("p50", of("stormy_p50_ms")), ("p99", of("stormy_p99_ms"))],
            log=True,
        ),
        Panel("anonymous memory of the hub, MB", [("memory", of("memory_mb"))]),
        Panel("store, MB", [("file, ever in use", of("store_mb")), ("pages in use", of("store_used_mb"))]),
        Panel("deliveries parked", [("parked", of("parked"))]),
    ]


def chart(samples: Sequence[Sample], *, title: str = "Soak") -> str:
    """The SVG. Raises ValueError without samples."""
    if not samples:
        raise ValueError("there are no samples to draw")
    drawn = panels(samples)
    height = _TOP + len(drawn) * (_PANEL + _GAP) + _BOTTOM
    times = _Times(samples)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 20, title, size=15, bold=True),
        f'<rect x="{_WIDTH - 350}" y="10" width="12" height="12" fill="{_AWAY}"/>',
        _text(_WIDTH - 332, 20, "ledger away"),
        f'<rect x="{_WIDTH - 240}" y="10" width="12" height="12" fill="{_BUSY}"/>',
        _text(_WIDTH - 222, 20, "webhook takes half of what comes"),
    ]
    for number, panel in enumerate(drawn):
        top = _TOP + number * (_PANEL + _GAP) + 20
        parts += _panel(panel, top, times, samples)
    base = _TOP + len(drawn) * (_PANEL + _GAP)
    parts.append(_text(_LEFT + _PLOT / 2, base + 14, "minutes since the faults began", anchor="middle"))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


class _Times:
    """The horizontal axis: all panels have it."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.start_s = min(0.0, samples[0].at_s)
        self.end_s = max(samples[-1].at_s, self.start_s + 1)

    def x(self, at_s: float) -> float:
        return _LEFT + _PLOT * (at_s - self.start_s) / (self.end_s - self.start_s)

    def ticks(self) -> Iterator[tuple[float, str]]:
        minutes = (self.end_s - self.start_s) / 60
        step = next((step for step in (0.25, 0.5, 1, 2, 5, 10, 15, 30) if minutes / step <= 12), 60)
        for number in range(floor(minutes / step) + 1):
            yield self.x(number * step * 60), f"{number * step:g}"


class _Scale:
    """The vertical axis of a panel: from 0, or in powers of ten."""

    def __init__(self, panel: Panel) -> None:
        values = [value for _, row in panel.series for value in row if value is not None]
        most = max(values, default=1.0)
        self.log = panel.log
        if panel.log:
            least = max(min((value for value in values if value > 0), default=1.0), _LOG_LEAST)
            self.low, self.high = float(floor(log10(least))), float(ceil(log10(max(most, least * 1.01))))
            self.ticks = [10.0**power for power in range(int(self.low), int(self.high) + 1)]
        else:
            step = _round_up(max(most, 1e-9) / 4)
            self.low, self.high = 0.0, step * max(1, ceil(most / step))
            self.ticks = [step * number for number in range(round(self.high / step) + 1)]

    def share(self, value: float) -> float:
        if self.log:
            value = log10(max(value, 10.0**self.low))
        return (value - self.low) / (self.high - self.low)


def _round_up(value: float) -> float:
    """To 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= value * 0.999999)


def _panel(panel: Panel, top: float, times: _Times, samples: Sequence[Sample]) -> list[str]:
    scale = _Scale(panel)

    def y(value: float) -> float:
        return top + _PANEL * (1 - scale.share(value))

    parts = [_text(_LEFT, top - 7, panel.title, bold=True)]
    parts += [*_shades(samples, times, top, "away", _AWAY), *_shades(samples, times, top, "busy", _BUSY)]
    for tick in scale.ticks:
        parts.append(_line(_LEFT, y(tick), _LEFT + _PLOT, y(tick), _GRID))
        parts.append(_text(_LEFT - 6, y(tick) + 4, f"{tick:,.10g}", anchor="end"))
    for x, label in times.ticks():
        parts.append(_line(x, top + _PANEL, x, top + _PANEL + 4, _INK))
        parts.append(_text(x, top + _PANEL + 16, label, anchor="middle"))
    parts.append(_line(_LEFT, top, _LEFT, top + _PANEL, _INK))
    parts.append(_line(_LEFT, top + _PANEL, _LEFT + _PLOT, top + _PANEL, _INK))
    for number, (label, values) in enumerate(panel.series):
        color = _COLORS[number]
        parts += _curve([(times.x(one.at_s), value) for one, value in zip(samples, values, strict=True)], y, color)
        if len(panel.series) > 1:
            x = _LEFT + _PLOT - 130 * (len(panel.series) - number)
            parts.append(f'<rect x="{x}" y="{top - 17}" width="14" height="4" fill="{color}"/>')
            parts.append(_text(x + 19, top - 10, label))
    return parts


def _curve(points: Sequence[tuple[float, float | None]], y: Callable[[float], float], color: str) -> Iterator[str]:
    """One line for each run of samples that have a value; one that stands alone is a dot."""
    for known, run in groupby(points, lambda point: point[1] is not None):
        if not known:
            continue
        drawn = [(x, y(value)) for x, value in run if value is not None]
        if len(drawn) == 1:
            yield f'<circle cx="{drawn[0][0]:.1f}" cy="{drawn[0][1]:.1f}" r="1.5" fill="{color}"/>'
        else:
            shown = " ".join(f"{x:.1f},{at:.1f}" for x, at in drawn)
            yield f'<polyline points="{shown}" fill="none" stroke="{color}" stroke-width="1.4"/>'


def _shades(samples: Sequence[Sample], times: _Times, top: float, attribute: str, color: str) -> Iterator[str]:
    before_s = times.start_s
    for one in samples:
        if getattr(one, attribute):
            x = times.x(before_s)
            width = times.x(one.at_s) - x
            yield f'<rect x="{x:.1f}" y="{top:g}" width="{width:.2f}" height="{_PANEL}" fill="{color}"/>'
        before_s = one.at_s


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    shown = text.replace("&", "&amp;").replace("<", "&lt;")
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight}>{shown}</text>'
