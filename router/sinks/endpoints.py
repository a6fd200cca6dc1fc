"""Where real calls for a service go: picks for a target's ARN the endpoint of the hub file, signs, calls.

An entry that names the account beats one that names only the region, which beats one for everywhere; among equals the
first in the file wins. A `Service` shows no secrets: not in its repr, not in what it says of failures.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from router import limits
from router.aws.sigv4 import Credentials, Signable, Signer
from router.config import Endpoint, Keys
from router.core.arn import parse
from router.sinks import failures
from router.sinks.base import Retryable
from router.sinks.failures import Failure
from router.sinks.http_client import (
    RESPONSE_BYTES_MAX,
    Head,
    HttpClient,
    HttpFault,
    Request,
    Response,
    head_of,
    lines,
)
from router.world import World

_FORMS_MAX = 1000  # ours: kinds of requests that are remembered for a service
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Service:
    """One service at one endpoint for one account and region."""

    def __init__(
        self,
        service: str,
        region: str,
        *,
        url: str,
        keys: Keys,
        client: HttpClient,
        world: World,
        body_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, "the hub file's endpoints are checked to have a host"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = url.rstrip("/")
        self.region = region
        self._host = host if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{parts.port}"
        self._origin = f"{parts.scheme}://{self._host}"
        self._path = parts.path.rstrip("/")
        self._client = client
        self._world = world
        self._body_bytes_max = body_bytes_max
        self._signer = Signer(
            Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token), service, region
        )
        self._forms: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[Head, Signable]] = {}
        self._secrets = [keys.secret_access_key, keys.session_token or ""]
        self.what = f"{service} at {self._host}"

    def __repr__(self) -> str:
        return f"<{self.what} in {self.region}>"

    async def call(
        self, headers: Mapping[str, str], body: bytes, *, deadline: float, path: str = "/", query: str = ""
    ) -> Response | Failure:
        """POST `body`, signed, and wait until `deadline` on the world's monotonic clock: the answer, whatever its
        status, or what it means that there is none.
        """
        try:
            return await self._client.call(self._request(headers, body, deadline, path=path, query=query))
        except HttpFault as fault:
            return failures.of_fault(fault, self.what)

    def start(
        self,
        headers: Mapping[str, str],
        body: bytes,
        done: Callable[[Response | Failure], None],
        *,
        deadline: float,
        path: str = "/",
        query: str = "",
    ) -> bool:
        """As `call`, without waiting: `done` gets what it would return, later. False where nothing can be sent."""
        try:
            request = self._request(headers, body, deadline, path=path, query=query)
        except HttpFault:
            return False

        def answered(result: Response | HttpFault) -> None:
            done(failures.of_fault(result, self.what) if isinstance(result, HttpFault) else result)

        self._client.start(request, answered)
        return True

    def _request(self, headers: Mapping[str, str], body: bytes, deadline: float, *, path: str, query: str) -> Request:
        """Raises HttpFault."""
        key = (path, query, tuple(headers.items()))
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS_MAX:
                self._forms.clear()
            form = self._forms[key] = self._form(headers, self._path + path, query)
        head, signable = form
        time, authorization = self._signer.sign(signable, body, self._world.now_ms())
        return head.request(
            body,
            timeout_s=max(deadline - self._world.monotonic(), 0),
            body_bytes_max=self._body_bytes_max,
            more=lines({"X-Amz-Date": time, "Authorization": authorization}),
        )

    def _form(self, headers: Mapping[str, str], path: str, query: str) -> tuple[Head, Signable]:
        """What all requests with these headers have in common."""
        signable = self._signer.signable(method="POST", host=self._host, path=path, query=query, headers=headers)
        url = f"{self._origin}{path}?{query}" if query else f"{self._origin}{path}"
        return head_of("POST", url, signable.headers), signable

    async def json(self, target: str, version: str, body: bytes, *, deadline: float) -> Response | Failure:
        """One operation of AWS's JSON protocols, `target` as in `AmazonSQS.SendMessageBatch`, `version` 1.0 or 1.1:
        the answer where it is a success, or what it means that it is none.
        """
        headers = {"Content-Type": f"application/x-amz-json-{version}", "X-Amz-Target": target}
        answer = await self.call(headers, body, deadline=deadline)
        if isinstance(answer, Response) and (answer.status // 100 != 2 or answer.truncated):
            return self.failure(answer, *failures.json_error(answer))
        return answer

    def failure(self, response: Response, code: str = "", message: str = "") -> Failure:
        """What an answer means that is not what the service gives on success; `code`, `message`: its error's own."""
        if response.status // 100 == 2:
            # The call may have been carried out: to try again is at least once, to stop is perhaps never.
            return Retryable("SDK_CLIENT_ERROR", f"{self.what}: the answer is not one that the service gives")
        after_s = failures.retry_after_s(response.headers, self._world.now_ms())
        return failures.of_error(
            failures.shown(code, self._secrets),
            self._told(message or f"status {response.status}"),
            response.status,
            retry_after_s=None if after_s is None else max(after_s, 0.0),
        )

    def entry_failure(self, code: str, message: str, *, is_sender_fault: bool) -> Failure:
        """What the failure of one entry of a call that succeeded means."""
        return failures.of_error(
            failures.shown(code, self._secrets), self._told(message), 400 if is_sender_fault else 500
        )

    def _told(self, message: str) -> str:
        return failures.shown(f"{self.what}: {message}", self._secrets)


class Endpoints:
    """The hub file's endpoints; services are built once for each service, account and region that is asked for."""

    def __init__(
        self,
        configured: Sequence[Endpoint],
        *,
        client: HttpClient,
        world: World,
        timeout_s: float = limits.SINK_TIMEOUT_S,
    ) -> None:
        self._configured = configured
        self._client = client
        self._services: dict[tuple[str, str, str], Service] = {}
        self._world = world
        self._timeout_s = timeout_s

    def deadline(self) -> float:
        """Until when a send that starts now may wait, on the world's monotonic clock."""
        return self._world.monotonic() + self._timeout_s

    def has(self, service: str, account: str, region: str) -> bool:
        return self._entry(service, account, region) is not None

    def find(self, arn: str) -> Service | None:
        """The service for a target's ARN; None: its deliveries go to the inbox."""
        where = parse(arn)
        key = (where.service, where.account, where.region)
        found = self._services.get(key)
        if found is None:
            entry = self._entry(*key)
            if entry is None:
                return None
            found = Service(
                where.service,
                where.region,
                url=entry.url,
                keys=entry.credentials,
                client=self._client,
                world=self._world,
            )
            self._services[key] = found
        return found

    def service(self, arn: str) -> Service:
        """As `find`, for an ARN that the sink table sends to a real service only when there is an endpoint."""
        found = self.find(arn)
        assert found is not None, f"no endpoint for {arn}"
        return found

    def _entry(self, service: str, account: str, region: str) -> Endpoint | None:
        fitting = [
            entry
            for entry in self._configured
            if entry.service == service and entry.account in ("*", account) and entry.region in ("*", region)
        ]
        return max(fitting, key=lambda entry: (entry.account != "*", entry.region != "*"), default=None)
