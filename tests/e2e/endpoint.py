"""An EventBridge-compatible endpoint that is as bad as a test wants it: it refuses calls, loses events, speaks the
query protocol only, delivers nothing to HTTP targets."""

import json
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

_XML = '<?xml version="1.0"?><{0}Response xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><{0}Result>{1}</{0}Result>'
_PAGE = b"<html><body>It works!</body></html>"


class FakeEndpoint:
    """`refuses` are actions answered with AccessDeniedException; every event in `loses_every` is accepted and forgotten
    (0: none). `calls` are the actions that came, `made` what is there: names by kind."""

    def __init__(
        self,
        *,
        refuses: Collection[str] = (),
        loses_every: int = 0,
        throttles: bool = False,
        speaks_json: bool = True,
        is_website: bool = False,
    ) -> None:
        self.calls: list[str] = []
        self.made: set[tuple[str, str]] = set()
        self._refuses = refuses
        self._loses_every = loses_every
        self._throttles = throttles
        self._speaks_json = speaks_json
        self._held = 0
        self._accepted = 0
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with fake._lock:
                    status, answer = (
                        (404, _PAGE) if is_website else fake._answer(self.headers.get("X-Amz-Target"), body)
                    )
                with suppress(ConnectionError):  # who was refused may have gone
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, target: str | None, body: bytes) -> tuple[int, bytes]:
        if target is None:
            fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            action = fields["Action"]
            if action in self._refuses:
                return 403, b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
            return 200, (_XML.format(action, self._xml(self._call(action, fields))) + f"</{action}Response>").encode()
        prefix, _, action = target.rpartition(".")
        if prefix == "AmazonSQS" and not self._speaks_json:
            return 400, b"<ErrorResponse><Error><Code>InvalidAction</Code></Error></ErrorResponse>"
        if action in self._refuses:
            return 400, b'{"__type":"com.amazon#AccessDeniedException","message":"Not for you."}'
        return 200, json.dumps(self._call(action, json.loads(body))).encode()

    @staticmethod
    def _xml(answer: Mapping[str, Any]) -> str:
        if "Attributes" in answer:
            pairs = answer["Attributes"].items()
            return "".join(f"<Attribute><Name>{k}</Name><Value>{v}</Value></Attribute>" for k, v in pairs)
        return "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())

    def _call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(action)
        if action == "CreateQueue":
            self.made.add(("queue", request["QueueName"]))
            return {"QueueUrl": f"{self.url}/111111111111/{request['QueueName']}"}
        if action == "GetQueueAttributes":
            name = request["QueueUrl"].rpartition("/")[2]
            arn = f"arn:aws:sqs:us-east-1:111111111111:{name}"
            return {"Attributes": {"QueueArn": arn, "ApproximateNumberOfMessages": str(self._held)}}
        if action == "DeleteQueue":
            self.made.discard(("queue", request["QueueUrl"].rpartition("/")[2]))
        elif action == "PutRule":
            self.made.add(("rule", request["Name"]))
        elif action == "DeleteRule":
            self.made.discard(("rule", request["Name"]))
        elif action == "PutTargets":
            return {"FailedEntryCount": 0, "FailedEntries": []}
        elif action == "PutEvents":
            return self._put_events(len(request["Entries"]))
        elif action == "CreateConnection":
            self.made.add(("connection", request["Name"]))
            return {"ConnectionArn": f"arn:aws:events:us-east-1:111111111111:connection/{request['Name']}/1"}
        elif action == "CreateApiDestination":
            self.made.add(("destination", request["Name"]))
            return {"ApiDestinationArn": f"arn:aws:events:us-east-1:111111111111:api-destination/{request['Name']}/1"}
        elif action in ("DeleteConnection", "DeleteApiDestination"):
            self.made.discard((action.removeprefix("Delete").removeprefix("Api").lower(), request["Name"]))
        return {}

    def _put_events(self, count: int) -> dict[str, Any]:
        entries: list[dict[str, str]] = []
        for number in range(count):
            if self._throttles and not number:
                entries.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
                continue
            self._accepted += 1
            self._held += not (self._loses_every and self._accepted % self._loses_every == 0)
            entries.append({"EventId": f"e{self._accepted}"})
        return {"FailedEntryCount": int(self._throttles), "Entries": entries}
