"""Plays of what was recorded of connections and API destinations."""

import json
import re
from typing import Any

from tests.api.hub import Api
from tests.api.recorded import Play, step

API_KEY = {"ApiKeyAuthParameters": {"ApiKeyName": "ApiKey", "ApiKeyValue": "secret"}}
OAUTH = {
    "OAuthParameters": {
        "AuthorizationEndpoint": "https://example.com/oauth",
        "HttpMethod": "POST",
        "ClientParameters": {"ClientID": "client_id", "ClientSecret": "client_secret"},
    }
}
AUTHORIZATIONS = {
    "auth_params0": ("BASIC", {"BasicAuthParameters": {"Username": "user", "Password": "pass"}}),
    "auth_params2": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
    "oauth": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
    "auth0": ("BASIC", {"BasicAuthParameters": {"Username": "user", "Password": "pass"}}),
    "auth1": ("API_KEY", API_KEY),
    "auth2": ("OAUTH_CLIENT_CREDENTIALS", OAUTH),
}


def authorization(variant: str) -> dict[str, Any]:
    kind, parameters = AUTHORIZATIONS.get(variant.partition("[")[2].rstrip("]"), ("API_KEY", API_KEY))
    return {"Name": "my-connection", "AuthorizationType": kind, "AuthParameters": parameters}


async def connection(api: Api, variant: str) -> dict[str, Any]:
    request = authorization(variant)
    if "[" not in variant:
        request["AuthParameters"] = {**request["AuthParameters"], "InvocationHttpParameters": {}}
    created = await step(api, "CreateConnection", **request)
    described = await step(api, "DescribeConnection", Name="my-connection")
    return {
        "create-connection": created,
        "create-connection-auth": created,
        "describe-connection": described,
        "describe-connection-auth": described,
    }


async def deleted_connection(api: Api, variant: str) -> dict[str, Any]:
    created = await step(api, "CreateConnection", **authorization(variant))
    deleted = await step(api, "DeleteConnection", Name="my-connection")
    return {
        "create-connection-response": created,
        "delete-connection": deleted,
        "describe-deleted-connection": await step(api, "DescribeConnection", Name="my-connection"),
    }


async def bad_connection_name(api: Api, variant: str) -> dict[str, Any]:
    request = {**authorization(variant), "Name": "Invalid Name With Spaces!"}
    return {"create-connection-invalid-name-error": await step(api, "CreateConnection", **request)}


async def bad_connection(api: Api, variant: str) -> dict[str, Any]:
    name = "This should fail with two errors 123467890123412341234123412341234"
    request = {**authorization(variant), "Name": name, "AuthorizationType": "INVALID"}
    return {"create_connection_exc": await step(api, "CreateConnection", **request)}


async def api_destination(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateConnection", **authorization(variant)))["ConnectionArn"]
    played = {
        "create-api-destination": await step(
            api,
            "CreateApiDestination",
            Name="my-destination",
            ConnectionArn=arn,
            HttpMethod="POST",
            InvocationEndpoint="https://example.com/api",
            Description="Test API destination",
        ),
        "describe-api-destination": await step(api, "DescribeApiDestination", Name="my-destination"),
        "list-api-destinations": await step(api, "ListApiDestinations", NamePrefix="my-destination"),
        "update-api-destination": await step(
            api,
            "UpdateApiDestination",
            Name="my-destination",
            ConnectionArn=arn,
            HttpMethod="PUT",
            InvocationEndpoint="https://example.com/api/v2",
            Description="Updated API destination",
        ),
        "describe-updated-api-destination": await step(api, "DescribeApiDestination", Name="my-destination"),
        "delete-api-destination": await step(api, "DeleteApiDestination", Name="my-destination"),
        "describe-api-destination-not-found-error": await step(api, "DescribeApiDestination", Name="my-destination"),
    }
    # The recording calls ARNs by these names, whatever they are.
    return json.loads(  # type: ignore[no-any-return]
        re.sub(r"arn:aws:events:[^\"]*:(connection|api-destination)/[^\"]*", r"\1-arn", json.dumps(played))
    )


async def bad_api_destination(api: Api, variant: str) -> dict[str, Any]:
    request = {"Name": "d", "InvocationEndpoint": "https://example.com/api"}
    refused = await step(
        api,
        "CreateApiDestination",
        **{**request, "ConnectionArn": "invalid-connection-arn", "HttpMethod": "INVALID_METHOD"},
    )
    return {"create-api-destination-invalid-parameters-error": refused}


async def bad_api_destination_name(api: Api, variant: str) -> dict[str, Any]:
    arn = (await api.call("CreateConnection", **authorization(variant)))["ConnectionArn"]
    refused = await step(
        api,
        "CreateApiDestination",
        Name="Invalid Name With Spaces!",
        ConnectionArn=arn,
        HttpMethod="POST",
        InvocationEndpoint="https://example.com/api",
    )
    return {"create-api-destination-invalid-name-error": refused}


PLAYS: dict[str, Play] = {
    "test_create_connection": connection,
    "test_create_connection_with_auth": connection,
    "test_connection_secrets": connection,
    "test_delete_connection": deleted_connection,
    "test_create_connection_name_validation": bad_connection_name,
    "test_create_connection_validations": bad_connection,
    "test_api_destinations": api_destination,
    "test_create_api_destination_invalid_parameters": bad_api_destination,
    "test_create_api_destination_name_validation": bad_api_destination_name,
}
