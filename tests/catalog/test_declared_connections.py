"""The hub file's connections and API destinations: applied at every start, without a write where nothing changed."""

import json
from typing import Any

import pytest

from router.catalog.api_destinations import ApiDestination
from router.catalog.connections import Connection, New
from router.catalog.quotas import Quotas
from router.config import ConfigError, Hub, parse
from router.secrets import SecretsError
from tests.catalog.hub import HERE
from tests.connections import parts_of
from tests.pipeline.memory_store import MemoryStore

CONNECTION = {
    "Name": "c",
    "AuthorizationType": "BASIC",
    "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": "the-password"}},
}
DESTINATION = {
    "Name": "d",
    "ConnectionName": "c",
    "InvocationEndpoint": "https://10.0.0.1/",
    "HttpMethod": "POST",
}
PREFIX = "arn:aws:events:us-east-1:111111111111"


def hub(connections: list[dict[str, Any]], destinations: list[dict[str, Any]] | None = None) -> Hub:
    resources = {
        "account": HERE.account,
        "region": HERE.region,
        "connections": connections,
        "api_destinations": destinations or [],
    }
    text = {"accounts": [{"id": HERE.account}], "regions": [HERE.region], "resources": [resources]}
    return parse(json.dumps(text).encode(), "hub.yaml", {})


BOTH = hub([CONNECTION], [DESTINATION])


async def test_declared_things_are_named_by_the_hub_file_and_known_beforehand() -> None:
    async with parts_of(BOTH) as one, parts_of(BOTH) as two:
        connection = one.connections.things.get(Connection, HERE, "c")
        destination = one.connections.things.get(ApiDestination, HERE, "d")
        assert connection is not None
        assert destination is not None
        assert (connection.declared, connection.named, destination.declared, destination.named) == (True,) * 4
        assert destination.connection_arn == connection.arn
        assert two.connections.exists(destination.arn)
        assert destination.arn.startswith(f"{PREFIX}:api-destination/d/")


async def test_start_with_nothing_changed_writes_nothing() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store):
        pass
    before = len(store.commits)
    async with parts_of(BOTH, store=store):
        pass
    assert len(store.commits) == before


async def test_changed_secret_is_sealed_and_opens() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store) as parts:
        old = parts.connections.things.get(Connection, HERE, "c")
    changed = {**CONNECTION, "AuthParameters": {"BasicAuthParameters": {"Username": "u", "Password": "new"}}}
    async with parts_of(hub([changed], [DESTINATION]), store=store) as parts:
        new = parts.connections.things.get(Connection, HERE, "c")
        assert old is not None
        assert new is not None
        assert (new.arn, new.created_ms) == (old.arn, old.created_ms)
        opened = parts.connections.opened(new).basic_auth_parameters
        assert opened is not None
        assert opened.password == "new"


async def test_what_is_no_longer_declared_goes_and_what_the_api_made_stays() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store) as parts:
        auth = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
        await parts.connections.create(New(location=HERE, name="own", authorization_type="BASIC", auth=auth))
    async with parts_of(hub([]), store=store) as parts:
        assert list(parts.connections.things.names(Connection, HERE)) == ["own"]
        assert list(parts.connections.things.names(ApiDestination, HERE)) == []


async def test_what_the_api_changed_is_as_declared_after_the_next_start() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store) as parts:
        await parts.connections.deauthorize(HERE, "c")
        await parts.connections.update_destination(
            HERE, "d", invocation_endpoint="https://elsewhere.example/", description="changed"
        )
    async with parts_of(BOTH, store=store) as parts:
        connection = parts.connections.things.get(Connection, HERE, "c")
        destination = parts.connections.things.get(ApiDestination, HERE, "d")
        assert connection is not None
        assert destination is not None
        assert connection.state == "AUTHORIZED"
        assert (destination.invocation_endpoint, destination.description) == ("https://10.0.0.1/", None)
        assert destination.named


async def test_refused_connection_is_tried_again_after_a_start() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store) as parts:
        connection = parts.connections.things.get(Connection, HERE, "c")
        assert connection is not None
        await parts.connections.mark(connection, "refused", "why")
    async with parts_of(BOTH, store=store) as parts:
        again = parts.connections.connection(connection.arn)
        assert again is not None
        assert (again.state, again.state_reason, again.sealed) == ("AUTHORIZED", None, connection.sealed)


async def test_refusal_says_where_it_stands() -> None:
    small = Quotas(rules_per_bus=9, wildcard_rules_per_bus=9, buses_per_location=9, pattern_chars=9)
    fast = hub([CONNECTION], [{**DESTINATION, "InvocationRateLimitPerSecond": 301}])
    with pytest.raises(ConfigError, match=r"exceeds maximum allowed of '300'\. - at `\$\.resources\[0\]\.api_dest"):
        async with parts_of(fast, limits=small):
            pass
    bad = {**CONNECTION, "AuthParameters": {**CONNECTION["AuthParameters"], "InvocationHttpParameters": {  # type: ignore[dict-item]
        "HeaderParameters": [{"Key": "X Y", "Value": "v"}]}}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"header names .* - at `\$\.resources\[0\]\.connections\[0\]`"):
        async with parts_of(hub([bad])):
            pass


async def test_quota_counts_what_is_declared_and_what_the_api_made() -> None:
    store = MemoryStore()
    async with parts_of(store=store) as parts:
        auth = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
        await parts.connections.create(New(location=HERE, name="own", authorization_type="BASIC", auth=auth))
    small = Quotas(
        rules_per_bus=9, wildcard_rules_per_bus=9, buses_per_location=9, pattern_chars=9, connections_per_location=1
    )
    with pytest.raises(ConfigError, match="expected at most 1 connections, got 2 - on 111111111111/us-east-1"):
        async with parts_of(BOTH, store=store, limits=small):
            pass


# keys

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


async def test_start_with_a_new_key_before_the_old_one_seals_everything_anew() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store, keys=(OLD,)):
        pass
    async with parts_of(BOTH, store=store, keys=(NEW, OLD)):
        pass
    async with parts_of(BOTH, store=store, keys=(NEW,)) as parts:
        connection = parts.connections.things.get(Connection, HERE, "c")
        assert connection is not None
        opened = parts.connections.opened(connection).basic_auth_parameters
        assert opened is not None
        assert opened.password == "the-password"


async def test_start_without_the_key_says_which_connection_and_which_key() -> None:
    store = MemoryStore()
    async with parts_of(BOTH, store=store, keys=(OLD,)) as parts:
        connection = parts.connections.things.get(Connection, HERE, "c")
    assert connection is not None
    key = next(iter(connection.sealed.values())).split(":")[1]
    with pytest.raises(SecretsError) as refused:
        async with parts_of(BOTH, store=store, keys=(NEW,)):
            pass
    assert f"the secret of {connection.arn} cannot be opened: it was sealed with key {key}" in str(refused.value)
