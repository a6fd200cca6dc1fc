"""What every sink must do. The test of one that calls out runs each of `FACTS` with its own `Case`; the test of one
whose target is in this hub runs each of `LOCAL_FACTS` with its own `LocalCase`.
"""

import asyncio
import email.utils
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec

from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable, Sink
from router.store.base import Batch, Store
from router.world import RealWorld
from tests.sinks.fakes import SECRET, TOKEN, Answer, always, drip, echo, hang, refused_url, reset, serving


class Case(msgspec.Struct, frozen=True):
    """`sink(url, timeout_s)` calls a server there; `success` answers as the service does when all is well."""

    sink: Callable[[str, float], AbstractAsyncContextManager[Sink]]
    attempt: Callable[[int], Attempt]
    success: Answer
    secrets: tuple[str, ...] = (SECRET, TOKEN)


Fact = Callable[[Case], Awaitable[None]]


async def _sent(case: Case, answer: Answer, *, count: int, timeout_s: float = 5.0) -> list[Outcome]:
    async with serving(answer) as server, case.sink(server.url, timeout_s) as sink:
        return await sink.send([case.attempt(index) for index in range(count)])


async def success_delivers_each_attempt(case: Case) -> None:
    async with serving(case.success) as server, case.sink(server.url, 5.0) as sink:
        outcomes = await sink.send([case.attempt(index) for index in range(sink.batch_max)])
        assert outcomes == [Delivered()] * sink.batch_max
        assert server.requests


async def connection_refused_is_retryable(case: Case) -> None:
    async with refused_url() as url, case.sink(url, 5.0) as sink:
        outcomes = await sink.send([case.attempt(index) for index in range(3)])
    assert [(type(outcome), _code(outcome)) for outcome in outcomes] == [(Retryable, "CONNECTION_FAILURE")] * 3


async def reset_connection_is_retryable(case: Case) -> None:
    outcomes = await _sent(case, reset, count=2)
    assert [(type(outcome), _code(outcome)) for outcome in outcomes] == [(Retryable, "CONNECTION_FAILURE")] * 2


async def no_answer_until_the_deadline_is_a_retryable_timeout(case: Case) -> None:
    outcomes = await _sent(case, hang, count=3, timeout_s=0.2)
    assert [(type(outcome), _code(outcome)) for outcome in outcomes] == [(Retryable, "TIMEOUT")] * 3


async def the_deadline_is_for_the_whole_answer_and_not_for_each_part_of_it(case: Case) -> None:
    started = asyncio.get_running_loop().time()
    outcomes = await _sent(case, drip, count=2, timeout_s=0.3)
    assert [(type(outcome), _code(outcome)) for outcome in outcomes] == [(Retryable, "TIMEOUT")] * 2
    assert asyncio.get_running_loop().time() - started < 5, "a drip would go on for an hour"


async def server_errors_are_retryable(case: Case) -> None:
    for status in (500, 502, 503, 504):
        outcomes = await _sent(case, always(status, "<html>oops"), count=2)
        assert [(type(outcome), _code(outcome)) for outcome in outcomes] == [(Retryable, "ERROR_FROM_TARGET")] * 2


async def too_many_requests_is_retryable_and_retry_after_is_handed_on(case: Case) -> None:
    outcomes = await _sent(case, always(429, "slow down", Retry_After="7"), count=2)
    assert [_code(outcome) for outcome in outcomes] == ["THROTTLING"] * 2
    assert [outcome.retry_after_s for outcome in outcomes if isinstance(outcome, Retryable)] == [7.0] * 2


async def the_date_of_a_retry_after_is_handed_on_as_the_time_until_then(case: Case) -> None:
    for status in (429, 503):
        date = email.utils.formatdate(RealWorld().now_ms() / 1000 + 600, usegmt=True)
        [outcome] = await _sent(case, always(status, "slow down", Retry_After=date), count=1)
        assert isinstance(outcome, Retryable)
        assert outcome.retry_after_s is not None
        assert 500 < outcome.retry_after_s <= 600, (status, outcome)


async def redirects_are_not_followed(case: Case) -> None:
    async with serving(case.success) as elsewhere:
        outcomes = await _sent(case, always(302, Location=elsewhere.url), count=1)
        assert [type(outcome) for outcome in outcomes] == [Rejected]
        assert elsewhere.requests == []


