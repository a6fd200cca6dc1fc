"""Deliveries in the batches that a service takes: split by count and bytes, called one after the other, and each entry
by itself where a whole call is refused for what may be one entry's fault. Knows no service.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from router.sinks.base import Outcome, Rejected
from router.sinks.failures import Failure

T = TypeVar("T")

_PERHAPS_ONE_ENTRY = ("INVALID_PARAMETER", "ERROR_FROM_TARGET")


async def in_batches(
    entries: Sequence[T | Rejected],
    size: Callable[[T], int],
    call: Callable[[Sequence[T]], Awaitable[Sequence[Outcome] | Failure]],
    *,
    count_max: int,
    bytes_max: int,
) -> list[Outcome]:
    """One outcome for each entry, in order: `call`'s, or what is rejected already.

    `call` gets neighbours and gives one outcome for each, or one failure for all.
    """
    outcomes: list[Outcome] = []
    runs = runs_of([0 if isinstance(entry, Rejected) else size(entry) for entry in entries], count_max, bytes_max)
    for run in runs:
        batch = [entry for index in run if not isinstance(entry := entries[index], Rejected)]
        answers = iter(await _sent(batch, call))
        outcomes += [entry if isinstance(entry := entries[index], Rejected) else next(answers) for index in run]
    return outcomes


async def _sent(
    batch: Sequence[T], call: Callable[[Sequence[T]], Awaitable[Sequence[Outcome] | Failure]]
) -> Sequence[Outcome]:
    if not batch:
        return []
    answer = await call(batch)
    if isinstance(answer, Sequence):
        assert len(answer) == len(batch), "a call gives one outcome for each entry"
        return answer
    if len(batch) > 1 and isinstance(answer, Rejected) and answer.code in _PERHAPS_ONE_ENTRY:
        return [outcome for entry in batch for outcome in await _sent([entry], call)]
    return [answer] * len(batch)


def runs_of(sizes: Sequence[int], count_max: int, bytes_max: int) -> Iterator[range]:
    """Runs of neighbours with at most `count_max` members and `bytes_max` bytes; one that is too large is alone."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == count_max or total + size > bytes_max):
            yield range(start, index)
            start, total = index, 0
        total += size
    if sizes:
        yield range(start, len(sizes))
