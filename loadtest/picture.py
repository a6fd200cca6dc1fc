"""The goals as a picture: an SVG with a bar for each path, and a mark where its goal is.

Above, events a CPU second, which must reach the mark; below, latencies, memory and start as shares of their limits,
which must not.
"""

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from loadtest.goals import Goal, Line

_WIDTH = 960
_LEFT = 430
_BARS = 380
_STEP = 26
_BAR = 16
_MET = "#2f7d5b"
_MISSED = "#c2571a"
_INK = "#1f2933"
_FAINT = "#66717d"
_OVER = 1.25
"""How far beyond the mark the lower panel goes."""


def draw(lines: Sequence[Line], caption: str) -> str:
    """The picture's text; `caption` says what it was measured on."""
    measured = [(line, goal) for line in lines for goal in line.goals if goal.figure in line.medians]
    floors = [pair for pair in measured if pair[1].is_floor]
    limits = [pair for pair in measured if not pair[1].is_floor]
    parts: list[str] = []
    y = 40
    if floors:
        most = max(max(line.medians[goal.figure], goal.bound) for line, goal in floors)
        parts += _panel("events a CPU second of the hub; the mark is the floor", y, _rows(floors, most))
        y += 36 + _STEP * len(floors)
    if limits:
        parts += _panel("share of the limit, which is the mark: shorter is better", y, _shares(limits))
        y += 36 + _STEP * len(limits)
    parts.append(_text(20, y, caption, size=11, colour=_FAINT))
    height = y + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img" aria-labelledby="title">'
    )
    frame = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join(
        (head, '<title id="title">crossbus: goals and what is reached</title>', frame, *parts, "</svg>", "")
    )


_Bar = tuple[str, float, float, str, bool]
"""Label, length and mark as shares of the panel's width, the text behind the bar, whether the goal is met."""


def _rows(floors: Sequence[tuple[Line, Goal]], most: float) -> Iterator[_Bar]:
    for line, goal in floors:
        value = line.medians[goal.figure]
        yield line.path, value / most, goal.bound / most, f"{value:,.0f}", goal.is_met(value)


def _shares(limits: Sequence[tuple[Line, Goal]]) -> Iterator[_Bar]:
    for line, goal in limits:
        value = line.medians[goal.figure]
        share = value / goal.bound
        label = f"{line.path}: {goal}" if line.name != "saturated" else f"{line.path}"
        yield label, min(1.0, share / _OVER), 1 / _OVER, f"{value:g} of {goal.bound:g}", goal.is_met(value)


def _panel(title: str, y: int, bars: Iterator[_Bar]) -> list[str]:
    parts = [_text(20, y, title, size=14, weight="600")]
    for number, (label, length, mark, text, is_met) in enumerate(bars):
        top = y + 14 + number * _STEP
        width = max(1.0, length * _BARS)
        at = _LEFT + mark * _BARS
        parts += (
            _text(_LEFT - 10, top + 13, label, anchor="end"),
            f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{_MET if is_met else _MISSED}"/>',
            f'<path d="M{at:.1f} {top - 3}V{top + _BAR + 3}" stroke="{_INK}" stroke-width="2"/>',
            _text(_LEFT + max(width, mark * _BARS) + 10, top + 13, text + ("" if is_met else " (missed)")),
        )
    return parts


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = _INK, weight: str = "400"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
