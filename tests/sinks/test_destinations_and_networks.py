"""API destinations that the API's callers make: which addresses are called, whose certificates are believed, and what
becomes of a delivery while the connection is not usable.
"""

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from router import limits
from router.addresses import Policy
from router.catalog.api_destinations import ApiDestination
from router.catalog.connections import Connection, New, Update
from router.catalog.model import Target
from router.catalog.target_parameters import HttpParameters
from router.sinks.base import Delivered, Outcome, Rejected, Retryable
from router.sinks.http_client import HttpClient, HttpFault, UnusableCertificates, trusting
from tests.connections import LOOPBACK, Parts, parts_of
from tests.sinks.fakes import HERE, always, attempt, serving
from tests.sinks.test_api_destination import ARN, BASIC, hub_at
from tests.sinks.tls import Authority

SECRET = "the-password"


class Name(AbstractResolver):
    """A name service that answers every name with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


async def made(
    parts: Parts, url: str, added: dict[str, Any] | None = None, **more: Any
) -> tuple[Connection, ApiDestination]:
    auth = {"BasicAuthParameters": {"Username": "u", "Password": SECRET}}
    if added:
        auth["InvocationHttpParameters"] = added
    new = New(location=HERE, name="c", authorization_type="BASIC", auth=auth)
    connection = await parts.connections.create(new)
    settings: dict[str, Any] = {"method": "POST", "rate": None, "description": None, **more}
    destination = await parts.connections.create_destination(
        HERE, "d", connection_arn=connection.arn, endpoint=url, **settings
    )
    return connection, destination


async def sent(parts: Parts, destination: ApiDestination, payload: bytes = b'{"n":1}', **parameters: Any) -> Outcome:
    target = Target(id="t", arn=destination.arn, http_parameters=HttpParameters(**parameters))
    [outcome] = await parts.sink().send([attempt(target, payload)])
    return outcome


def state(parts: Parts, connection: Connection) -> tuple[str, str | None]:
    found = parts.connections.connection(connection.arn)
    assert found is not None
    return found.state, found.state_reason


# networks

SPECIAL = ["127.0.0.1", "0.0.0.0", "::1", "169.254.169.254", "fe80::1", "224.0.0.1"]
PRIVATE = ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]


@pytest.mark.parametrize("address", PRIVATE + SPECIAL)
async def test_name_that_leads_to_a_special_address_is_not_called(address: str) -> None:
    client = {"resolver": Name(address)}
    async with parts_of(policy=Policy(loopback=False), clients=client) as parts:
        _, destination = await made(parts, "https://innocent.example/")
        outcome = await sent(parts, destination)
    assert isinstance(outcome, Rejected)
    assert outcome.code == "CONNECTION_FAILURE"
    assert "the host's address is" in outcome.message
    assert address not in outcome.message


class Watching(Policy, frozen=True):
    """Says of each address what it is told to, and then stops it."""

    said: list[tuple[str, bool]] = msgspec.field(default_factory=list)

    def refusal(self, address: str) -> str | None:
        self.said.append((address, super().refusal(address) is not None))
        return "a test goes nowhere"


async def test_every_address_of_a_name_is_asked_for_when_it_is_connected_to() -> None:
    policy = Watching(loopback=False, allow=(ipaddress.ip_network("10.1.0.0/16"),))
    client = HttpClient(resolver=Name("8.8.8.8", "10.1.0.1", "10.2.0.1", "127.0.0.1", "169.254.169.254"), policy=policy)
    try:
        with pytest.raises(HttpFault) as fault:
            await client.request("GET", "https://x.example/", headers={}, body=b"", timeout_s=5)
    finally:
        await client.close()
    assert fault.value.kind == "forbidden"
    assert dict(policy.said) == {
        "8.8.8.8": False,
        "10.1.0.1": False,
        "10.2.0.1": True,
        "127.0.0.1": True,
        "169.254.169.254": True,
    }


async def test_loopback_is_called_only_where_the_policy_has_it() -> None:
    async with serving(always(200)) as server:
        async with parts_of(policy=LOOPBACK) as parts:
            _, destination = await made(parts, server.url)
            assert await sent(parts, destination) == Delivered()
        assert len(server.requests) == 1


async def test_destination_of_the_hub_file_is_called_wherever_it_is_until_the_api_moves_it() -> None:
    async with serving(always(200)) as server, serving(always(200)) as inside:
        async with parts_of(hub_at(server.url + "/hook", BASIC), policy=Policy(loopback=False)) as parts:
            destination = parts.connections.destination(ARN)
            assert destination is not None
            assert await sent(parts, destination) == Delivered()
            await parts.connections.update_destination(HERE, "orders", invocation_endpoint=server.url + "/other")
            assert await sent(parts, destination) == Delivered()
            with pytest.raises(Exception, match="is invalid, the host's address is loopback"):
                await parts.connections.update_destination(HERE, "orders", invocation_endpoint=inside.url)
            moved = "https://localhost.example/"
            assert (
                await parts.connections.update_destination(HERE, "orders", invocation_endpoint=moved)
            ).named is False
        assert [path for _, path, _, _ in server.requests] == ["/hook", "/other"]
        assert inside.requests == []


async def test_sockets_of_the_hub_files_destinations_are_not_used_for_others() -> None:
    async with serving(always(200)) as server:
        async with parts_of(hub_at(server.url, BASIC), policy=Policy(loopback=False)) as parts:
            destination = parts.connections.destination(ARN)
            assert destination is not None
            assert await sent(parts, destination) == Delivered()
            with pytest.raises(HttpFault) as fault:
                await parts.clients.guarded.request("POST", server.url, headers={}, body=b"", timeout_s=5)
            assert fault.value.kind == "forbidden"
        assert len(server.requests) == 1


async def test_redirect_to_a_private_address_is_not_followed() -> None:
    async with serving(always(302, Location="http://10.0.0.1/")) as server, parts_of() as parts:
        _, destination = await made(parts, server.url)
        assert await sent(parts, destination) == Rejected(
            "ERROR_FROM_TARGET", "API destination d answered with status 302"
        )


# certificates


async def test_certificate_of_an_own_authority_is_believed_when_it_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusted = trusting(str(authority.ca_file))
    async with serving(always(200), authority.server("127.0.0.1")) as server:
        async with parts_of(clients={"tls": trusted}) as parts:
            _, destination = await made(parts, server.url)
            assert await sent(parts, destination) == Delivered()
        async with parts_of() as parts:
            _, destination = await made(parts, server.url)
            outcome = await sent(parts, destination)
    assert outcome == Retryable(
        "CONNECTION_FAILURE", "API destination d: the TLS handshake failed or the certificate is not trusted"
    )


async def test_certificate_of_another_host_is_not_believed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    clients = {"tls": trusting(str(authority.ca_file))}
    async with serving(always(200), authority.server("other.example")) as server, parts_of(clients=clients) as parts:
        _, destination = await made(parts, server.url)
        assert isinstance(await sent(parts, destination), Retryable)
        assert server.requests == []


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot read .*No such file"), ("nothing", "has no certificates")]
)
def test_unusable_authority_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(UnusableCertificates, match=said):
        trusting(str(file))


# connections that are not usable


async def test_delivery_waits_for_the_connection_and_goes_out_when_it_is_mended() -> None:
    async with serving(always(200)) as server, parts_of() as parts:
        connection, destination = await made(parts, server.url)
        await parts.connections.deauthorize(HERE, "c")
        outcome = await sent(parts, destination)
        assert isinstance(outcome, Retryable)
        assert outcome.code == "CONNECTION_FAILURE"
        assert server.requests == []
        await parts.connections.update(
            HERE, "c", Update(auth={"BasicAuthParameters": {"Username": "u", "Password": "p"}})
        )
        assert await sent(parts, destination) == Delivered()
        await parts.connections.delete(HERE, connection.name)
        assert await sent(parts, destination) == Retryable(
            "CONNECTION_FAILURE", "API destination d is INACTIVE: its connection does not exist"
        )
        await parts.connections.delete_destination(HERE, "d")
        assert isinstance(await sent(parts, destination), Rejected)


@pytest.mark.parametrize("status", [401, 407])
async def test_refused_credentials_deauthorize_and_taken_ones_authorize_again(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTION_STATE_S_MIN", 0.0)
    answers = [status, status, 503, 200]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0))

    async with serving(answer) as server, parts_of() as parts:
        connection, destination = await made(parts, server.url)
        states = []
        while answers:
            await sent(parts, destination)
            states.append(state(parts, connection))
    refused = ("DEAUTHORIZED", f"A destination answered with status {status}.")
    assert states == [refused, refused, refused, ("AUTHORIZED", None)]


async def test_state_does_not_follow_every_answer() -> None:
    answers = [401, 200, 401, 200]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0))

    async with serving(answer) as server, parts_of() as parts:
        connection, destination = await made(parts, server.url)
        while answers:
            await sent(parts, destination)
        assert state(parts, connection)[0] == "DEAUTHORIZED"


# sizes and limits


async def test_payload_with_what_the_connection_adds_is_64_kb_at_most() -> None:
    added = {"QueryStringParameters": [{"Key": "q", "Value": "12"}]}
    payload: Callable[[int], bytes] = lambda size: b'"' + b"x" * (size - 2) + b'"'  # noqa: E731
    async with serving(always(200)) as server, parts_of() as parts:
        _, destination = await made(parts, server.url, added)
        assert await sent(parts, destination, payload(65_533)) == Delivered()
        outcome = await sent(parts, destination, payload(65_534))
    assert outcome == Rejected(
        "INVALID_PARAMETER",
        "API destination d: expected a payload of at most 65536 bytes with what the connection adds, got 65537",
    )


async def test_payload_to_which_nothing_is_added_may_be_an_event() -> None:
    async with serving(always(200)) as server, parts_of() as parts:
        _, destination = await made(parts, server.url)
        assert await sent(parts, destination, b'"' + b"x" * 500_000 + b'"') == Delivered()


async def test_changed_rate_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with parts_of() as parts:
        _, destination = await made(parts, "https://example.com/", rate=10)
        sink = parts.sink()
        assert sink._limit(destination) is sink._limit(destination)
        faster = msgspec.structs.replace(destination, invocation_rate_limit_per_second=20)
        assert sink._limit(faster) is not sink._limit(destination)
        monkeypatch.setattr("router.sinks.api_destination._LIMITS_MIN", 1)
        gone = msgspec.structs.replace(destination, arn="arn:aws:events:us-east-1:111111111111:api-destination/x/y")
        sink._limit(gone)
        sink._limit(msgspec.structs.replace(gone, arn=gone.arn + "2"))
        assert gone.arn not in sink._limits
