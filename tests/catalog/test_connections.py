"""Connections and API destinations as values: what they may be, what they show, the life of their states."""

import json
from typing import Any

import msgspec
import pytest

from router.catalog import connections
from router.catalog.auth_parameters import joined, split
from router.catalog.connections import Connection, Fresh, Happening, New, State, Update
from router.errors import ValidationException
from router.secrets import Secrets
from router.world import RealWorld
from tests.catalog.hub import HERE

SECRETS = Secrets([bytes(32)], RealWorld())
FRESH = Fresh(1000, "u-1", "s-1", "AbCdEf")
LATER = Fresh(2000, "u-2", "s-2", "GhIjKl")
BASIC: dict[str, Any] = {"BasicAuthParameters": {"Username": "user", "Password": "the-password"}}
KEY: dict[str, Any] = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "the-key"}}
ADDED = {
    "HeaderParameters": [
        {"Key": "open", "Value": "shown", "IsValueSecret": False},
        {"Key": "closed", "Value": "the-header", "IsValueSecret": True},
    ],
    "BodyParameters": [{"Key": "b", "Value": "the-body", "IsValueSecret": True}],
}
OAUTH: dict[str, Any] = {
    "OAuthParameters": {
        "ClientParameters": {"ClientID": "client", "ClientSecret": "the-client-secret"},
        "AuthorizationEndpoint": "https://login.example.com/token",
        "HttpMethod": "POST",
        "OAuthHttpParameters": ADDED,
    },
    "InvocationHttpParameters": ADDED,
}
BY_TYPE: dict[Any, dict[str, Any]] = {"BASIC": BASIC, "API_KEY": KEY, "OAUTH_CLIENT_CREDENTIALS": OAUTH}
HIDDEN = ("the-password", "the-key", "the-client-secret", "the-header", "the-body")


def made(kind: Any = "BASIC", auth: dict[str, Any] | None = None) -> Connection:
    new = New(location=HERE, name="c", authorization_type=kind, auth=auth or BY_TYPE[kind])
    return connections.created(new, FRESH, SECRETS)


@pytest.mark.parametrize("kind", BY_TYPE)
def test_connection_opens_to_what_it_was_made_of_and_shows_no_secret(kind: str) -> None:
    connection = made(kind)
    assert joined(connection.auth, connections._opened(connection, SECRETS)) == BY_TYPE[kind]
    assert connections.has_same(connection, BY_TYPE[kind], SECRETS)
    opened = connections.opened(connection, SECRETS)
    shown = f"{connection!r} {json.dumps(connection.auth)} {connection.sealed} {opened!r} {opened.oauth_parameters!r}"
    assert [secret for secret in HIDDEN if secret in shown] == []


def test_secrets_are_what_describe_does_not_show() -> None:
    shown, secrets = split(OAUTH)
    assert set(secrets) == {
        "OAuthParameters.ClientParameters.ClientSecret",
        "OAuthParameters.OAuthHttpParameters.HeaderParameters[1].Value",
        "OAuthParameters.OAuthHttpParameters.BodyParameters[0].Value",
        "InvocationHttpParameters.HeaderParameters[1].Value",
        "InvocationHttpParameters.BodyParameters[0].Value",
    }
    assert shown["InvocationHttpParameters"]["HeaderParameters"] == [
        {"Key": "open", "Value": "shown", "IsValueSecret": False},
        {"Key": "closed", "IsValueSecret": True},
    ]


def test_new_connection_has_the_arns_of_aws() -> None:
    connection = made()
    assert connection.arn == "arn:aws:events:us-east-1:111111111111:connection/c/u-1"
    assert connection.secret_arn == (
        "arn:aws:secretsmanager:us-east-1:111111111111:secret:events!connection/c/s-1-AbCdEf"
    )


