"""Every kind of resource that the hub deploys, by its type; one more kind is one more line."""

from collections.abc import Mapping

from router.importers.kinds import Kind
from router.importers.resources_events import EventBus, EventBusPolicy, Rule
from router.importers.resources_inboxes import LogGroup, Queue, QueuePolicy, Topic
from router.importers.resources_outbound import ApiDestination, Archive, Connection

_ALL: tuple[Kind, ...] = (
    EventBus(),
    EventBusPolicy(),
    Rule(),
    Archive(),
    Connection(),
    ApiDestination(),
    Queue(),
    QueuePolicy(),
    Topic(),
    LogGroup(),
)
KINDS: Mapping[str, Kind] = {kind.type: kind for kind in _ALL}
