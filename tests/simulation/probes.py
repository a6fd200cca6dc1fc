"""When each lane's target was failing, as the calls show it, and whether it was left alone then.

A target is probed once so many of its calls in a row came to nothing; then it gets one call at a time, and after each a
pause of at least half of, and at most the whole of, a sixty-fourth of the time it has been failing: 0.1 s at least,
30 s at most. A target whose deliveries are not retried is not probed. A new process knows nothing of it.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from router.sinks.base import Retryable
from tests.simulation import scenario
from tests.simulation.ledger import LETTER, Ledger, Pair, Try

PAUSE_S_MAX = 30.0
LaneKey = tuple[str, ...]
Window = tuple[int, int]


class Call:
    """What a sink was asked at once; `failed`: none of it was any good."""

    __slots__ = ("ended_ms", "failed", "order", "process", "started_ms")

    def __init__(self, tries: Sequence[Try], lives_ended_ms: Sequence[int], now_ms: int) -> None:
        first = tries[0]
        self.process = first.process
        self.started_ms = first.started_ms
        self.order = (self.process, math.inf if first.ended is None else first.ended)
        cut_ms = lives_ended_ms[self.process] if self.process < len(lives_ended_ms) else now_ms
        self.ended_ms = cut_ms if first.ended_ms is None else first.ended_ms
        self.failed = all(isinstance(one.outcome, Retryable) for one in tries)


class Failing:
    """A target fails from the first to the last of these calls, in one process."""

    def __init__(self, calls: Sequence[Call], stop_ms: int) -> None:
        self.calls = calls
        self.stop_ms = stop_ms


def lane_of(pair: Pair) -> LaneKey:
    """All dead letters to a real queue go through one lane."""
    return (LETTER,) if pair.target_id.startswith(LETTER) else pair[1:]


class Probes:
    """See the module."""

    def __init__(self, ledger: Ledger, after_failures: int) -> None:
        self._after = after_failures
        self._calls = _calls(ledger)
        self._failing = {
            lane: [*_failing(calls, after_failures, ledger.now_ms())]
            for lane, calls in self._calls.items()
            if lane == (LETTER,) or scenario.policy(lane[0], lane[1]).attempts_max > 0
        }

    def busy(self, pair: Pair) -> Iterator[Window]:
        """When the pair's lane, being probed, had its one call under way, or paused."""
        for failing in self._failing.get(lane_of(pair), ()):
            begun_ms = failing.calls[self._after - 1].ended_ms
            for call in self._calls[lane_of(pair)]:
                if call.process == failing.calls[0].process and call.ended_ms >= begun_ms:
                    if call.started_ms < failing.stop_ms:
                        yield max(begun_ms, call.started_ms), call.ended_ms
                    if call.failed and call.ended_ms < failing.stop_ms:
                        yield call.ended_ms, call.ended_ms + _longest_ms(failing, call)

    def probed_after(self, pair: Pair, moment_ms: int) -> bool:
        """Whether the pair's target was being probed at some time after the moment."""
        return any(failing.stop_ms >= moment_ms for failing in self._failing.get(lane_of(pair), ()))

    def hammered(self) -> Iterator[str]:
        """Calls that came before the pause was over."""
        for lane, found in self._failing.items():
            for failing in found:
                probed = failing.calls[self._after - 1 :]
                starts = sorted(
                    call.started_ms
                    for call in self._calls[lane]
                    if call.process == probed[0].process and call.started_ms > probed[0].ended_ms
                )
                for call in probed:
                    until_ms = call.ended_ms + _longest_ms(failing, call) // 2 - 1
                    early = [start for start in starts if call.ended_ms < start < min(until_ms, failing.stop_ms)]
                    if early:
                        yield f"{lane} keeps failing and was called at {early[0]}, expected a pause until {until_ms}"

    @property
    def count(self) -> int:
        return sum(map(len, self._failing.values()))


def _longest_ms(failing: Failing, call: Call) -> int:
    return round(1000 * min(PAUSE_S_MAX, max(0.1, (call.ended_ms - failing.calls[0].ended_ms) / 64_000))) + 1


def _calls(ledger: Ledger) -> dict[LaneKey, list[Call]]:
    """Each lane's calls in the order in which they ended."""
    tries: defaultdict[int, list[Try]] = defaultdict(list)
    for known in ledger.tries.values():
        for one in known:
            tries[one.call].append(one)
    found: defaultdict[LaneKey, list[Call]] = defaultdict(list)
    for ones in tries.values():
        found[lane_of(ones[0].pair)].append(Call(ones, ledger.lives_ended_ms, ledger.now_ms()))
    return {lane: sorted(calls, key=lambda call: call.order) for lane, calls in found.items()}


def _failing(calls: Sequence[Call], after: int, now_ms: int) -> Iterator[Failing]:
    row: list[Call] = []
    for call in calls:
        if row and (call.process != row[-1].process or not call.failed):
            if len(row) >= after:
                yield Failing(row, call.ended_ms)
            row = []
        if call.failed:
            row.append(call)
    if len(row) >= after:
        yield Failing(row, now_ms)
