"""StartQuery, GetQueryResults, StopQuery and DescribeQueries, as CloudWatch Logs answers them.

A query belongs to the account and region that started it, and so must its log groups. A query that failed has its
reason as its only result, in the field `@error`: AWS's answer has no other place for it. GetQueryResults is written as
JSON here, because its rows already are.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from router import limits
from router.aws.errors import InvalidParameterException
from router.aws.service import Caller, RawOperation
from router.core.arn import log_group_arn
from router.core.event import Location
from router.errors import ApiError, LimitExceededException, ResourceNotFoundException
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.insights.queries import Queries, Query
from router.simulator.insights.sql import translate
from router.simulator.insights.syntax import MalformedQuery
from router.simulator.records import resource_name

_DESCRIBE_DEFAULT = 1000
_TOKEN = "q/"

Action = Callable[[Caller, dict[str, Any]], Awaitable[dict[str, Any]]]


class MalformedQueryException(ApiError):
    """The query cannot be understood; the answer says where."""

    code = "MalformedQueryException"

    def __init__(self, malformed: MalformedQuery) -> None:
        super().__init__(malformed.message)
        self._malformed = malformed

    def members(self) -> dict[str, Any]:
        location = {"startCharOffset": self._malformed.start, "endCharOffset": self._malformed.end}
        return {"queryCompileError": {"location": location, "message": self._malformed.message}}


class Insights:
    """The actions. `read` checks GetQueryResults' body against the model."""

    def __init__(self, inboxes: Inboxes, queries: Queries, read: Callable[[str, bytes], dict[str, Any]]) -> None:
        self._inboxes = inboxes
        self._queries = queries
        self._read = read

    def actions(self) -> dict[str, Action]:
        return {
            "StartQuery": self.start,
            "StopQuery": self.stop,
            "DescribeQueries": self.describe,
        }

    def raw_actions(self) -> dict[str, RawOperation]:
        return {"GetQueryResults": self.results}

    async def start(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        location = Location(caller.account, caller.region)
        if request.get("queryLanguage", "CWLI") != "CWLI":
            raise InvalidParameterException("This hub speaks the language CWLI only: queryLanguage.")
        if request["startTime"] > request["endTime"]:
            raise InvalidParameterException("The startTime must be at or before the endTime.")
        groups = self._groups(location, request)
        try:
            plan = translate(request["queryString"], request.get("limit"))
        except MalformedQuery as error:
            raise MalformedQueryException(error) from None
        held = sum(group.count for group in groups)
        if held > limits.INSIGHTS_EVENTS_MAX:
            raise InvalidParameterException(
                f"The log groups hold {held} events, a query may look through at most {limits.INSIGHTS_EVENTS_MAX}: "
                "name fewer log groups."
            )
        if self._queries.active_in(location) >= limits.INSIGHTS_QUERIES_MAX:
            raise LimitExceededException(
                f"{limits.INSIGHTS_QUERIES_MAX} queries are scheduled or running, the most that may be at once."
            )
        (query_id,) = self._inboxes.world.uuids(1)
        query = Query(query_id, location, request["queryString"], plan)
        # Seconds, inclusive: an event within the last second belongs to it.
        self._queries.start(query, groups, request["startTime"] * 1000, request["endTime"] * 1000 + 999)
        return {"queryId": query_id}

    def _groups(self, location: Location, request: dict[str, Any]) -> list[Inbox]:
        given = [
            key for key in ("logGroupName", "logGroupNames", "logGroupIdentifiers") if request.get(key) is not None
        ]
        if len(given) != 1:
            raise InvalidParameterException(
                "Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be specified."
            )
        wanted = request[given[0]]
        names: list[str] = [wanted] if isinstance(wanted, str) else wanted
        if not 1 <= len(names) <= limits.INSIGHTS_GROUPS_MAX:
            raise InvalidParameterException(
                f"Expected 1 to {limits.INSIGHTS_GROUPS_MAX} log groups, got {len(names)}: {given[0]}."
            )
        groups: dict[int, Inbox] = {}
        here = log_group_arn(location, "")
        for name in names:
            arn = name.removesuffix(":*") if name.startswith("arn:") else log_group_arn(location, name)
            if not arn.startswith(here):
                raise InvalidParameterException(f"This hub links no accounts: {name} is not of the caller's own.")
            group = self._inboxes.find(arn)
            if group is None:
                raise ResourceNotFoundException(f"Log group '{resource_name(arn)}' does not exist.")
            groups[group.number] = group
        return list(groups.values())

    async def results(self, caller: Caller, body: bytes) -> bytes:
        request = self._read("GetQueryResults", body)
        query = self._query(caller, request)
        start = _offset(request.get("nextToken"))
        most = request.get("maxItems") or limits.INSIGHTS_PAGE_ITEMS_MAX
        rows = query.rows[start : start + most] if query.status == "Complete" else []
        answer: dict[str, Any] = {
            "queryLanguage": "CWLI",
            "status": query.status,
            "statistics": {
                "recordsMatched": float(query.matched),
                "recordsScanned": float(query.scanned),
                "estimatedRecordsSkipped": 0.0,
                "bytesScanned": float(query.bytes),
                "estimatedBytesSkipped": 0.0,
                "logGroupsScanned": float(len(query.groups)),
                "resultCount": float(len(query.rows)),
            },
        }
        if query.status == "Complete" and start + most < len(query.rows):
            answer["nextToken"] = f"{_TOKEN}{start + most}"
        if query.reason is not None:
            rows = [msgspec.json.encode([{"field": "@error", "value": query.reason}])]
        return b'{"results":[' + b",".join(rows) + b"]," + msgspec.json.encode(answer)[1:]

    async def stop(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        query = self._query(caller, request)
        if not query.active:
            raise InvalidParameterException(f"Query is already ended with Status {query.status}")
        self._queries.stop(query)
        return {"success": True}

    async def describe(self, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        queries = self._queries.all(Location(caller.account, caller.region))
        name = request.get("logGroupName")
        if name is not None:
            queries = [query for query in queries if name in _names(query)]
        if request.get("status"):
            queries = [query for query in queries if query.status == request["status"]]
        if request.get("queryLanguage", "CWLI") != "CWLI":
            queries = []
        start = _offset(request.get("nextToken"))
        end = start + (request.get("maxResults") or _DESCRIBE_DEFAULT)
        answer: dict[str, Any] = {"queries": [_described(query) for query in queries[start:end]]}
        if end < len(queries):
            answer["nextToken"] = f"{_TOKEN}{end}"
        return answer

    def _query(self, caller: Caller, request: dict[str, Any]) -> Query:
        query = self._queries.find(request["queryId"], Location(caller.account, caller.region))
        if query is None:
            raise ResourceNotFoundException(f"Query with id {request['queryId'][:64]} does not exist.")
        return query


def _names(query: Query) -> list[str]:
    return [resource_name(group.record.arn) for group in query.groups]


def _described(query: Query) -> dict[str, Any]:
    return {
        "queryLanguage": "CWLI",
        "queryId": query.id,
        "queryString": query.text,
        "status": query.status,
        "createTime": query.created_ms,
        "logGroupName": _names(query)[0],
        "queryDuration": query.duration_ms,
        "bytesScanned": float(query.bytes),
    }


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    digits = token.removeprefix(_TOKEN)
    if not token.startswith(_TOKEN) or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise InvalidParameterException("The specified nextToken is invalid.")
    return int(digits)
