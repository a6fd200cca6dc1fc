"""A lean HTTP client for load: requests are bytes made beforehand, connections are kept, nothing is parsed but the
status and the length of an answer."""

import asyncio
import json
import uuid

from router.aws.sigv4 import Credentials, Signer
from router.world import RealWorld


class Connection:
    """One kept connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        start = head.lower().index(b"content-length:") + 15
        length = int(head[start : head.index(b"\r\n", start)])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


def sdk_requests(
    target: str, bodies: list[object], *, region: str, service: str, credentials: Credentials
) -> list[bytes]:
    """Requests with the headers that boto3 sends, signed now."""
    signer = Signer(credentials, service, region)
    made = []
    for body in bodies:
        payload = json.dumps(body).encode()
        headers = {
            "Accept-Encoding": "identity",
            "X-Amz-Target": target,
            "Content-Type": f"application/x-amz-json-{'1.0' if service == 'sqs' else '1.1'}",
            "amz-sdk-invocation-id": str(uuid.uuid4()),
            "amz-sdk-request": "attempt=1",
            "Content-Length": str(len(payload)),
        }
        sent = signer.headers(
            method="POST", host="hub", path="/", headers=headers, body=payload, now_ms=RealWorld().now_ms()
        )
        sent["User-Agent"] = (
            "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.7 cfg/retry#"
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        made.append(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + payload)
    return made


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