async def nonsense_gives_an_outcome_for_each_attempt(case: Case) -> None:
    for body in (b"", b"not json \xff", b"[]", b'{"Successful":7}', b"<a><b></a>", b"\x00" * 2_000_000):
        for status in (200, 400, 418, 599):
            outcomes = await _sent(case, always(status, body), count=2)
            assert len(outcomes) == 2, (status, body[:20])
            if status != 200:
                assert not any(isinstance(outcome, Delivered) for outcome in outcomes), (status, body[:20])


async def secrets_are_in_no_outcome_and_no_repr(case: Case) -> None:
    async with serving(echo) as server, case.sink(server.url, 5.0) as sink:
        outcomes = await sink.send([case.attempt(0)])
        shown = f"{outcomes!r} {sink!r} {vars(sink)!r}"
    assert [secret for secret in case.secrets if secret in shown] == []


FACTS: list[Fact] = [
    success_delivers_each_attempt,
    connection_refused_is_retryable,
    reset_connection_is_retryable,
    no_answer_until_the_deadline_is_a_retryable_timeout,
    the_deadline_is_for_the_whole_answer_and_not_for_each_part_of_it,
    server_errors_are_retryable,
    too_many_requests_is_retryable_and_retry_after_is_handed_on,
    the_date_of_a_retry_after_is_handed_on_as_the_time_until_then,
    redirects_are_not_followed,
    nonsense_gives_an_outcome_for_each_attempt,
    secrets_are_in_no_outcome_and_no_repr,
]


class LocalCase(msgspec.Struct, frozen=True):
    """`bad` can never be delivered; `arrived` has the ids of the events that are at the target, durably."""

    sink: Sink
    store: Store
    attempt: Callable[[int], Attempt]
    bad: Attempt
    arrived: Callable[[], list[str]]

    async def settle(self, outcomes: list[Outcome]) -> None:
        """As the pipeline does: everything in one commit."""
        batch = Batch(essential=True)
        for outcome in outcomes:
            if isinstance(outcome, Delivered) and outcome.effects is not None:
                batch.extend(outcome.effects)
        await self.store.commit(batch)


LocalFact = Callable[[LocalCase], Awaitable[None]]
_LOCAL_COUNT = 5


async def what_is_delivered_is_there_when_the_outcome_is_durable_and_not_before(case: LocalCase) -> None:
    attempts = [case.attempt(index) for index in range(_LOCAL_COUNT)]
    outcomes = await case.sink.send(attempts)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * _LOCAL_COUNT
    assert case.arrived() == []
    await case.settle(outcomes)
    assert sorted(case.arrived()) == sorted(attempt.accepted.event.id for attempt in attempts)


async def what_was_not_settled_is_there_once_after_the_next_try(case: LocalCase) -> None:
    attempts = [case.attempt(index) for index in range(_LOCAL_COUNT)]
    await case.sink.send(attempts)
    await case.settle(await case.sink.send(attempts))
    assert sorted(case.arrived()) == sorted(attempt.accepted.event.id for attempt in attempts)


async def one_that_cannot_be_delivered_fails_alone(case: LocalCase) -> None:
    outcomes = await case.sink.send([case.attempt(0), case.bad, case.attempt(1), case.bad])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected, Delivered, Rejected]
    await case.settle(outcomes)
    assert sorted(case.arrived()) == sorted(case.attempt(index).accepted.event.id for index in range(2))


async def a_batch_of_which_nothing_can_be_delivered_leaves_nothing(case: LocalCase) -> None:
    outcomes = await case.sink.send([case.bad, case.bad])
    assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected]
    await case.settle(outcomes)
    assert case.arrived() == []


LOCAL_FACTS: list[LocalFact] = [
    what_is_delivered_is_there_when_the_outcome_is_durable_and_not_before,
    what_was_not_settled_is_there_once_after_the_next_try,
    one_that_cannot_be_delivered_fails_alone,
    a_batch_of_which_nothing_can_be_delivered_leaves_nothing,
]


def _code(outcome: Outcome) -> str | None:
    return None if isinstance(outcome, Delivered) else outcome.code
