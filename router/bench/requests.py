"""The requests of a load, as bytes: PutEvents with the headers that boto3 sends, signed, each a little different."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from router.aws.sigv4 import Credentials, Signer
from router.world import RealWorld

ENTRIES = 10
"""Entries of a PutEvents request: the most that AWS takes."""
_DIFFERENT = 50
_SIGNATURE_S = 120.0  # AWS takes a signature for 300 s
_USER_AGENT = "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.7 cfg/retry#"


def entry(*, source: str = "shop", kind: str = "kind-0", user: int = 17) -> dict[str, str]:
    """An entry of 1.3 KB in the request, an order with ten items."""
    detail = {
        "kind": kind,
        "user": {"id": user, "country": "NL", "name": "x" * 60},
        "items": [{"sku": f"sku-{number}", "price": number * 1.5, "text": "y" * 60} for number in range(10)],
    }
    return {"Source": source, "DetailType": "order", "Detail": json.dumps(detail, separators=(",", ":"))}


def pattern(number: int, *, source: str = "shop") -> dict[str, Any]:
    """The pattern of rule `number`: four conditions, two of them in the detail. Only that of rule 0 matches `entry`."""
    return {
        "source": [source],
        "detail-type": ["order"],
        "detail": {"kind": [f"kind-{number}"], "user": {"country": [{"anything-but": "nowhere"}]}},
    }


def sdk_requests(
    target: str,
    bodies: Sequence[object],
    *,
    region: str,
    service: str,
    credentials: Credentials,
    host: str = "hub",
) -> list[bytes]:
    """Requests with the headers that boto3 sends, signed now."""
    version = "1.0" if service == "sqs" else "1.1"
    signer = Signer(credentials, service, region)
    world = RealWorld()
    made = []
    for body in bodies:
        payload = json.dumps(body).encode()
        headers = {
            "Accept-Encoding": "identity",
            "X-Amz-Target": target,
            "Content-Type": f"application/x-amz-json-{version}",
            "amz-sdk-invocation-id": world.uuids(1)[0],
            "amz-sdk-request": "attempt=1",
            "Content-Length": str(len(payload)),
        }
        made.append(signed_request(signer, host, "/", headers, payload))
    return made


def signed_request(signer: Signer, host: str, path: str, headers: dict[str, str], payload: bytes) -> bytes:
    """A POST request, signed now."""
    sent = signer.headers(
        method="POST", host=host, path=path, headers=headers, body=payload, now_ms=RealWorld().now_ms()
    )
    sent["User-Agent"] = _USER_AGENT
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + payload


class PutEvents:
    """PutEvents requests to take one after the other. They are made anew before their signatures are too old."""

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        *,
        host: str = "hub",
        entries: int = ENTRIES,
        source: str = "shop",
        kind: str = "kind-0",
    ) -> None:
        self.entries = entries
        self._credentials = credentials
        self._region = region
        self._host = host
        self._source = source
        self._kind = kind
        self._made: list[bytes] = []
        self._made_at = 0.0
        self._taken = 0
        self._world = RealWorld()
        self._make()

    def take(self) -> bytes:
        """The next one."""
        self._taken += 1
        if self._taken % _DIFFERENT == 0 and self._world.monotonic() - self._made_at > _SIGNATURE_S:
            self._make()
        return self._made[self._taken % _DIFFERENT]

    def _make(self) -> None:
        bodies = [
            {"Entries": [entry(source=self._source, kind=self._kind, user=10 + number)] * self.entries}
            for number in range(_DIFFERENT)
        ]
        self._made = sdk_requests(
            "AWSEvents.PutEvents",
            bodies,
            region=self._region,
            service="events",
            credentials=self._credentials,
            host=self._host,
        )
        self._made_at = self._world.monotonic()


class _Entry(msgspec.Struct, rename="pascal"):
    event_id: str | None = None
    error_code: str | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    entries: list[_Entry]
    failed_entry_count: int | None = 0


_decode = msgspec.json.Decoder(_Answer).decode


def outcome(body: bytes) -> tuple[list[str], list[str]]:
    """A PutEvents answer: the ids of the events that were accepted, the error codes of those that were not. Raises
    msgspec.DecodeError for what is no such answer."""
    found = _decode(body).entries
    return [e.event_id for e in found if e.event_id], [e.error_code or "?" for e in found if not e.event_id]
