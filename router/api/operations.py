"""The EventBridge actions by name, ready for the wire. One more action is one more line."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from router.api import (
    api_destinations,
    archives,
    buses,
    connections,
    endpoints,
    event_sources,
    patterns,
    permissions,
    replays,
    rules,
    tags,
    targets,
)
from router.api.access import Access
from router.archives import Archives
from router.aws.service import Caller
from router.catalog.catalog import Catalog
from router.connections import Connections
from router.sources.replay import Replays

Operation = Callable[[Caller, dict[str, Any]], Awaitable[dict[str, Any]]]
_Action = Callable[[Access, Caller, dict[str, Any]], Awaitable[dict[str, Any]]]

_ACTIONS: Mapping[str, _Action] = {
    "CreateEventBus": buses.create_event_bus,
    "UpdateEventBus": buses.update_event_bus,
    "DeleteEventBus": buses.delete_event_bus,
    "DescribeEventBus": buses.describe_event_bus,
    "ListEventBuses": buses.list_event_buses,
    "PutRule": rules.put_rule,
    "DescribeRule": rules.describe_rule,
    "ListRules": rules.list_rules,
    "EnableRule": rules.enable_rule,
    "DisableRule": rules.disable_rule,
    "DeleteRule": rules.delete_rule,
    "PutTargets": targets.put_targets,
    "RemoveTargets": targets.remove_targets,
    "ListTargetsByRule": targets.list_targets_by_rule,
    "ListRuleNamesByTarget": targets.list_rule_names_by_target,
    "CreateEndpoint": endpoints.create_endpoint,
    "UpdateEndpoint": endpoints.update_endpoint,
    "DescribeEndpoint": endpoints.describe_endpoint,
    "ListEndpoints": endpoints.list_endpoints,
    "DeleteEndpoint": endpoints.delete_endpoint,
    "CreatePartnerEventSource": event_sources.create_partner_event_source,
    "DeletePartnerEventSource": event_sources.delete_partner_event_source,
    "DescribePartnerEventSource": event_sources.describe_partner_event_source,
    "ListPartnerEventSources": event_sources.list_partner_event_sources,
    "ListPartnerEventSourceAccounts": event_sources.list_partner_event_source_accounts,
    "ActivateEventSource": event_sources.activate_event_source,
    "DeactivateEventSource": event_sources.deactivate_event_source,
    "DescribeEventSource": event_sources.describe_event_source,
    "ListEventSources": event_sources.list_event_sources,
    "CreateArchive": archives.create_archive,
    "UpdateArchive": archives.update_archive,
    "DescribeArchive": archives.describe_archive,
    "ListArchives": archives.list_archives,
    "DeleteArchive": archives.delete_archive,
    "StartReplay": replays.start_replay,
    "DescribeReplay": replays.describe_replay,
    "ListReplays": replays.list_replays,
    "CancelReplay": replays.cancel_replay,
    "CreateConnection": connections.create_connection,
    "UpdateConnection": connections.update_connection,
    "DescribeConnection": connections.describe_connection,
    "ListConnections": connections.list_connections,
    "DeauthorizeConnection": connections.deauthorize_connection,
    "DeleteConnection": connections.delete_connection,
    "CreateApiDestination": api_destinations.create_api_destination,
    "UpdateApiDestination": api_destinations.update_api_destination,
    "DescribeApiDestination": api_destinations.describe_api_destination,
    "ListApiDestinations": api_destinations.list_api_destinations,
    "DeleteApiDestination": api_destinations.delete_api_destination,
    "TestEventPattern": patterns.test_event_pattern,
    "PutPermission": permissions.put_permission,
    "RemovePermission": permissions.remove_permission,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags_for_resource,
}


def operations(
    catalog: Catalog,
    *,
    organization: Callable[[str], str | None] = lambda account: None,
    replays: Replays | None = None,
    archives: Archives | None = None,
    connections: Connections | None = None,
) -> dict[str, Operation]:
    """Every action of the control plane. Requests come checked against the API's model.

    `organization` gives the organization that an account belongs to, for conditions on `aws:PrincipalOrgID`.
    """
    access = Access(catalog, organization, archives=archives, replays=replays, connections=connections)
    return {name: _bound(action, access) for name, action in _ACTIONS.items()}


def _bound(action: _Action, access: Access) -> Operation:
    async def operation(caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
        return await action(access, caller, request)

    return operation
