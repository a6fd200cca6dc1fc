"""A lean HTTP/1.1 client connection for load: requests are bytes made beforehand, and nothing is parsed of an answer
but its status and where it ends.

Promises: one request at a time; every answer within the deadline and of bounded size; a connection that the other side
has closed is opened again before the next request, and a request is never sent twice.
"""

import asyncio
import ssl

_BODY_BYTES_MAX = 64 * 1024 * 1024
TIMEOUT_S = 60.0


class Broken(ConnectionError):
    """What came is not a whole HTTP answer."""


class Connection:
    """One kept connection. `send` raises OSError (TimeoutError and Broken are some)."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, tls: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self._port = port
        self._host = host
        self._tls = ssl.create_default_context() if tls else None
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def open(
        cls, port: int, host: str = "127.0.0.1", *, tls: bool = False, timeout_s: float = TIMEOUT_S
    ) -> "Connection":
        connection = cls(port, host, tls=tls, timeout_s=timeout_s)
        async with asyncio.timeout(timeout_s):
            await connection._connect()
        return connection

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._reader is None or self._reader.at_eof():
                    await self._connect()
                return await self._exchange(request)
        except BaseException as error:
            self.close()  # whatever is still to come would be taken for the next answer
            if isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError | ValueError):
                raise Broken("the connection ended, or what came is no HTTP answer") from error
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _connect(self) -> None:
        self.close()
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = self._reader, self._writer
        assert reader is not None
        assert writer is not None
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        start = head.find(b"\r\ncontent-length:")
        if start >= 0:
            length = int(head[start + 17 : head.index(b"\r\n", start + 2)])
            if length > _BODY_BYTES_MAX:
                raise Broken(f"expected an answer of at most {_BODY_BYTES_MAX} bytes, got one of {length}")
            body = await reader.readexactly(length)
        elif b"\r\ntransfer-encoding: chunked" in head:
            body = await _chunks(reader)
        elif status in (204, 304):
            body = b""
        else:
            body = await _to_the_end(reader)
        if b"\r\nconnection: close" in head or head.startswith(b"http/1.0"):
            self.close()
        return status, body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if len(body) + size > _BODY_BYTES_MAX:
            raise Broken(f"expected an answer of at most {_BODY_BYTES_MAX} bytes")
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # a trailer; the deadline bounds them
    return bytes(body)


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while part := await reader.read(1 << 16):
        body += part
        if len(body) > _BODY_BYTES_MAX:
            raise Broken(f"expected an answer of at most {_BODY_BYTES_MAX} bytes")
    return bytes(body)
