"""CreateConnection, UpdateConnection, DescribeConnection, ListConnections, DeauthorizeConnection, DeleteConnection.

No answer holds a secret: what a connection shows was parted from its secrets when it was stored.
"""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog import connections
from router.catalog.connections import Connection, New, Update
from router.core.event import Location
from router.errors import ValidationException


async def create_connection(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    _check_public(request)
    made = await access.connections.create(
        New(
            location=Location(caller.account, caller.region),
            name=request["Name"],
            authorization_type=request["AuthorizationType"],
            auth=request["AuthParameters"],
            description=request.get("Description"),
            kms_key_identifier=request.get("KmsKeyIdentifier"),
        )
    )
    return {name: value for name, value in _changed(made).items() if name != "LastAuthorizedTime"}


async def update_connection(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    _check_public(request)
    new = await access.connections.update(
        Location(caller.account, caller.region),
        request["Name"],
        Update(
            authorization_type=request.get("AuthorizationType"),
            auth=request.get("AuthParameters"),
            description=request.get("Description"),
            kms_key_identifier=request.get("KmsKeyIdentifier"),
        ),
    )
    return _changed(new)


async def describe_connection(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    connection = access.catalog.things.get(Connection, location, request["Name"])
    if connection is None:
        raise connections.not_found(request["Name"])
    answer = {**_item(connection), "AuthParameters": connection.auth}
    if connection.secret_arn is not None:
        answer["SecretArn"] = connection.secret_arn
    if connection.description is not None:
        answer["Description"] = connection.description
    if connection.kms_key_identifier is not None:
        answer["KmsKeyIdentifier"] = connection.kms_key_identifier
    return answer


async def list_connections(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    state = request.get("ConnectionState")
    here = access.catalog.things.here(Connection, location)
    known = {one.name: one for one in here if state in (None, one.state)}
    names, more = page(list(known), request, "ListConnections", str(location), state or "")
    return {"Connections": [_item(known[name]) for name in names], **more}


async def deauthorize_connection(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    location = Location(caller.account, caller.region)
    old, new = await access.connections.deauthorize(location, request["Name"])
    return _changed(new) if new is old else {**_changed(old), "ConnectionState": "DEAUTHORIZING"}


async def delete_connection(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    old = await access.connections.delete(Location(caller.account, caller.region), request["Name"])
    return {**_changed(old), "ConnectionState": "DELETING"}


def _check_public(request: dict[str, Any]) -> None:
    if request.get("InvocationConnectivityParameters") is not None:
        raise ValidationException(
            "Parameter InvocationConnectivityParameters is not valid. Reason: this hub has no private connectivity "
            "(VPC Lattice)."
        )


def _changed(connection: Connection) -> dict[str, Any]:
    return {
        "ConnectionArn": connection.arn,
        "ConnectionState": connection.state,
        "CreationTime": connection.created_ms,
        "LastModifiedTime": connection.modified_ms,
        "LastAuthorizedTime": connection.authorized_ms,
    }


def _item(connection: Connection) -> dict[str, Any]:
    item = {
        **_changed(connection),
        "Name": connection.name,
        "AuthorizationType": connection.authorization_type,
    }
    return item if connection.state_reason is None else {**item, "StateReason": connection.state_reason}