def after(start: State, what: Happening) -> State:
    """What the functions make of a connection in `start`."""
    old = made("OAUTH_CLIENT_CREDENTIALS")
    if start != "AUTHORIZING":
        old = connections.happened(old, "authorized" if start == "AUTHORIZED" else "refused", "why", 1)
    assert old.state == start
    if what == "changed":
        return connections.updated(old, Update(authorization_type="BASIC", auth=BASIC), LATER, SECRETS).state
    if what == "changed_oauth":
        return connections.updated(old, Update(auth=OAUTH), LATER, SECRETS).state
    if what == "deauthorized":
        return connections.deauthorized(old, 2).state
    return connections.happened(old, what, "why", 2).state


def test_states_are_those_of_the_table() -> None:
    lines = [line.strip("| \n") for line in (connections.__doc__ or "").splitlines() if line.startswith("| ")]
    _, *happenings = lines[0].split(" | ")
    table = {
        (row.split(" | ")[0], what): to
        for row in lines[1:]
        for what, to in zip(happenings, row.split(" | ")[1:], strict=True)
    }
    assert len(table) == 15
    assert {place: after(*place) for place in table} == table  # type: ignore[arg-type]


def test_deauthorized_connection_has_no_parameters_and_is_not_authorized_by_an_answer() -> None:
    gone = connections.deauthorized(made(), 7)
    assert (gone.auth, gone.sealed, gone.secret_arn, gone.modified_ms) == ({}, {}, None, 7)
    assert gone.state_reason is not None
    assert connections.happened(gone, "authorized", None, 8) is gone
    assert connections.happened(gone, "refused", "why", 8) is gone
    assert connections.deauthorized(gone, 9) is gone


def test_update_of_a_deauthorized_connection_gives_it_a_new_secret() -> None:
    gone = connections.deauthorized(made(), 7)
    again = connections.updated(gone, Update(auth=BASIC), LATER, SECRETS)
    assert (again.state, again.state_reason) == ("AUTHORIZED", None)
    assert again.secret_arn is not None
    assert again.secret_arn.endswith("s-2-GhIjKl")


def test_outcome_that_changes_nothing_gives_the_same_connection() -> None:
    connection = made()
    assert connections.happened(connection, "authorized", None, 9) is connection
    refused = connections.happened(connection, "refused", "why", 9)
    assert (refused.state, refused.state_reason, refused.authorized_ms) == ("DEAUTHORIZED", "why", 1000)
    assert connections.happened(refused, "refused", "why", 10) is refused
    assert connections.happened(refused, "authorized", None, 10).authorized_ms == 10


def test_update_keeps_members_of_the_same_type_that_it_does_not_give() -> None:
    old = made(auth={**BASIC, "InvocationHttpParameters": ADDED})
    new = connections.updated(old, Update(auth={"BasicAuthParameters": {"Password": "another"}}), LATER, SECRETS)
    wanted = {"BasicAuthParameters": {"Username": "user", "Password": "another"}, "InvocationHttpParameters": ADDED}
    assert connections.has_same(new, wanted, SECRETS)
    assert (new.arn, new.created_ms, new.modified_ms) == (old.arn, 1000, 2000)


def test_update_replaces_added_parameters_whole() -> None:
    old = made(auth={**BASIC, "InvocationHttpParameters": ADDED})
    given = {"InvocationHttpParameters": {"QueryStringParameters": [{"Key": "q", "Value": "1"}]}}
    new = connections.updated(old, Update(auth=given), LATER, SECRETS)
    assert connections.has_same(new, {**BASIC, **given}, SECRETS)


def test_update_to_another_type_drops_everything_of_the_old_one() -> None:
    old = made(auth={**BASIC, "InvocationHttpParameters": ADDED})
    new = connections.updated(old, Update(authorization_type="API_KEY", auth=KEY), LATER, SECRETS)
    assert connections.has_same(new, KEY, SECRETS)
    assert new.authorization_type == "API_KEY"


