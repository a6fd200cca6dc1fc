"""The simulated CloudWatch Logs: groups, streams, events, over the inboxes.

A log group appears on first use and keeps its events until it is deleted or full. What rules deliver goes to one stream
a group, `DELIVERY_STREAM`; streams of other names are created by CreateLogStream and filled by PutLogEvents. Events lie
in the order in which they came in; within one answer they are sorted by their own time. A call looks at a bounded
number of events, so that FilterLogEvents may answer few or none with a `nextToken`, as on AWS.
`kmsKeyId`, linked accounts and classes other than STANDARD are refused; tags are kept.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from router import limits
from router.aws.errors import InvalidParameterException
from router.core.arn import InvalidArn, log_group_arn, parse
from router.core.event import Location
from router.errors import (
    LimitExceededException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    ServiceUnavailable,
)
from router.simulator.filter_patterns import compile_filter
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.log_search import Search, number_of, read_backward, read_forward
from router.simulator.records import (
    DELAYED,
    DELIVERY_STREAM,
    Draft,
    InboxRecord,
    Message,
    StreamTally,
    resource_name,
    time_ms_of,
)
from router.sinks.base import Rejected, Retryable
from router.store.base import Batch, StoreError

if TYPE_CHECKING:
    from router.aws.service import Caller

_STREAMS_MAX = 10_000
_DESCRIBE_MAX = 50
_EVENTS_MAX = 10_000
_PUT_EVENTS_BYTES_MAX = limits.LOG_EVENT_BYTES_MAX
_PUT_EVENT_OVERHEAD_BYTES = 26
_TOO_OLD_MS = 14 * 86_400_000
_TOO_NEW_MS = 2 * 3_600_000
_SPAN_MS_MAX = 86_400_000
_NAME = re.compile(r"[._/#A-Za-z0-9-]{1,512}")
_T = TypeVar("_T")

Action = Callable[["Caller", dict[str, Any]], Awaitable[dict[str, Any]]]


class Logs:
    """The actions."""

    def __init__(self, inboxes: Inboxes) -> None:
        self._inboxes = inboxes

    # groups and streams

    async def create_group(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        if request.get("kmsKeyId"):
            raise InvalidParameterException("This hub has no keys to encrypt log groups with: kmsKeyId.")
        if request.get("logGroupClass", "STANDARD") != "STANDARD" or request.get("deletionProtectionEnabled"):
            raise InvalidParameterException("This hub has log groups of class STANDARD, without deletion protection.")
        name = request["logGroupName"]
        if _NAME.fullmatch(name) is None:
            raise InvalidParameterException(f"Expected a log group name of [._/#A-Za-z0-9-]{{1,512}}, got {name!r}.")
        arn = log_group_arn(_location(caller), name)
        _, new = await _saved(self._inboxes.create(arn, "logs", {}, request.get("tags") or {}))
        if not new:
            raise ResourceAlreadyExistsException("The specified log group already exists")
        return {}

    async def delete_group(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(caller, request)
        if not await _saved(self._inboxes.delete(group.record.arn)):
            raise ResourceNotFoundException("The specified log group does not exist.")
        return {}

    async def describe_groups(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        if request.get("accountIdentifiers") or request.get("includeLinkedAccounts"):
            raise InvalidParameterException("This hub links no accounts: accountIdentifiers, includeLinkedAccounts.")
        prefix = request.get("logGroupNamePrefix")
        part = request.get("logGroupNamePattern")
        if prefix and part:
            raise InvalidParameterException("LogGroup name prefix and LogGroup name pattern are mutually exclusive.")
        arns = self._inboxes.arns(log_group_arn(_location(caller), prefix or ""))
        if part:
            arns = [arn for arn in arns if part.lower() in resource_name(arn).lower()]
        wanted = request.get("logGroupIdentifiers")
        if wanted is not None:
            names = {_plain(caller, one) for one in wanted}
            arns = [arn for arn in arns if arn in names]
        if request.get("logGroupClass", "STANDARD") != "STANDARD":
            arns = []
        arns, token = _page(arns, request)
        groups = [_group_answer(inbox) for arn in arns if (inbox := self._inboxes.find(arn)) is not None]
        return {"logGroups": groups, **token}

    async def create_stream(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(caller, request)
        name = request["logStreamName"]
        now_ms = self._inboxes.world.now_ms()

        def edit(record: InboxRecord) -> InboxRecord:
            if name in record.streams or name in group.streams:
                raise ResourceAlreadyExistsException("The specified log stream already exists")
            if len(record.streams) >= _STREAMS_MAX:
                raise LimitExceededException(f"The log group has {_STREAMS_MAX} streams, the most it may have.")
            return replace(record, streams={**record.streams, name: now_ms})

        await _saved(self._inboxes.change(group, edit))
        return {}

    async def describe_streams(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(caller, request)
        streams = _streams(group)
        prefix = request.get("logStreamNamePrefix") or ""
        by_time = request.get("orderBy") == "LastEventTime"
        if by_time and prefix:
            raise InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
        names = sorted(name for name in streams if name.startswith(prefix))
        if by_time:
            names.sort(key=lambda name: streams[name].last_ms)
        if request.get("descending"):
            names.reverse()
        start = number_of(request.get("nextToken"), "s/") or 0
        limit = request.get("limit") or _DESCRIBE_MAX
        answer: dict[str, Any] = {
            "logStreams": [_stream_answer(group, name, streams[name]) for name in names[start : start + limit]]
        }
        if start + limit < len(names):
            answer["nextToken"] = f"s/{start + limit}"
        return answer

    # events

    async def put_events(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(caller, request)
        stream = request["logStreamName"]
        if stream not in group.record.streams and stream not in group.streams:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        events: list[dict[str, Any]] = request["logEvents"]
        _check_put(events)
        now_ms = self._inboxes.world.now_ms()
        old = sum(event["timestamp"] < now_ms - _TOO_OLD_MS for event in events)
        new = sum(event["timestamp"] > now_ms + _TOO_NEW_MS for event in events)
        drafts = [
            Draft(event["message"].encode(), stream=stream, timestamp_ms=event["timestamp"])
            for event in events[old : len(events) - new]
        ]
        batch = Batch()
        outcomes = self._inboxes.deposit_many(batch, group.record.arn, drafts)
        refused = next((one for one in outcomes if isinstance(one, Retryable | Rejected)), None)
        if refused is not None:
            raise ServiceUnavailable(refused.message)
        if batch.ops:
            await _saved(self._inboxes.store.commit(batch))
        answer: dict[str, Any] = {"nextSequenceToken": f"{self._inboxes.store.sequences(0):056d}"}
        rejected = {}
        if old:
            rejected["tooOldLogEventEndIndex"] = old
        if new:
            rejected["tooNewLogEventStartIndex"] = len(events) - new
        return answer | ({"rejectedLogEventsInfo": rejected} if rejected else {})

    async def filter_events(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        group = self._group(caller, request)
        names = request.get("logStreamNames")
        prefix = request.get("logStreamNamePrefix")
        if names and prefix:
            raise InvalidParameterException("logStreamNames and logStreamNamePrefix are mutually exclusive.")
        if request.get("startFromHead") is False:
            raise InvalidParameterException("This hub filters log events from the oldest on: startFromHead.")
        from_ms, to_ms = _times(request)
        search = Search(
            from_ms,
            to_ms,
            names=frozenset(names) if names else None,
            prefix=prefix,
            test=compile_filter(request.get("filterPattern") or ""),
            limit=request.get("limit") or _EVENTS_MAX,
        )
        position = await read_forward(self._inboxes, group, number_of(request.get("nextToken"), "p/") or 0, search)
        answer: dict[str, Any] = {
            "events": [
                {
                    "logStreamName": row.message.stream or DELIVERY_STREAM,
                    **_event_answer(row.message),
                    "eventId": f"{row.position:056d}",
                }
                for row in search.sorted()
            ],
            "searchedLogStreams": [],
        }
        if self._inboxes.rows(group, position, DELAYED, limit=1):
            answer["nextToken"] = f"p/{position}"
        return answer

    async def get_events(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        """By default the latest events; `startFromHead` the oldest. Tokens go on in either direction."""
        group = self._group(caller, request)
        stream = request["logStreamName"]
        if stream not in group.record.streams and stream not in group.streams:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        from_ms, to_ms = _times(request)
        search = Search(
            from_ms,
            None if to_ms is None else to_ms - 1,
            names=frozenset((stream,)),
            limit=request.get("limit") or _EVENTS_MAX,
        )
        token = request.get("nextToken")
        if token:
            forward = token.startswith("f/")
            position = number_of(token, "f/" if forward else "b/") or 0
        else:
            forward = bool(request.get("startFromHead"))
            position = 0 if forward else self._inboxes.store.sequences(0)
        low = high = position
        if forward:
            high = await read_forward(self._inboxes, group, position, search)
        else:
            low = await read_backward(self._inboxes, group, position, search)
        return {
            "events": [_event_answer(row.message) for row in search.sorted()],
            "nextForwardToken": f"f/{high:056d}",
            "nextBackwardToken": f"b/{low:056d}",
        }

    def _group(self, caller: "Caller", request: dict[str, Any]) -> Inbox:
        given = [request[key] for key in ("logGroupName", "logGroupIdentifier") if request.get(key) is not None]
        if len(given) != 1:
            raise InvalidParameterException("Exactly one of logGroupName and logGroupIdentifier must be specified.")
        group = self._inboxes.find(_plain(caller, given[0]))
        if group is None:
            raise ResourceNotFoundException("The specified log group does not exist.")
        return group


def operations(inboxes: Inboxes) -> dict[str, Action]:
    """The actions by name; each takes a request that the wire has checked against the model of CloudWatch Logs."""
    logs = Logs(inboxes)
    return {
        "CreateLogGroup": logs.create_group,
        "DeleteLogGroup": logs.delete_group,
        "DescribeLogGroups": logs.describe_groups,
        "CreateLogStream": logs.create_stream,
        "DescribeLogStreams": logs.describe_streams,
        "PutLogEvents": logs.put_events,
        "FilterLogEvents": logs.filter_events,
        "GetLogEvents": logs.get_events,
    }


def _location(caller: "Caller") -> Location:
    return Location(caller.account, caller.region)


def _plain(caller: "Caller", identifier: str) -> str:
    """The ARN that a name or an ARN, with or without `:*`, means; raises InvalidParameterException."""
    if not identifier.startswith("arn:"):
        return log_group_arn(_location(caller), identifier)
    try:
        parse(identifier)
    except InvalidArn as error:
        raise InvalidParameterException(str(error)) from error
    return identifier.removesuffix(":*")


def _page(arns: list[str], request: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """One page of sorted ARNs, and the token of the next where there is one."""
    start = number_of(request.get("nextToken"), "g/") or 0
    end = start + (request.get("limit") or _DESCRIBE_MAX)
    return arns[start:end], {"nextToken": f"g/{end}"} if end < len(arns) else {}


def _group_answer(group: Inbox) -> dict[str, Any]:
    arn = group.record.arn
    return {
        "logGroupName": resource_name(arn),
        "creationTime": group.record.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": sum(tally.bytes for tally in group.streams.values()),
        "logGroupClass": "STANDARD",
    }


def _streams(group: Inbox) -> dict[str, StreamTally]:
    created = {name: StreamTally(at_ms, 0, 0, 0, 0) for name, at_ms in group.record.streams.items()}
    return {**created, **group.streams}


def _stream_answer(group: Inbox, name: str, tally: StreamTally) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "logStreamName": name,
        "creationTime": group.record.streams.get(name, tally.created_ms),
        "arn": f"{group.record.arn}:log-stream:{name}",
        "storedBytes": tally.bytes,
    }
    if tally.bytes:
        answer["firstEventTimestamp"] = max(0, tally.first_ms)
        answer["lastEventTimestamp"] = max(0, tally.last_ms)
        answer["lastIngestionTime"] = tally.ingested_ms
    return answer


def _event_answer(message: Message) -> dict[str, Any]:
    return {
        "timestamp": max(0, time_ms_of(message)),
        "message": message.body.decode(errors="replace"),
        "ingestionTime": message.sent_ms,
    }


def _times(request: dict[str, Any]) -> tuple[int | None, int | None]:
    from_ms, to_ms = request.get("startTime"), request.get("endTime")
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise InvalidParameterException("The startTime must be at or before the endTime.")
    return from_ms, to_ms


def _check_put(events: list[dict[str, Any]]) -> None:
    """Raises InvalidParameterException for events that no PutLogEvents may carry together."""
    if not 1 <= len(events) <= _EVENTS_MAX:
        raise InvalidParameterException(f"Expected 1 to {_EVENTS_MAX} log events in a request, got {len(events)}.")
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise InvalidParameterException("Log events in a single PutLogEvents request must be in chronological order.")
    if times[-1] - times[0] > _SPAN_MS_MAX:
        raise InvalidParameterException(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        )
    size = sum(len(event["message"].encode()) + _PUT_EVENT_OVERHEAD_BYTES for event in events)
    if size > _PUT_EVENTS_BYTES_MAX:
        raise InvalidParameterException(
            f"Upload too large: {size} bytes, at most {_PUT_EVENTS_BYTES_MAX} (26 bytes are added to each event)."
        )


async def _saved(change: Awaitable[_T]) -> _T:
    """The change's answer; ServiceUnavailable when the store refuses it."""
    try:
        return await change
    except StoreError as error:
        raise ServiceUnavailable(f"The change was not made: {error}") from error
