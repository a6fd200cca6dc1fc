"""Connections and API destinations through boto3 against a real daemon: each operation, deliveries, what survives a
SIGKILL, and that planted secrets are nowhere but in the requests that need them.
"""

import base64
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually
from tests.e2e.target import HttpTarget

EVENTS = f"arn:aws:events:{REGION}:{WORKLOAD}"
ROLE = f"arn:aws:iam::{WORKLOAD}:role/invoke"
BASIC = {"BasicAuthParameters": {"Username": "user", "Password": "canary-password"}}
CANARIES = tuple(f"canary-{part}" for part in ("password", "key", "client", "header", "query", "body", "token"))


def bare(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def refusal(call: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


class LoginServer:
    """Gives out tokens, and keeps the forms that it got."""

    def __init__(self, status: int = 200) -> None:
        self.forms: list[dict[str, str]] = []
        self.status = status
        login = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                login.forms.append(dict(urllib.parse.parse_qsl(form)))
                body = json.dumps({"access_token": f"canary-token-{len(login.forms)}", "expires_in": 3600}).encode()
                self.send_response(login.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def __enter__(self) -> "LoginServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("connections"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def events(hub: HubProcess) -> Any:
    return hub.client("events")


def test_a_connection_lives_through_all_of_its_operations(events: Any) -> None:
    created = events.create_connection(Name="life", AuthorizationType="BASIC", AuthParameters=BASIC, Description="one")
    arn = created["ConnectionArn"]
    assert arn.startswith(f"{EVENTS}:connection/life/")
    assert created["ConnectionState"] == "AUTHORIZED"
    described = events.describe_connection(Name="life")
    assert described["AuthParameters"] == {"BasicAuthParameters": {"Username": "user"}}
    assert described["SecretArn"].startswith(
        f"arn:aws:secretsmanager:{REGION}:{WORKLOAD}:secret:events!connection/life/"
    )
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "canary-key"}}
    updated = events.update_connection(Name="life", AuthorizationType="API_KEY", AuthParameters=key)
    assert (updated["ConnectionArn"], updated["ConnectionState"]) == (arn, "AUTHORIZED")
    (listed,) = events.list_connections(NamePrefix="li")["Connections"]
    assert (listed["Name"], listed["AuthorizationType"]) == ("life", "API_KEY")
    assert events.deauthorize_connection(Name="life")["ConnectionState"] == "DEAUTHORIZING"
    assert events.describe_connection(Name="life")["ConnectionState"] == "DEAUTHORIZED"
    assert [one["Name"] for one in events.list_connections(ConnectionState="DEAUTHORIZED")["Connections"]] == ["life"]
    assert events.delete_connection(Name="life")["ConnectionState"] == "DELETING"
    assert refusal(events.describe_connection, Name="life") == (
        "ResourceNotFoundException: Failed to describe the connection(s). Connection 'life' does not exist."
    )


def test_an_api_destination_lives_through_all_of_its_operations(events: Any) -> None:
    connection = events.create_connection(Name="own", AuthorizationType="BASIC", AuthParameters=BASIC)["ConnectionArn"]
    created = events.create_api_destination(
        Name="life", ConnectionArn=connection, InvocationEndpoint="https://example.com/*", HttpMethod="POST"
    )
    arn = created["ApiDestinationArn"]
    assert arn.startswith(f"{EVENTS}:api-destination/life/")
    described = events.describe_api_destination(Name="life")
    assert (described["ApiDestinationState"], described["InvocationRateLimitPerSecond"]) == ("ACTIVE", 300)
    events.update_api_destination(Name="life", HttpMethod="PUT", InvocationRateLimitPerSecond=7)
    (listed,) = events.list_api_destinations(ConnectionArn=connection)["ApiDestinations"]
    assert (listed["HttpMethod"], listed["InvocationRateLimitPerSecond"]) == ("PUT", 7)
    assert bare(events.delete_api_destination(Name="life")) == {}
    assert events.list_api_destinations()["ApiDestinations"] == []
    events.delete_connection(Name="own")


def test_pages_of_connections_are_boto3s(events: Any) -> None:
    for number in range(5):
        events.create_connection(Name=f"page-{number}", AuthorizationType="BASIC", AuthParameters=BASIC)
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = events.list_connections(NamePrefix="page-", Limit=2, **token)
        names += [one["Name"] for one in answer["Connections"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert names == [f"page-{number}" for number in range(5)]


def test_a_target_needs_an_api_destination_that_exists_and_a_role(events: Any) -> None:
    events.put_rule(Name="needs", EventPattern='{"source":["needs"]}')
    connection = events.create_connection(Name="needs", AuthorizationType="BASIC", AuthParameters=BASIC)
    arn = events.create_api_destination(
        Name="needs",
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint="https://example.com/",
        HttpMethod="POST",
    )["ApiDestinationArn"]
    assert refusal(events.put_targets, Rule="needs", Targets=[{"Id": "t", "Arn": arn}]) == (
        f"ValidationException: RoleArn is required for target {arn}."
    )
    other = arn[:-1] + ("0" if arn[-1] != "0" else "1")
    assert refusal(events.put_targets, Rule="needs", Targets=[{"Id": "t", "Arn": other, "RoleArn": ROLE}]) == (
        f"ValidationException: Parameter {other} is not valid. Reason: API destination does not exist."
    )
    assert events.put_targets(Rule="needs", Targets=[{"Id": "t", "Arn": arn, "RoleArn": ROLE}])["FailedEntryCount"] == 0


def connect(events: Any, name: str, kind: str, auth: dict[str, Any], target: str) -> str:
    """A connection, its destination and a rule for the source of that name; the connection's ARN."""
    arn: str = events.create_connection(Name=name, AuthorizationType=kind, AuthParameters=auth)["ConnectionArn"]
    destination = events.create_api_destination(
        Name=name, ConnectionArn=arn, InvocationEndpoint=target, HttpMethod="POST"
    )["ApiDestinationArn"]
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    parameters = {"HeaderParameters": {"X-Id": "$.id", "X-Both": "target"}}
    events.put_targets(
        Rule=name,
        Targets=[{"Id": "t", "Arn": destination, "RoleArn": ROLE, "HttpParameters": parameters}],
    )
    return arn


def put(events: Any, source: str) -> str:
    answer = events.put_events(Entries=[{"Source": source, "DetailType": "d", "Detail": "{}"}])
    event_id: str = answer["Entries"][0]["EventId"]
    return event_id


ADDED = {
    "HeaderParameters": [
        {"Key": "X-Both", "Value": "connection", "IsValueSecret": False},
        {"Key": "X-Secret", "Value": "canary-header", "IsValueSecret": True},
    ],
    "QueryStringParameters": [{"Key": "q", "Value": "canary-query", "IsValueSecret": True}],
    "BodyParameters": [{"Key": "b", "Value": "canary-body", "IsValueSecret": True}],
}


def oauth(login: LoginServer) -> dict[str, Any]:
    return {
        "OAuthParameters": {
            "ClientParameters": {"ClientID": "hub", "ClientSecret": "canary-client"},
            "AuthorizationEndpoint": login.url,
            "HttpMethod": "POST",
        },
        "InvocationHttpParameters": ADDED,
    }


def test_planted_secrets_go_to_the_target_and_nowhere_else(tmp_path: Path) -> None:
    refuses = [401, 503]
    with (
        LoginServer() as login,
        HttpTarget(lambda number: refuses[number] if number < len(refuses) else 200) as target,
        HubProcess(tmp_path, {"trace": {"age_s_max": 3600}}) as hub,
    ):
        events = hub.client("events")
        shown: list[Any] = []
        connect(events, "oauth", "OAUTH_CLIENT_CREDENTIALS", oauth(login), target.url)
        eventually(lambda: events.describe_connection(Name="oauth")["ConnectionState"] == "AUTHORIZED")
        assert login.forms[0] == {
            "grant_type": "client_credentials",
            "client_id": "hub",
            "client_secret": "canary-client",
        }
        traced = [put(events, "oauth")]
        key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "canary-key"}}
        eventually(lambda: target.bodies)
        connect(events, "key", "API_KEY", key, target.url)
        traced.append(put(events, "key"))
        connect(events, "basic", "BASIC", BASIC, target.url)
        traced.append(put(events, "basic"))
        eventually(lambda: len(target.bodies) == 3)
        got = {headers.get("Authorization", headers.get("X-Key", "")) for headers in target.headers}
        assert {"canary-key", "Basic " + base64.b64encode(b"user:canary-password").decode()} < got
        assert any(one.startswith("Bearer canary-token-") for one in got)
        assert json.loads(target.bodies[0])["b"] == "canary-body"
        assert (target.headers[0]["X-Secret"], target.headers[0]["X-Both"]) == ("canary-header", "connection")

        shown += [events.describe_connection(Name=name) for name in ("oauth", "key", "basic")]
        shown += [events.list_connections(), events.list_api_destinations()]
        target.answer = lambda number: 400
        traced.append(put(events, "basic"))
        eventually(lambda: hub.metric("crossbus_dead_letters_kept") == 1)
        paths = [f"/_hub/v1/trace?event_id={event_id}" for event_id in traced]
        paths += ["/_hub/v1/status", "/_hub/v1/dead-letters", "/readyz", "/healthz", "/metrics"]
        answers = [hub.get(path) for path in paths]
        assert [status for status, _ in answers] == [200] * len(paths)
        shown += answers
        refused = {**oauth(login), "BasicAuthParameters": BASIC["BasicAuthParameters"]}
        shown.append(refusal(events.create_connection, Name="x", AuthorizationType="BASIC", AuthParameters=refused))
        shown.append(events.update_connection(Name="key", AuthParameters=key, Description="again"))
        hub.stop()
        shown.append(hub.log)
        verified = subprocess.run(
            [sys.executable, "-m", "router", "store", "verify", str(tmp_path / "hub.yaml")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert verified.returncode == 0, verified.stderr
        shown += [verified.stdout, verified.stderr]
    told = json.dumps(shown, default=str)
    assert [canary for canary in CANARIES if canary in told] == []
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files)
    hidden = [*CANARIES, base64.b64encode(b"user:canary-password").decode()]
    assert [canary for canary in hidden if canary.encode() in stored] == []
    assert {path.name for path in files} >= {"secrets.key"}


def test_connections_survive_a_kill_and_go_on_delivering(tmp_path: Path) -> None:
    with LoginServer() as login, HttpTarget() as target, HubProcess(tmp_path, {}) as hub:
        events = hub.client("events")
        arns = [
            connect(events, "basic", "BASIC", BASIC, target.url),
            connect(events, "oauth", "OAUTH_CLIENT_CREDENTIALS", oauth(login), target.url),
        ]
        eventually(lambda: events.describe_connection(Name="oauth")["ConnectionState"] == "AUTHORIZED")
        before = [events.describe_connection(Name=name) for name in ("basic", "oauth")]
        hub.kill()
        hub.start()
        events = hub.client("events")
        after = [events.describe_connection(Name=name) for name in ("basic", "oauth")]
        assert [bare(one) for one in after] == [bare(one) for one in before]
        assert [one["ConnectionArn"] for one in after] == arns
        for source in ("basic", "oauth"):
            put(events, source)
        eventually(lambda: len(target.bodies) == 2)
        assert len(login.forms) == 2, "tokens are in memory only"


def test_refused_client_deauthorizes_and_an_update_heals_what_waits(tmp_path: Path) -> None:
    with LoginServer(401) as login, HttpTarget() as target, HubProcess(tmp_path, {}) as hub:
        events = hub.client("events")
        connect(events, "oauth", "OAUTH_CLIENT_CREDENTIALS", oauth(login), target.url)
        described = eventually(
            lambda: (
                found
                if (found := events.describe_connection(Name="oauth"))["ConnectionState"] == "DEAUTHORIZED"
                else None
            )
        )
        assert described["StateReason"] == "The authorization endpoint answered with status 401."
        assert events.describe_api_destination(Name="oauth")["ApiDestinationState"] == "INACTIVE"
        event_id = put(events, "oauth")
        eventually(lambda: any(line["event"] == "attempt.failed" for line in hub.log))
        login.status = 200
        events.update_connection(Name="oauth", AuthParameters=oauth(login))
        eventually(lambda: target.bodies)
        assert target.headers[0]["X-Id"] == event_id


KEY = base64.b64encode(bytes(range(32))).decode()


def test_key_from_the_environment_makes_no_file_and_must_be_there_at_the_next_start(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path, {}, {"CROSSBUS_SECRETS_KEY": KEY})
    with hub:
        hub.client("events").create_connection(Name="c", AuthorizationType="BASIC", AuthParameters=BASIC)
        hub.stop()
    assert not (tmp_path / "data" / "secrets.key").exists()
    said = subprocess.run(
        [sys.executable, "-m", "router", "serve", str(tmp_path / "hub.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert said.returncode != 0
    assert f"the secret of {EVENTS}:connection/c/" in said.stderr
    assert "CROSSBUS_SECRETS_KEY" in said.stderr
    assert KEY not in said.stderr


def test_api_may_not_name_loopback_where_callers_sign(tmp_path: Path) -> None:
    key = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret-access-key", "account": WORKLOAD}
    with HubProcess(tmp_path, {"auth": {"mode": "sigv4", "keys": [key]}}) as hub:
        events = hub.client("events", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret-access-key")
        arn = events.create_connection(Name="c", AuthorizationType="BASIC", AuthParameters=BASIC)["ConnectionArn"]
        said = refusal(
            events.create_api_destination,
            Name="d",
            ConnectionArn=arn,
            InvocationEndpoint="https://127.0.0.1/",
            HttpMethod="POST",
        )
    assert "the host's address is loopback, which only the hub file may name" in said


def test_certificates_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path, {"tls": {"ca_file": str(tmp_path / "none.pem")}})
    (tmp_path / "hub.yaml").write_text(json.dumps(hub._settings))
    said = subprocess.run(
        [sys.executable, "-m", "router", "serve", str(tmp_path / "hub.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert said.returncode != 0
    assert "$.tls.ca_file" in said.stderr


TEMPLATE = """
Parameters:
  Password: {Type: String, NoEcho: true}
  Url: {Type: String}
Resources:
  Connection:
    Type: AWS::Events::Connection
    Properties:
      Name: deployed
      AuthorizationType: BASIC
      AuthParameters:
        BasicAuthParameters: {Username: user, Password: !Ref Password}
        InvocationHttpParameters:
          HeaderParameters: [{Key: X-Secret, Value: canary-header, IsValueSecret: true}]
  Destination:
    Type: AWS::Events::ApiDestination
    Properties: {ConnectionArn: !GetAtt Connection.Arn, HttpMethod: POST, InvocationEndpoint: !Ref Url}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [deployed]}
      Targets:
        - {Id: t, Arn: !GetAtt Destination.Arn, RoleArn: "arn:aws:iam::111111111111:role/invoke"}
"""


def test_template_deploys_a_connection_that_delivers_and_is_kept_without_its_secrets(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    with HttpTarget() as target, HubProcess(tmp_path / "hub", {}) as hub:
        command = [sys.executable, "-m", "router", "deploy", str(template), "--url", hub.url]
        command += ["--account", WORKLOAD, "--region", REGION]
        command += ["--parameter", "Password=canary-password", "--parameter", f"Url={target.url}"]
        deployed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        put(hub.client("events"), "deployed")
        eventually(lambda: target.bodies)
        assert target.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"user:canary-password").decode()
        assert target.headers[0]["X-Secret"] == "canary-header"
        hub.stop()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "hub" / "data").rglob("*") if path.is_file())
    assert b"canary-password" not in stored
    assert b"canary-header" not in stored
    assert "canary" not in deployed.stdout + deployed.stderr + json.dumps(hub.log)
