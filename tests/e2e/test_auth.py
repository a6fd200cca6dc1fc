"""`auth: sigv4` against a real daemon: who may call, as whom, what the others are told, and that no secret gets out."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError

from router.aws.sigv4 import Credentials, Signer
from router.world import RealWorld
from tests.e2e.hub import REGION, SECURITY, WORKLOAD, HubProcess

WORKLOAD_KEY = ("AKIAWORKLOAD", "workload/secret+5Jq")
ADMIN_KEY = ("AKIAADMIN", "admin/secret+8Kz")
SESSION_KEY = ("ASIASESSION", "session/secret+2Pw")
ROLE_KEY = ("AKIAROLE0001", "role/secret+4Lm")
ROLE = f"arn:aws:iam::{WORKLOAD}:role/orders"
TOKEN = "session-token+7Rt"
SECRETS = (WORKLOAD_KEY[1], ADMIN_KEY[1], SESSION_KEY[1], ROLE_KEY[1], TOKEN)
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    def key(pair: tuple[str, str], account: str, **members: Any) -> dict[str, Any]:
        return {"access_key_id": pair[0], "secret_access_key": pair[1], "account": account, **members}

    keys = [
        key((WORKLOAD_KEY[0], "${HUB_WORKLOAD_SECRET}"), WORKLOAD),
        key(ADMIN_KEY, SECURITY, admin=True),
        key(SESSION_KEY, WORKLOAD, session_token=TOKEN),
        key(ROLE_KEY, WORKLOAD, principal=ROLE),
    ]
    settings = {"auth": {"mode": "sigv4", "keys": keys}, "aws_events": True}
    environment = {"HUB_WORKLOAD_SECRET": WORKLOAD_KEY[1]}
    with HubProcess(tmp_path_factory.mktemp("auth"), settings, environment) as running:
        yield running
    seen = json.dumps(running.log)
    assert [secret for secret in SECRETS if secret in seen] == [], "the log shows a secret"


def client(hub: HubProcess, service: str, key: tuple[str, str], region: str = REGION, token: str | None = None) -> Any:
    return hub.client(
        service,
        region=region,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
    )


def refusal(call: Any, **request: Any) -> tuple[str, int]:
    """Code and status of a refused boto3 call, whose text shows no secret."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    response = refused.value.response
    assert not any(secret in str(response) for secret in SECRETS)
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def signed(
    hub: HubProcess, key: tuple[str, str], method: str, path: str, body: bytes = b"", *, late_ms: int = 0
) -> tuple[int, str]:
    """A call of the hub's own API, signed by the hub's signer."""
    path, _, query = path.partition("?")
    headers = Signer(Credentials(*key), "events", REGION).headers(
        method=method,
        host=urlsplit(hub.url).netloc,
        path=path,
        query=query,
        headers={"Content-Type": "application/json"},
        body=body,
        now_ms=RealWorld().now_ms() - late_ms,
    )
    status, text = hub.request(method, f"{path}?{query}" if query else path, body or None, headers)
    assert not any(secret in text for secret in SECRETS)
    return status, text


# the APIs


def test_a_key_acts_in_its_account_and_in_the_region_of_its_scope(hub: HubProcess) -> None:
    for key, account in ((WORKLOAD_KEY, WORKLOAD), (ADMIN_KEY, SECURITY)):
        for region in ("us-east-1", "eu-west-1"):
            arn = client(hub, "events", key, region).describe_event_bus()["Arn"]
            assert arn == f"arn:aws:events:{region}:{account}:event-bus/default"


