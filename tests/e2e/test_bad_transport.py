"""Requests that are too large, compressed, broken, slow or not HTTP at all, against a real daemon: none is read beyond
its bound, none makes the hub loud, and none holds up another."""

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess
from tests.sources.test_fast_lane_parser import SMUGGLING

BODY_BYTES_MAX = 4 * 1024 * 1024
GOOD = {"Source": "shop", "DetailType": "order", "Detail": "{}"}
AUTHORIZATION = (
    f"AWS4-HMAC-SHA256 Credential={WORKLOAD}/20260101/{REGION}/events/aws4_request, SignedHeaders=host, Signature=0"
).encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("transport"), {}) as hub:
        yield hub


@pytest.fixture
def hub(running: HubProcess) -> Iterator[HubProcess]:
    """A hub that takes no event in a test and meets no bug."""
    yield running
    assert [entry for entry in running.log if entry.get("level") == "error" or "traceback" in entry] == []
    assert running.metric("crossbus_api_bugs_total") == 0
    assert running.metric("crossbus_events_accepted_total") == 0


def send(hub: HubProcess, headers: bytes, body: bytes = b"", *, until_closed: bool = False) -> bytes:
    """What a raw request is answered, to the end of the answer or of the connection."""
    head = b"POST / HTTP/1.1\r\nHost: hub\r\nX-Amz-Target: AWSEvents.PutEvents\r\n"
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head + b"Authorization: " + AUTHORIZATION + b"\r\n" + headers + b"\r\n" + body)
        answer = b""
        while until_closed or not answer.endswith(b"}"):
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    return answer


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_read(hub: HubProcess) -> None:
    answer = send(hub, b"Content-Length: %d\r\n" % (BODY_BYTES_MAX + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"The request body has 4194305 bytes, at most 4194304 are taken." in answer


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_long(hub: HubProcess) -> None:
    chunks = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 64 + b"1\r\n \r\n"
    answer = send(hub, b"Transfer-Encoding: chunked\r\n", chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than 4194304 bytes" in answer
    assert b"\r\nConnection: close\r\n" in answer


def test_boto3_sees_the_refusal_of_a_long_body(hub: HubProcess) -> None:
    with pytest.raises(ClientError) as refused:
        hub.client("events").put_events(Entries=[{**GOOD, "Detail": json.dumps({"a": "x" * BODY_BYTES_MAX})}])
    assert refused.value.response["Error"]["Code"] == "RequestEntityTooLargeException"


def test_a_compressed_body_is_refused_and_not_decompressed(hub: HubProcess) -> None:
    body = gzip.compress(json.dumps({"Entries": [GOOD], "x": " " * 50_000_000}).encode(), 1)
    assert len(body) < BODY_BYTES_MAX
    status, text = hub.request("POST", "/", body, {"Content-Encoding": "gzip", "X-Amz-Target": "AWSEvents.PutEvents"})
    answer = json.loads(text)
    assert (status, answer["__type"]) == (415, "UnsupportedMediaTypeException")
    assert answer["message"] == "Expected a body without Content-Encoding, got 'gzip'."


def test_a_client_that_asks_whether_to_go_on_is_told(hub: HubProcess) -> None:
    answer = send(hub, b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    answer = send(hub, b"Expect: 100-continue\r\nContent-Length: 99999999\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_broken_chunk_is_refused(hub: HubProcess) -> None:
    assert b" 400 " in send(hub, b"Transfer-Encoding: chunked\r\n", b"zz\r\n", until_closed=True).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nAuthorization: " + b"s" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_without_a_traceback(hub: HubProcess, request_bytes: bytes) -> None:
    told = len(hub.log)
    with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(65536).split(b"\r\n")[0].endswith(b" 400 Bad Request")
    assert {line["event"] for line in hub.log[told:]} <= {"request.unreadable"}
    assert "sss" not in str(hub.log[told:])


def test_clients_that_never_finish_hold_up_nobody(hub: HubProcess) -> None:
    head = b"POST / HTTP/1.1\r\nHost: hub\r\nX-Amz-Target: AWSEvents.PutEvents\r\nContent-Length: 1000\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=20))
            slow.sendall(head)
        assert hub.client("events").list_rules()["Rules"] == []
        assert hub.get("/healthz") == (200, "ok\n")
    assert hub.client("events").list_rules()["Rules"] == []


def test_what_a_smuggler_sends_is_never_for_the_fast_lane(hub: HubProcess) -> None:
    before = hub.metric("crossbus_fast_lane_requests_total")
    for name, headers_and_body in SMUGGLING.items():
        with socket.create_connection(("127.0.0.1", hub.port), timeout=20) as connection:
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: hub\r\nX-Amz-Target: AWSEvents.PutEvents\r\nAuthorization: "
                + AUTHORIZATION
                + b"\r\n"
                + headers_and_body
            )
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while received := connection.recv(65536):
                answer += received
        assert b" 200 OK\r\n" not in answer, name
    assert hub.metric("crossbus_fast_lane_requests_total") == before


def test_the_lane_takes_what_boto3_sends(hub: HubProcess) -> None:
    before = hub.metric("crossbus_fast_lane_requests_total")
    with pytest.raises(ClientError):
        hub.client("events").put_events(Entries=[GOOD] * 11)
    queue = hub.client("sqs").create_queue(QueueName="taken")["QueueUrl"]
    sqs = hub.client("sqs")
    sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "a"}, {"Id": "2", "MessageBody": "b"}])
    sqs.send_message(QueueUrl=queue, MessageBody="c")
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    entries = [{"Id": str(index), "ReceiptHandle": one["ReceiptHandle"]} for index, one in enumerate(messages)]
    sqs.delete_message_batch(QueueUrl=queue, Entries=entries[1:])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=entries[0]["ReceiptHandle"])
    assert sorted(message["Body"] for message in messages) == ["a", "b", "c"]
    assert hub.metric("crossbus_fast_lane_requests_total") == before + 6
