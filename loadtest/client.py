"""AWS JSON requests as bytes, for load; the connection and the signed requests are those of `crossbus bench`."""

import json

from router.bench.connection import Connection
from router.bench.requests import sdk_requests

__all__ = ["Connection", "request", "sdk_requests", "unsigned_headers"]


def unsigned_headers(target: str, *, account: str, region: str, service: str = "events") -> dict[str, str]:
    """Those of an AWS JSON request, with a credential scope and no real signature (for hubs with `auth: none`)."""
    version = "1.0" if service == "sqs" else "1.1"
    return {
        "X-Amz-Target": target,
        "Content-Type": f"application/x-amz-json-{version}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": (
            f"AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/{service}/aws4_request, "
            f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
        ),
    }


def request(target: str, body: object, *, account: str, region: str, service: str = "events") -> bytes:
    """An AWS JSON request as bytes; see `unsigned_headers`."""
    payload = json.dumps(body).encode()
    headers = unsigned_headers(target, account=account, region=region, service=service)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(("POST / HTTP/1.1", "Host: hub", *lines, f"Content-Length: {len(payload)}", "", ""))
    return head.encode() + payload