def test_signed_calls_of_every_service_work(hub: HubProcess) -> None:
    sqs, logs = client(hub, "sqs", WORKLOAD_KEY), client(hub, "logs", WORKLOAD_KEY)
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="ünïcode \n  spaces")
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "ünïcode \n  spaces"
    logs.create_log_group(logGroupName="/orders")
    entry = {"Source": "shop", "DetailType": "order", "Detail": '{"ключ": "😀"}'}
    assert client(hub, "events", WORKLOAD_KEY).put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_a_policy_that_names_a_role_opens_the_bus_to_that_roles_key(hub: HubProcess) -> None:
    security = client(hub, "events", ADMIN_KEY)
    bus = security.create_event_bus(Name="for-one-role")["EventBusArn"]
    statement = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "events:PutEvents", "Resource": bus}
    security.put_permission(EventBusName="for-one-role", Policy=json.dumps({"Statement": [statement]}))
    entry = {"Source": "shop", "DetailType": "order", "Detail": "{}", "EventBusName": bus}
    assert client(hub, "events", ROLE_KEY).put_events(Entries=[entry])["FailedEntryCount"] == 0
    statement["Principal"] = {"AWS": ROLE + "2"}
    security.put_permission(EventBusName="for-one-role", Policy=json.dumps({"Statement": [statement]}))
    with pytest.raises(ClientError, match=f"User: {ROLE} is not authorized to perform: events:PutEvents on resource"):
        client(hub, "events", ROLE_KEY).put_events(Entries=[entry])


def test_a_header_that_comes_twice_is_verified_as_it_is_signed(hub: HubProcess) -> None:
    where = urlsplit(hub.url)
    for second, status in (("b", 200), ("c", 403)):
        headers = Signer(Credentials(*WORKLOAD_KEY), "events", REGION).headers(
            method="POST",
            host=where.netloc,
            path="/",
            headers={"X-Amz-Target": "AWSEvents.ListRules", "X-Twice": "a,b"},
            body=b"{}",
            now_ms=RealWorld().now_ms(),
        )
        connection = HTTPConnection(where.hostname or "", where.port, timeout=30)
        connection.putrequest("POST", "/", skip_host=True)
        for name, value in {**headers, "X-Twice": "a", "Content-Length": "2"}.items():
            connection.putheader(name, value)
        connection.putheader("X-Twice", second)
        connection.endheaders(b"{}")
        assert connection.getresponse().status == status
        connection.close()


def test_temporary_keys_need_their_token(hub: HubProcess) -> None:
    client(hub, "events", SESSION_KEY, token=TOKEN).list_rules()
    for token in (None, "another"):
        call = client(hub, "events", SESSION_KEY, token=token).list_rules
        assert refusal(call) == ("UnrecognizedClientException", 403)
    assert refusal(client(hub, "events", WORKLOAD_KEY, token=TOKEN).list_rules) == ("UnrecognizedClientException", 403)


@pytest.mark.parametrize("service", ["events", "sqs", "logs"])
def test_a_wrong_secret_and_an_unknown_key_are_refused_with_awss_codes(hub: HubProcess, service: str) -> None:
    operation = {"events": "list_rules", "sqs": "list_queues", "logs": "describe_log_groups"}[service]
    wrong = client(hub, service, (WORKLOAD_KEY[0], "not-the-secret"))
    assert refusal(getattr(wrong, operation)) == ("InvalidSignatureException", 403)
    for unknown in (("AKIAUNKNOWN", WORKLOAD_KEY[1]), (WORKLOAD, "none")):
        call = getattr(client(hub, service, unknown), operation)
        assert refusal(call) == ("UnrecognizedClientException", 403)


def test_a_location_that_the_hub_does_not_host_is_refused(hub: HubProcess) -> None:
    call = client(hub, "events", WORKLOAD_KEY, "ap-south-1").list_rules
    assert refusal(call)[0] == "AccessDeniedException"


