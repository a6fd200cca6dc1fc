"""A running hub, as the command line asks it: small, synchronous, signed when keys are given.

Keys come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) and never appear in output.
"""

import http.client
import os
import re
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router.aws.sigv4 import Credentials, Signer
from router.world import RealWorld

_TIMEOUT_S = 30.0


class HubUnreachable(Exception):
    """Nothing answers at the URL; the text says what to do."""


class HubRefused(Exception):
    """The hub's answer is a refusal; the text has its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class HubClient:
    """Calls to one hub; `account` and `region` say as whom and where. Raises HubUnreachable and HubRefused."""

    def __init__(self, url: str, *, account: str, region: str) -> None:
        self._url = url.rstrip("/")
        self._host = _host(url)
        self._region = region
        key = os.environ.get("AWS_ACCESS_KEY_ID")
        secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if key and secret:
            self._credentials = Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
        else:
            self._credentials = Credentials(account, "none")
        self._world = RealWorld()

    def action(self, service: str, target: str, request: dict[str, Any]) -> Any:
        """An AWS API action, `target` as in X-Amz-Target."""
        version = "1.0" if service == "sqs" else "1.1"
        headers = {"X-Amz-Target": target, "Content-Type": f"application/x-amz-json-{version}"}
        return self._call("POST", "/", "", headers, msgspec.json.encode(request), service)

    def hub(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None) -> Any:
        """A call of the hub's own API."""
        raw = b"" if body is None else msgspec.json.encode(body)
        text = urlencode(query or {}, quote_via=quote)
        return self._call(method, f"/_hub/v1/{path}", text, {"Content-Type": "application/json"}, raw, "events")

    def _call(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, service: str) -> Any:
        signer = Signer(self._credentials, service, self._region)
        signed = signer.headers(
            method=method,
            host=self._host,
            path=path,
            query=query,
            headers=headers,
            body=body,
            now_ms=self._world.now_ms(),
        )
        url = f"{self._url}{path}" + (f"?{query}" if query else "")
        request = urllib.request.Request(url, data=body if body else None, headers=signed, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                value = _decoded(answer.read())
        except urllib.error.HTTPError as error:
            refusal = _decoded(error.read()) or {}
            if not isinstance(refusal, dict):
                refusal = {}
            code = str(refusal.get("__type", f"HTTP {error.code}")).rpartition("#")[2]
            raise HubRefused(code, str(refusal.get("message", error.reason))) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise HubUnreachable(
                f"no hub answers at {self._url} ({reason}). Start one with `crossbus serve`, or name another with "
                "--url."
            ) from error
        if not isinstance(value, dict):
            raise HubUnreachable(f"what answers at {self._url} is not a hub. Name another with --url.")
        return value


def _host(url: str) -> str:
    """Raises HubUnreachable for what is no URL of a hub."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in ("http", "https") and parts.hostname and not re.search(r"\s", url):
        return parts.netloc
    raise HubUnreachable(f"expected the URL of a hub, such as http://127.0.0.1:4610, got {url!r}")


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
