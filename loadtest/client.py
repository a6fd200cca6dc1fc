"""A lean HTTP client for load: requests are bytes made beforehand, connections are kept, nothing is parsed but the
status and the length of an answer."""

import asyncio
import json


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


def request(target: str, body: object, *, account: str, region: str, service: str = "events") -> bytes:
    """An AWS JSON request, with a credential scope and no real signature (for hubs that run with `auth: none`)."""
    payload = json.dumps(body).encode()
    version = "1.0" if service == "sqs" else "1.1"
    head = (
        "POST / HTTP/1.1\r\nHost: hub\r\n"
        f"X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-{version}\r\n"
        "X-Amz-Date: 20260101T000000Z\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/{service}/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload
