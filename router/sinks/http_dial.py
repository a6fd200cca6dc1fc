"""New connections: a host's addresses, the policy for each of them, TCP and TLS.

Promises: an address that the policy does not allow is never connected to, whatever name leads there and whenever: what
is asked for is what is connected to. Addresses are tried in the order in which the name service gives them, and share
the time that is left. A name is looked up once for all who want it at a time. No fault tells what was asked for.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict, TypeVar

from router.addresses import Policy
from router.sinks.http_messages import HttpFault, Origin

P = TypeVar("P", bound=asyncio.Protocol)

_NAMES_S = 10.0  # ours: how long a name's addresses are believed
_NAMES_MAX = 1024  # ours
_NAME_SERVICE_AWAY = (socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM)


class Resolved(TypedDict):
    """One address of a name, as a text."""

    host: str


class Resolver(Protocol):
    """A name service."""

    async def resolve(self, host: str, port: int) -> Sequence[Resolved]:
        """The addresses of a name, the best first. Raises OSError, `socket.gaierror` where there are none."""
        ...


class UnusableCertificates(Exception):
    """The file of certificates cannot be used; the text says why."""


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """TLS with checked certificates: the system's authorities, and those in `ca_file`. Raises UnusableCertificates."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            raise UnusableCertificates(f"{ca_file} has no certificates in PEM") from None
        except OSError as error:
            raise UnusableCertificates(f"cannot read {ca_file}: {error.strerror}") from error
    return context


class _Name:
    """What is known of a host's name."""

    __slots__ = ("addresses", "lock", "until_s")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.addresses: Sequence[str] = ()
        self.until_s = float("-inf")


class Dialer:
    """See the module's contract. `tls` None: the system's authorities."""

    def __init__(self, *, resolver: Resolver | None, policy: Policy, tls: ssl.SSLContext | None) -> None:
        self._resolver = resolver
        self._policy = policy
        self._tls = tls
        self._names: dict[tuple[str, int], _Name] = {}

    async def dial(self, origin: Origin, protocol: Callable[[], P], deadline: float) -> P:
        """A new protocol, connected; until `deadline` on the loop's clock, which the caller enforces. Raises
        HttpFault."""
        loop = asyncio.get_running_loop()
        fault: HttpFault | None = None
        addresses = await self._addresses(origin)
        if origin.tls and self._tls is None:
            self._tls = await loop.run_in_executor(None, trusting, None)
        for index, address in enumerate(addresses):
            refusal = self._refusal(address)
            if refusal is not None:
                fault = fault or refusal
                continue
            left_s = (deadline - loop.time()) / (len(addresses) - index)
            try:
                async with asyncio.timeout(left_s if index + 1 < len(addresses) else None):
                    _, made = await loop.create_connection(
                        protocol,
                        address,
                        origin.port,
                        ssl=self._tls if origin.tls else None,
                        server_hostname=origin.host.rstrip(".") if origin.tls else None,
                    )
            except (OSError, ValueError) as error:
                fault = _fault(error)
            else:
                return made
        raise fault or HttpFault("dns", "the host's name has no address")

    async def _addresses(self, origin: Origin) -> Sequence[str]:
        if _is_address(origin.host):
            return (origin.host,)
        loop = asyncio.get_running_loop()
        known = self._names.get((origin.host, origin.port))
        if known is None:
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            known = self._names[origin.host, origin.port] = _Name()
        async with known.lock:
            if loop.time() >= known.until_s:
                known.addresses = await self._resolve(origin)
                known.until_s = loop.time() + _NAMES_S
        return known.addresses

    async def _resolve(self, origin: Origin) -> Sequence[str]:
        try:
            if self._resolver is not None:
                return [one["host"] for one in await self._resolver.resolve(origin.host, origin.port)]
            found = await asyncio.get_running_loop().getaddrinfo(
                origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
            return list(dict.fromkeys(str(address[0]) for *_, address in found))
        except OSError as error:
            if error.errno in _NAME_SERVICE_AWAY:
                raise HttpFault("connect", "the name service does not answer") from None
            raise HttpFault("dns", "the host's name has no address") from None
        except UnicodeError:  # a label of it is empty or too long
            raise HttpFault("invalid", "the URL or a header is not well-formed") from None

    def _refusal(self, address: str) -> HttpFault | None:
        try:
            reason = self._policy.refusal(address)
        except ValueError:
            return HttpFault("dns", "the host's name has no address")
        return None if reason is None else HttpFault("forbidden", reason)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _fault(error: OSError | ValueError) -> HttpFault:
    """What a connection that was not made means. The libraries' own texts are not told: they may hold the host."""
    if isinstance(error, ssl.SSLError):
        return HttpFault("tls", "the TLS handshake failed or the certificate is not trusted")
    if isinstance(error, OSError):
        return HttpFault("connect", reason(error))
    return HttpFault("invalid", "the URL or a header is not well-formed")


def reason(error: OSError) -> str:
    """What the system says went wrong."""
    if isinstance(error, TimeoutError):
        return "Connection timed out"
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else "no connection"
