"""The actions on connections and API destinations: answers, refusals, filters, pages, quotas."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from router.catalog.connections import Connection, New
from router.catalog.quotas import Quotas
from router.connections import Connections
from router.errors import ServiceUnavailable
from router.limits import INVOCATIONS_PER_S_RAISED
from router.secrets import Secrets
from tests.api.hub import THEM, Api, serving
from tests.catalog.hub import HERE
from tests.connections import LOOPBACK

BASIC: dict[str, Any] = {
    "AuthorizationType": "BASIC",
    "AuthParameters": {"BasicAuthParameters": {"Username": "user", "Password": "the-password"}},
}
OAUTH: dict[str, Any] = {
    "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS",
    "AuthParameters": {
        "OAuthParameters": {
            "ClientParameters": {"ClientID": "id", "ClientSecret": "the-secret"},
            "AuthorizationEndpoint": "https://login.example.com/",
            "HttpMethod": "POST",
        }
    },
}
DESTINATION: dict[str, Any] = {"InvocationEndpoint": "https://example.com/in/*", "HttpMethod": "POST"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as running:
        yield running


async def create(api: Api, name: str = "c", request: dict[str, Any] = BASIC) -> str:
    answer = await api.call("CreateConnection", Name=name, **request)
    arn: str = answer["ConnectionArn"]
    return arn


async def state(api: Api, name: str = "d") -> str:
    found: str = (await api.call("DescribeApiDestination", Name=name))["ApiDestinationState"]
    return found


async def test_connection_that_exists_is_not_created_again(api: Api) -> None:
    await create(api)
    assert await api.refused("CreateConnection", Name="c", **BASIC) == (
        "ResourceAlreadyExistsException: Connection c already exists."
    )


@pytest.mark.parametrize("action", ["Describe", "Deauthorize", "Delete"])
async def test_unknown_connection_is_not_found(api: Api, action: str) -> None:
    await create(api)
    said = "ResourceNotFoundException: Failed to describe the connection(s). Connection 'x' does not exist."
    assert await api.refused(f"{action}Connection", Name="x") == said
    assert await api.refused("UpdateConnection", Name="x", Description="d") == said
    assert await api.refused(f"{action}Connection", THEM, Name="c") == said.replace("'x'", "'c'")


async def test_update_answers_the_state_and_shows_in_describe(api: Api) -> None:
    arn = await create(api)
    answer = await api.call("UpdateConnection", Name="c", Description="new", **OAUTH)
    assert (answer["ConnectionArn"], answer["ConnectionState"]) == (arn, "AUTHORIZING")
    described = await api.call("DescribeConnection", Name="c")
    assert described["Description"] == "new"
    assert described["AuthorizationType"] == "OAUTH_CLIENT_CREDENTIALS"
    assert list(described["AuthParameters"]) == ["OAuthParameters"]


async def test_deauthorized_connection_shows_no_parameters_and_no_secret(api: Api) -> None:
    await create(api)
    assert (await api.call("DeauthorizeConnection", Name="c"))["ConnectionState"] == "DEAUTHORIZING"
    described = await api.call("DescribeConnection", Name="c")
    assert (described["ConnectionState"], described["AuthParameters"]) == ("DEAUTHORIZED", {})
    assert "SecretArn" not in described
    assert described["StateReason"]
    assert (await api.call("DeauthorizeConnection", Name="c"))["ConnectionState"] == "DEAUTHORIZED"


async def test_connections_are_listed_by_prefix_state_and_page(api: Api) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        await create(api, name, OAUTH if name == "a2" else BASIC)
    first = await api.call("ListConnections", NamePrefix="a", Limit=2)
    assert [one["Name"] for one in first["Connections"]] == ["a1", "a2"]
    rest = await api.call("ListConnections", NamePrefix="a", Limit=2, NextToken=first["NextToken"])
    assert [one["Name"] for one in rest["Connections"]] == ["a3"]
    assert "NextToken" not in rest
    authorized = await api.call("ListConnections", ConnectionState="AUTHORIZED")
    assert [one["Name"] for one in authorized["Connections"]] == ["a1", "a3", "b1"]
    assert await api.call("ListConnections", THEM) == {"Connections": []}
    refused = await api.refused("ListConnections", NamePrefix="b", NextToken=first["NextToken"])
    assert refused == "ValidationException: Parameter NextToken is not valid."


async def test_listed_connection_has_the_members_of_the_model(api: Api) -> None:
    await create(api)
    (listed,) = (await api.call("ListConnections"))["Connections"]
    assert set(listed) == {
        "ConnectionArn", "Name", "ConnectionState", "AuthorizationType", "CreationTime", "LastModifiedTime",
        "LastAuthorizedTime",
    }  # fmt: skip


@pytest.mark.parametrize("action", ["CreateConnection", "UpdateConnection"])
async def test_private_connectivity_is_refused(api: Api, action: str) -> None:
    resource = "arn:aws:vpc-lattice:us-east-1:111111111111:resourceconfiguration/rcfg-0123456789abcdef0"
    private = {"ResourceParameters": {"ResourceConfigurationArn": resource}}
    assert "no private connectivity" in await api.refused(
        action, Name="c", InvocationConnectivityParameters=private, **BASIC
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "please provide a valid HTTPS endpoint URL"),
        ("example.com", "please provide a valid HTTPS endpoint URL"),
        ("https://10.0.0.1/", "the host's address is in a private network, and `destinations.allow` does not have it"),
        ("https://169.254.169.254/", "the host's address is link-local, which is never called"),
        ("https://192.168.1.1:8443/x", "the host's address is in a private network"),
    ],
)
async def test_endpoints_that_may_not_be_called_are_refused(api: Api, url: str, why: str) -> None:
    arn = await create(api)
    refused = await api.refused(
        "CreateApiDestination", Name="d", ConnectionArn=arn, HttpMethod="POST", InvocationEndpoint=url
    )
    assert refused.startswith(
        "ValidationException: Failed to create the api-destination(s). Parameter InvocationEndpoint is not valid. "
        f"Reason: Endpoint '{url}' is invalid, {why}"
    )
    await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
    assert why in await api.refused("UpdateApiDestination", Name="d", InvocationEndpoint=url)
    parameters = {**OAUTH["AuthParameters"]["OAuthParameters"], "AuthorizationEndpoint": url}
    oauth = {**OAUTH, "AuthParameters": {"OAuthParameters": parameters}}
    assert f"Endpoint '{url}' is invalid, {why}" in await api.refused("CreateConnection", Name="o", **oauth)
    assert why in await api.refused("UpdateConnection", Name="c", **oauth)


async def test_destination_needs_a_connection_of_its_own_location(api: Api) -> None:
    arn = await create(api)
    said = f"Failed to create the api-destination(s). Connection '{arn}' does not exist."
    refused = await api.refused("CreateApiDestination", THEM, Name="d", ConnectionArn=arn, **DESTINATION)
    assert refused == f"ResourceNotFoundException: {said}"
    await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
    assert await api.refused("UpdateApiDestination", Name="d", ConnectionArn=arn + "0") == (
        f"ResourceNotFoundException: Failed to update the api-destination(s). Connection '{arn}0' does not exist."
    )


async def test_destination_that_exists_is_not_created_again(api: Api) -> None:
    arn = await create(api)
    await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
    assert await api.refused("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION) == (
        "ResourceAlreadyExistsException: An api-destination 'd' already exists."
    )


@pytest.mark.parametrize("action", ["Describe", "Update", "Delete"])
async def test_unknown_destination_is_not_found(api: Api, action: str) -> None:
    assert await api.refused(f"{action}ApiDestination", Name="x") == (
        f"ResourceNotFoundException: Failed to {action.lower()} the api-destination(s). "
        "An api-destination 'x' does not exist."
    )


async def test_destination_is_active_while_its_connection_is_authorized(api: Api) -> None:
    arn = await create(api)
    answer = await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
    assert answer["ApiDestinationState"] == "ACTIVE"
    await api.call("DeauthorizeConnection", Name="c")
    assert await state(api) == "INACTIVE"
    await api.call("UpdateConnection", Name="c", **BASIC)
    assert await state(api) == "ACTIVE"
    await api.call("DeleteConnection", Name="c")
    assert await state(api) == "INACTIVE"
    another = await create(api)
    assert another != arn
    assert await state(api) == "INACTIVE", "another connection of the same name is another one"
    answer = await api.call("UpdateApiDestination", Name="d", ConnectionArn=another)
    assert answer["ApiDestinationState"] == "ACTIVE"


async def test_destinations_are_listed_by_prefix_connection_and_page(api: Api) -> None:
    one, two = await create(api, "one"), await create(api, "two")
    for name in ("a1", "a2", "b1"):
        arn = two if name == "a2" else one
        await api.call("CreateApiDestination", Name=name, ConnectionArn=arn, **DESTINATION)
    first = await api.call("ListApiDestinations", Limit=2)
    assert [found["Name"] for found in first["ApiDestinations"]] == ["a1", "a2"]
    rest = await api.call("ListApiDestinations", Limit=2, NextToken=first["NextToken"])
    assert [found["Name"] for found in rest["ApiDestinations"]] == ["b1"]
    of_one = await api.call("ListApiDestinations", ConnectionArn=one)
    assert [found["Name"] for found in of_one["ApiDestinations"]] == ["a1", "b1"]
    assert await api.refused("ListApiDestinations", ConnectionArn=one, NamePrefix="a") == (
        "ValidationException: Failed to list the api-destination(s). Request failed because only one filter is "
        "supported per request, either ConnectionArn or NamePrefix."
    )


async def test_update_of_a_destination_keeps_what_is_not_given(api: Api) -> None:
    arn = await create(api)
    await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, Description="one", **DESTINATION)
    await api.call("UpdateApiDestination", Name="d", InvocationRateLimitPerSecond=7)
    described = await api.call("DescribeApiDestination", Name="d")
    assert described["InvocationRateLimitPerSecond"] == 7
    assert described["Description"] == "one"
    assert {name: described[name] for name in DESTINATION} == DESTINATION


async def test_rate_is_bounded_by_the_quota(tmp_path: Path) -> None:
    async with serving(tmp_path / "aws", limits=quota()) as api:
        arn = await create(api)
        request: dict[str, Any] = {"Name": "d", "ConnectionArn": arn, **DESTINATION}
        assert await api.refused("CreateApiDestination", **request, InvocationRateLimitPerSecond=301) == (
            "LimitExceededException: Failed to create the api-destination(s). Invalid Invocation Rate Limit: Rate "
            "specified '301' for 'd' exceeds maximum allowed of '300'."
        )
        assert "at 'invocationRateLimitPerSecond'" in await api.refused(
            "CreateApiDestination", **request, InvocationRateLimitPerSecond=0
        )
        await api.call("CreateApiDestination", **request, InvocationRateLimitPerSecond=300)
    async with serving(tmp_path / "raised") as api:
        request["ConnectionArn"] = await create(api)
        await api.call("CreateApiDestination", **request, InvocationRateLimitPerSecond=INVOCATIONS_PER_S_RAISED)


def quota(**some: int) -> Quotas:
    return Quotas(rules_per_bus=9, wildcard_rules_per_bus=9, buses_per_location=9, pattern_chars=99, **some)


async def test_quotas_bound_connections_and_destinations_of_a_location(tmp_path: Path) -> None:
    limits = quota(connections_per_location=1, api_destinations_per_location=1)
    said = "LimitExceededException: The requested resource exceeds the maximum number allowed."
    async with serving(tmp_path, limits=limits) as api:
        arn = await create(api)
        assert await api.refused("CreateConnection", Name="c2", **BASIC) == said
        await api.call("CreateConnection", THEM, Name="c2", **BASIC)
        await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
        assert await api.refused("CreateApiDestination", Name="d2", ConnectionArn=arn, **DESTINATION) == said
    assert quota().connections_per_location == 3000
    assert quota().api_destinations_per_location == 3000


async def test_what_was_created_is_there_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        arn = await create(api)
        await api.call("CreateApiDestination", Name="d", ConnectionArn=arn, **DESTINATION)
        before = await api.call("DescribeConnection", Name="c"), await api.call("DescribeApiDestination", Name="d")
    async with serving(tmp_path) as api:
        await api.connections.load()
        assert before == (
            await api.call("DescribeConnection", Name="c"),
            await api.call("DescribeApiDestination", Name="d"),
        )


async def test_a_key_that_cannot_be_made_is_no_bug_of_the_hub(tmp_path: Path) -> None:
    async with serving(tmp_path / "store") as api:
        world = api.catalog.world
        secrets = Secrets([], world, key_file=tmp_path / "none" / "secrets.key")
        connections = Connections(api.catalog, secrets, world, policy=LOOPBACK)
        auth = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
        with pytest.raises(ServiceUnavailable, match="has no key to encrypt secrets with"):
            await connections.create(New(location=HERE, name="c", authorization_type="BASIC", auth=auth))
        assert connections.things.names(Connection, HERE) == ()
