"""The simulated SQS: its actions by name, over the inboxes. What it honours is said in `queue_attributes`, `queues` and
`messages`; every other action is answered by the wire as unknown.

Visibility and, for queues without a RedrivePolicy, receive counts are kept in memory: after a restart every message is
visible, and counts start again.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from router.simulator.inboxes import Inboxes
from router.simulator.messages import Messages
from router.simulator.queues import Queues

if TYPE_CHECKING:
    from router.aws.service import Caller

Action = Callable[["Caller", dict[str, Any]], Awaitable[dict[str, Any]]]


def operations(inboxes: Inboxes, base_url: Callable[[], str]) -> dict[str, Action]:
    """The actions; each takes a request that the wire has checked against SQS's model."""
    queues = Queues(inboxes, base_url)
    messages = Messages(inboxes, queues)
    return {
        "CreateQueue": queues.create,
        "DeleteQueue": queues.delete,
        "ListQueues": queues.list,
        "GetQueueUrl": queues.get_url,
        "GetQueueAttributes": queues.get_attributes,
        "SetQueueAttributes": queues.set_attributes,
        "PurgeQueue": queues.purge,
        "TagQueue": queues.tag,
        "UntagQueue": queues.untag,
        "ListQueueTags": queues.list_tags,
        "SendMessage": messages.send,
        "SendMessageBatch": messages.send_batch,
        "ReceiveMessage": messages.receive,
        "DeleteMessage": messages.delete,
        "DeleteMessageBatch": messages.delete_batch,
        "ChangeMessageVisibility": messages.change_visibility,
        "ChangeMessageVisibilityBatch": messages.change_visibility_batch,
    }
