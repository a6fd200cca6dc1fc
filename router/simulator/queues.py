"""The SQS calls about queues: create, find, describe, change, purge, delete, tag.

A QueueUrl is `{base_url}/{account}/{name}`; only its path counts when one comes in, and the region is the caller's. A
purge takes effect at once and may be repeated at once (SQS asks for 60 s between two). Queues of other accounts answer
too: calls are not judged by queue policies.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from router import limits
from router.core.arn import queue_arn
from router.core.event import Location
from router.errors import ResourceNotFoundException, ServiceUnavailable
from router.simulator import queue_attributes
from router.simulator.errors import (
    InvalidAddress,
    InvalidParameterValue,
    QueueDoesNotExist,
    QueueNameExists,
)
from router.simulator.inbox import Inbox
from router.simulator.inboxes import Inboxes
from router.simulator.records import InboxRecord, resource_name
from router.store.base import StoreError

if TYPE_CHECKING:
    from router.aws.service import Caller

_LIST_MAX = 1000
_T = TypeVar("_T")


class Queues:
    """`base_url` is asked for each time, because the port may be known only once the hub listens."""

    def __init__(self, inboxes: Inboxes, base_url: Callable[[], str]) -> None:
        self._inboxes = inboxes
        self._base_url = base_url

    def find(self, caller: "Caller", queue_url: str) -> Inbox:
        """Raises InvalidAddress and QueueDoesNotExist."""
        parts = urlsplit(queue_url).path.strip("/").split("/")
        if len(parts) != 2 or not all(parts):
            raise InvalidAddress(
                f"The address {queue_url} is not valid for this endpoint: expected a path of /account/queue-name."
            )
        account, name = parts
        return self.get(queue_arn(Location(account, caller.region), name))

    def get(self, arn: str) -> Inbox:
        inbox = self._inboxes.find(arn)
        if inbox is None:
            raise QueueDoesNotExist
        return inbox

    def url(self, arn: str) -> str:
        account = arn.split(":", 5)[4]
        return f"{self._base_url().rstrip('/')}/{account}/{resource_name(arn)}"

    async def create(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        name: str = request["QueueName"]
        given: dict[str, str] = request.get("Attributes") or {}
        tags: dict[str, str] = request.get("tags") or {}
        queue_attributes.check_name(name, given)
        arn = queue_arn(Location(caller.account, caller.region), name)
        wanted = queue_attributes.check(self._inboxes, arn, given)
        kept = queue_attributes.merged({}, wanted)
        record, new = await _saved(self._inboxes.create(arn, "sqs", kept, _tagged({}, tags)))
        if not new and (differing := queue_attributes.difference(arn, record.attributes, wanted)) is not None:
            raise QueueNameExists(
                f"A queue already exists with the same name and a different value for attribute {differing}"
            )
        return {"QueueUrl": self.url(arn)}

    async def delete(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        if not await _saved(self._inboxes.delete(inbox.record.arn)):
            raise QueueDoesNotExist
        return {}

    async def purge(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        if not await _saved(self._inboxes.purge(inbox.record.arn)):
            raise QueueDoesNotExist
        return {}

    async def list(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        limit = request.get("MaxResults")
        if limit is not None and not 1 <= limit <= _LIST_MAX:
            raise InvalidParameterValue(
                f"Value {limit} for parameter MaxResults is invalid. "
                f"Reason: Must be between 1 and {_LIST_MAX}, if provided."
            )
        arns = self._inboxes.arns(
            queue_arn(Location(caller.account, caller.region), request.get("QueueNamePrefix") or "")
        )
        token = request.get("NextToken")
        if token:
            after = _from_token(token)
            arns = [arn for arn in arns if arn > after]
        page = arns[: limit or _LIST_MAX]
        answer: dict[str, Any] = {"QueueUrls": [self.url(arn) for arn in page]}
        if limit is not None and len(arns) > limit:
            answer["NextToken"] = base64.urlsafe_b64encode(page[-1].encode()).decode()
        return answer

    async def get_url(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        account = request.get("QueueOwnerAWSAccountId") or caller.account
        inbox = self.get(queue_arn(Location(account, caller.region), request["QueueName"]))
        return {"QueueUrl": self.url(inbox.record.arn)}

    async def get_attributes(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        names: list[str] = request.get("AttributeNames") or []
        if not names:
            return {}
        have = self._attributes(inbox)
        queue_attributes.check_names(names)
        return {"Attributes": have if "All" in names else {name: have[name] for name in names if name in have}}

    def _attributes(self, inbox: Inbox) -> dict[str, str]:
        record = inbox.record
        delayed = inbox.delayed(self._inboxes.world.now_ms())
        return {
            **queue_attributes.configured(record.arn, record.attributes),
            "QueueArn": record.arn,
            "CreatedTimestamp": str(record.created_ms // 1000),
            "LastModifiedTimestamp": str(record.modified_ms // 1000),
            "ApproximateNumberOfMessages": str(max(0, inbox.count - inbox.in_flight - delayed)),
            "ApproximateNumberOfMessagesNotVisible": str(inbox.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }

    async def set_attributes(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        changes = queue_attributes.check(self._inboxes, inbox.record.arn, request["Attributes"])

        def edit(record: InboxRecord) -> InboxRecord:
            attributes = queue_attributes.merged(record.attributes, changes)
            return replace(record, attributes=attributes, modified_ms=self._inboxes.world.now_ms())

        await _saved(self._inboxes.change(inbox, edit))
        return {}

    async def tag(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        await _saved(
            self._inboxes.change(inbox, lambda record: replace(record, tags=_tagged(record.tags, request["Tags"])))
        )
        return {}

    async def untag(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        inbox = self.find(caller, request["QueueUrl"])
        gone = frozenset(request["TagKeys"])

        def edit(record: InboxRecord) -> InboxRecord:
            return replace(record, tags={key: value for key, value in record.tags.items() if key not in gone})

        await _saved(self._inboxes.change(inbox, edit))
        return {}

    async def list_tags(self, caller: "Caller", request: dict[str, Any]) -> dict[str, Any]:
        tags = self.find(caller, request["QueueUrl"]).record.tags
        return {"Tags": tags} if tags else {}


async def declare_queue(
    inboxes: Inboxes, location: Location, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]
) -> str:
    """Make a queue be as the hub file says, and give its ARN; attributes it does not name stay.

    Raises ApiError for what the API would refuse.
    """
    queue_attributes.check_name(name, attributes)
    arn = queue_arn(location, name)
    wanted = queue_attributes.check(inboxes, arn, attributes)
    _, new = await _saved(inboxes.create(arn, "sqs", queue_attributes.merged({}, wanted), _tagged({}, tags)))
    inbox = inboxes.find(arn)

    def edit(record: InboxRecord) -> InboxRecord:
        attributes = queue_attributes.merged(record.attributes, wanted)
        return replace(record, attributes=attributes, tags=_tagged(record.tags, tags))

    if not new and inbox is not None and edit(inbox.record) != inbox.record:
        await _saved(inboxes.change(inbox, edit))
    return arn


def _tagged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    tags = {**old, **new}
    if len(tags) > limits.TAGS_PER_RESOURCE_MAX:
        raise InvalidParameterValue(
            f"Too many tags added for queue: {len(tags)}, at most {limits.TAGS_PER_RESOURCE_MAX}."
        )
    return tags


def _from_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterValue("Invalid or expired next token.") from error


async def _saved(change: Awaitable[_T]) -> _T:
    """The change's answer; ServiceUnavailable when the store refuses it, QueueDoesNotExist when the queue has gone."""
    try:
        return await change
    except ResourceNotFoundException as error:
        raise QueueDoesNotExist from error
    except StoreError as error:
        raise ServiceUnavailable(f"The change was not made: {error}") from error