def test_update_of_the_description_leaves_credentials_and_state() -> None:
    old = connections.happened(made(), "refused", "why", 5)
    new = connections.updated(old, Update(description="more"), LATER, SECRETS)
    assert (new.description, new.state, new.sealed, new.modified_ms) == ("more", "DEAUTHORIZED", old.sealed, 2000)
    assert connections.updated(new, Update(description=""), LATER, SECRETS).description is None


def test_update_without_anything_is_refused() -> None:
    with pytest.raises(ValidationException, match="At least one of the following is required: Description"):
        connections.updated(made(), Update(), LATER, SECRETS)


def test_another_authorization_endpoint_is_no_longer_the_hub_files() -> None:
    named = msgspec.structs.replace(made("OAUTH_CLIENT_CREDENTIALS"), named=True)
    elsewhere = {"OAuthParameters": {"AuthorizationEndpoint": "https://10.0.0.1/"}}
    assert not connections.updated(named, Update(auth=elsewhere), LATER, SECRETS).named
    other_secret = {"OAuthParameters": {"ClientParameters": {"ClientSecret": "x"}}}
    assert connections.updated(named, Update(auth=other_secret), LATER, SECRETS).named


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "nothing": ("BASIC", {}, "expected BasicAuthParameters for AuthorizationType BASIC, got none of the parameters"),
    "another type": ("BASIC", KEY, "expected BasicAuthParameters for .* got ApiKeyAuthParameters"),
    "two types": ("BASIC", {**BASIC, **KEY}, "got BasicAuthParameters, ApiKeyAuthParameters"),
    "no password": ("BASIC", {"BasicAuthParameters": {"Username": "u"}}, "missing required field `Password`"),
    "private": (
        "BASIC",
        {**BASIC, "ConnectivityParameters": {"ResourceParameters": {}}},
        "this hub has no private connectivity",
    ),
    "parameter without value": (
        "BASIC",
        {**BASIC, "InvocationHttpParameters": {"BodyParameters": [{"Key": "b"}]}},
        "missing required field `Value`",
    ),
    "101 parameters": (
        "BASIC",
        {**BASIC, "InvocationHttpParameters": {"BodyParameters": [{"Key": str(n), "Value": "v"} for n in range(101)]}},
        "expected at most 100 parameters, got 101",
    ),
    "64 KB of parameters": (
        "BASIC",
        {**BASIC, "InvocationHttpParameters": {"BodyParameters": [{"Key": "b", "Value": "v" * 65_536}]}},
        "expected at most 65536 bytes of keys and values, got 65537",
    ),
    "header over two lines": (
        "API_KEY",
        {"ApiKeyAuthParameters": {"ApiKeyName": "X", "ApiKeyValue": "a\r\nb"}},
        "expected header names and values of visible characters",
    ),
    **{
        f"endpoint {url}": (
            "OAUTH_CLIENT_CREDENTIALS",
            {"OAuthParameters": {**OAUTH["OAuthParameters"], "AuthorizationEndpoint": url}},
            "Parameter AuthorizationEndpoint is not valid.*please provide a valid HTTPS endpoint URL",
        )
        for url in (
            "example.com",
            "ftp://example.com/",
            "https://",
            "https://u:p@example.com/",
            "https://*.x/",
            "https://[",
        )
    },
}


@pytest.mark.parametrize(("kind", "auth", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_parameters_that_are_refused_are_told_without_their_secrets(kind: str, auth: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationException, match=said) as refused:
        made(kind, auth or {"InvocationHttpParameters": {}})
    assert [secret for secret in HIDDEN if secret in str(refused.value)] == []


def test_resealed_connection_opens_with_the_new_key_alone() -> None:
    old = made("OAUTH_CLIENT_CREDENTIALS")
    both = Secrets([bytes(range(32)), bytes(32)], RealWorld())
    new = connections.resealed(old, both)
    assert connections.has_same(new, OAUTH, Secrets([bytes(range(32))], RealWorld()))