def aws_call(
    hub: HubProcess, changes: dict[str, str] | None = None, *, body: bytes = b"{}", service: str = "events"
) -> tuple[int, str]:
    """A ListRules that botocore signs, with headers changed after that; status and code."""
    headers = {"X-Amz-Target": "AWSEvents.ListRules", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", hub.url + "/", headers=headers, data=b"{}")
    SigV4Auth(BotocoreCredentials(*WORKLOAD_KEY), service, REGION).add_auth(request)
    sent = {**dict(request.headers.items()), **(changes or {})}
    status, text = hub.request("POST", "/", body, {name: value for name, value in sent.items() if value})
    return status, json.loads(text).get("__type", "")


def test_what_was_changed_after_signing_is_refused(hub: HubProcess) -> None:
    assert aws_call(hub) == (200, "")
    assert aws_call(hub, body=b'{"Limit":1}') == (403, "InvalidSignatureException")
    for changes in ({"X-Amz-Target": "AWSEvents.ListEventBuses"}, {"X-Amz-Date": "20260101T000000Z"}):
        assert aws_call(hub, changes) == (403, "InvalidSignatureException")
    assert aws_call(hub, service="sqs") == (403, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("", 403, "MissingAuthenticationTokenException"),
        ("Bearer token", 403, "MissingAuthenticationTokenException"),
        ("AWS4-HMAC-SHA256", 400, "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0", 400, "IncompleteSignatureException"),
    ],
)
def test_a_missing_or_half_a_signature_is_refused(hub: HubProcess, authorization: str, status: int, code: str) -> None:
    assert aws_call(hub, {"Authorization": authorization}) == (status, code)


# the hub's own API


def test_an_admin_key_may_use_the_hubs_own_api(hub: HubProcess) -> None:
    status, text = signed(hub, ADMIN_KEY, "GET", "/_hub/v1/status")
    assert (status, json.loads(text)["pending"]) == (200, 0)
    status, text = signed(hub, ADMIN_KEY, "GET", "/_hub/v1/dead-letters?after=0&limit=10")
    assert (status, json.loads(text)["dead_letters"]) == (200, [])
    record = {"eventSource": "s3.amazonaws.com", "eventName": "CreateBucket", "eventTime": "2026-11-23T10:00:00Z"}
    status, text = signed(hub, ADMIN_KEY, "POST", f"/aws-events/{WORKLOAD}/{REGION}", json.dumps(record).encode())
    assert (status, json.loads(text)["failed"]) == (200, 0)
    status, text = signed(hub, ADMIN_KEY, "POST", f"/aws-events/{WORKLOAD}/ap-south-1", b"{}")
    assert (status, json.loads(text)["__type"]) == (400, "AccessDeniedException")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_hub/v1/status"),
        ("GET", "/_hub/v1/inboxes"),
        ("DELETE", "/_hub/v1/inboxes/messages?arn=x"),
        ("POST", "/_hub/v1/dead-letters/redrive"),
        ("GET", "/_hub/v1/explain?bus=default&event=%7B%7D"),
        ("POST", "/_hub/v1/explain"),
        ("POST", f"/aws-events/{WORKLOAD}/{REGION}"),
    ],
)
def test_others_may_not_use_the_hubs_own_api(hub: HubProcess, method: str, path: str) -> None:
    body = b"{}" if method == "POST" else b""

    def code(answer: tuple[int, str]) -> tuple[int, str]:
        return answer[0], json.loads(answer[1])["__type"]

    assert code(signed(hub, WORKLOAD_KEY, method, path, body)) == (400, "AccessDeniedException")
    assert code(signed(hub, (ADMIN_KEY[0], "wrong"), method, path, body)) == (403, "InvalidSignatureException")
    late = signed(hub, ADMIN_KEY, method, path, body, late_ms=DAY_MS)
    assert code(late) == (403, "InvalidSignatureException")
    unsigned = hub.request(method, path, body or None)
    assert code(unsigned) == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_are_open_and_show_no_secret(hub: HubProcess, path: str) -> None:
    status, text = hub.get(path)
    assert status == 200
    assert not any(secret in text for secret in SECRETS)


def test_a_hub_file_that_cannot_be_used_does_not_show_its_secrets(tmp_path: Path) -> None:
    keys = [{"access_key_id": 7, "secret_access_key": "very/secret", "account": WORKLOAD}]
    path = tmp_path / "hub.yaml"
    hub = {"accounts": [{"id": WORKLOAD}], "regions": [REGION], "auth": {"mode": "sigv4", "keys": keys}}
    path.write_text(yaml.safe_dump(hub))
    command = [sys.executable, "-m", "router", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "$.auth.keys[0].access_key_id" in done.stderr
    assert "very/secret" not in done.stderr
