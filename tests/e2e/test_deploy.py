"""Templates against a real hub: deployed by the command line and by the hub file, looked at with boto3."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all
from tests.e2e.test_cli import answer, complaint, crossbus

SECRETS = """
AWSTemplateFormatVersion: 2010-09-09
Description: Tells of every secret that is read
Parameters:
  Agent: {Type: String, Default: aws-cli/*}
Conditions:
  Watched: !Not [!Equals [!Ref Agent, none]]
Resources:
  Log:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub '/aws/events/${AWS::StackName}'}
  Queue: {Type: AWS::SQS::Queue}
  QueuePolicy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      Queues: [!Ref Queue]
      PolicyDocument:
        Version: 2012-10-17
        Statement:
          - Effect: Allow
            Principal: {Service: events.amazonaws.com}
            Action: sqs:SendMessage
            Resource: !GetAtt Queue.Arn
  LogPolicy:
    Type: AWS::Logs::ResourcePolicy
    Properties: {PolicyName: p, PolicyDocument: '{}'}
  Rule:
    Type: AWS::Events::Rule
    Condition: Watched
    Properties:
      EventPattern:
        source: [aws.secretsmanager]
        detail-type: [AWS API Call via CloudTrail]
        detail:
          eventName: [GetSecretValue]
          userAgent: [{wildcard: !Ref Agent}]
      State: ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS
      Targets:
        - {Id: log, Arn: !GetAtt Log.Arn}
        - {Id: queue, Arn: !GetAtt Queue.Arn}
Outputs:
  QueueUrl: {Value: !Ref Queue}
  RuleArn: {Value: !GetAtt Rule.Arn, Condition: Watched, Export: {Name: !Sub '${AWS::StackName}-rule'}}
"""
READ = {
    "eventVersion": "1.08",
    "eventSource": "secretsmanager.amazonaws.com",
    "eventName": "GetSecretValue",
    "awsRegion": REGION,
    "eventTime": "2026-11-23T10:00:00Z",
    "readOnly": True,
    "managementEvent": True,
    "eventType": "AwsApiCall",
    "eventCategory": "Management",
    "userAgent": "aws-cli/2.9.19",
    "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{WORKLOAD}:user/eve"},
}
BUSES = """
Resources:
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: %s}}
  Policy:
    Type: AWS::Events::EventBusPolicy
    Properties:
      EventBusName: !Ref Bus
      StatementId: partner
      Statement:
        Effect: Allow
        Principal: {AWS: 'arn:aws:iam::222222222222:root'}
        Action: events:PutEvents
        Resource: !GetAtt Bus.Arn
  Rule:
    Type: AWS::Events::Rule
    Properties: {Name: all, EventBusName: !Ref Bus, EventPattern: {source: [%s]}, Tags: [{Key: team, Value: shop}]}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    settings = {"aws_events": True, "trails": [{}]}
    with HubProcess(tmp_path_factory.mktemp("deploy"), settings) as running:
        yield running


@pytest.fixture
def secrets(tmp_path: Path) -> str:
    path = tmp_path / "secrets.yaml"
    path.write_text(SECRETS)
    return str(path)


def written(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def rules(hub: HubProcess, bus: str = "default") -> list[str]:
    return [rule["Name"] for rule in hub.client("events").list_rules(EventBusName=bus)["Rules"]]


def test_rule_on_read_only_calls_is_deployed_delivers_changes_and_goes(hub: HubProcess, secrets: str) -> None:
    shown = answer(hub, "deploy", secrets, "--plan")
    assert "4 to make, 0 to change, 0 to replace, 0 to delete, 0 as they are, 1 skipped" in shown
    assert rules(hub) == []

    made = answer(hub, "deploy", secrets)
    (rule,) = rules(hub)
    assert rule.startswith("secrets-Rule-")
    url = next(line for line in made.splitlines() if line.startswith("output QueueUrl")).split(" = ")[1]
    assert hub.service_events([READ])["accepted"] == 1
    (message,) = receive_all(hub.client("sqs"), url, expected=1)
    assert json.loads(message["Body"])["detail"]["eventName"] == "GetSecretValue"
    logs = hub.client("logs")
    eventually(lambda: logs.filter_log_events(logGroupName="/aws/events/secrets")["events"])

    assert "no changes: 4 as they are, 1 skipped" in answer(hub, "deploy", secrets, "--plan")
    changed = answer(hub, "deploy", secrets, "--parameter", "Agent=Boto3/*")
    assert changed.startswith("~     Rule ")
    assert "EventPattern.detail.userAgent[0].wildcard: aws-cli/* -> Boto3/*" in changed
    pattern = hub.client("events").describe_rule(Name=rule)["EventPattern"]
    assert json.loads(pattern)["detail"]["userAgent"] == [{"wildcard": "Boto3/*"}]
    assert "no changes" in answer(hub, "deploy", secrets, "--plan")

    answer(hub, "deploy", secrets, "--parameter", "Agent=none")
    assert rules(hub) == []
    answer(hub, "deploy", "--stack", "secrets", "--delete")
    assert hub.client("sqs").list_queues().get("QueueUrls", []) == []
    assert complaint(hub, "deploy", "--stack", "secrets", "--delete") == (
        f"Stack with id secrets does not exist in {WORKLOAD}/{REGION}"
    )


def test_renamed_bus_takes_its_rule_and_policy_with_it(hub: HubProcess, tmp_path: Path) -> None:
    answer(hub, "deploy", written(tmp_path, "buses", BUSES % ("one", "a")))
    events = hub.client("events")
    (statement,) = json.loads(events.describe_event_bus(Name="one")["Policy"])["Statement"]
    assert statement["Sid"] == "partner"
    answer(hub, "deploy", written(tmp_path, "buses", BUSES % ("two", "b")))
    assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default", "two"]
    assert rules(hub, "two") == ["all"]
    arn = events.describe_rule(Name="all", EventBusName="two")["Arn"]
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "shop"}]
    shown = json.loads(answer(hub, "deploy", str(tmp_path / "buses.yaml"), "--plan", "--json"))
    assert shown == {"changes": [], "kept": ["Bus", "Policy", "Rule"], "skipped": []}
    answer(hub, "deploy", "--stack", "buses", "--delete")
    assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default"]


BUS = "Resources:\n  Bus:\n    Type: AWS::Events::EventBus\n    Properties:\n      Name: kept\n"
BUS_PROPERTIES = {
    "Description": "d",
    "KmsKeyIdentifier": "alias/k",
    "DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{WORKLOAD}:letters"},
    "LogConfig": {"IncludeDetail": "FULL", "Level": "INFO"},
}


def test_bus_gets_and_loses_its_properties_in_place(hub: HubProcess, tmp_path: Path) -> None:
    def deployed(properties: dict[str, Any]) -> dict[str, Any]:
        lines = [f"      {name}: {json.dumps(value)}\n" for name, value in properties.items()]
        answer(hub, "deploy", written(tmp_path, "kept", BUS + "".join(lines)))
        described = hub.client("events").describe_event_bus(Name="kept")
        found.append(described["CreationTime"])
        return {name: described[name] for name in BUS_PROPERTIES if name in described}

    found: list[Any] = []
    assert deployed({}) == {}
    assert deployed(BUS_PROPERTIES) == BUS_PROPERTIES
    changed = {**BUS_PROPERTIES, "Description": "e", "LogConfig": {"Level": "ERROR"}}
    assert deployed(changed) == changed
    assert deployed({"Description": "e"}) == {"Description": "e", "LogConfig": {"Level": "OFF"}}
    assert len(set(found)) == 1, "the bus is still the first one"
    answer(hub, "deploy", "--stack", "kept", "--delete")


def test_refused_deployment_leaves_nothing_and_says_why(hub: HubProcess, tmp_path: Path) -> None:
    text = BUSES % ("three", "a") + (
        "  Bad:\n    Type: AWS::Events::Rule\n    DependsOn: Rule\n"
        "    Properties: {EventBusName: !Ref Bus, EventPattern: {source: not-a-list}}\n"
    )
    done = crossbus(hub, "deploy", written(tmp_path, "bad", text))
    assert done.returncode == 1
    line = done.stderr.decode()
    assert "Bad (AWS::Events::Rule three|bad-Bad-" in line
    assert "InvalidEventPatternException" in line
    assert "everything is as it was before" in line
    assert [bus["Name"] for bus in hub.client("events").list_event_buses()["EventBuses"]] == ["default"]
    stacks = json.loads(hub.get(f"/_hub/v1/stacks?account={WORKLOAD}&region={REGION}")[1])["stacks"]
    assert "bad" not in [record["stack"] for record in stacks]


def test_exports_are_imported_and_kept_while_they_are(hub: HubProcess, tmp_path: Path) -> None:
    source = written(
        tmp_path,
        "source",
        "Resources: {Q: {Type: AWS::SQS::Queue}}\nOutputs: {Arn: {Value: !GetAtt Q.Arn, Export: {Name: queue-arn}}}",
    )
    user = written(
        tmp_path,
        "user",
        "Resources:\n  R:\n    Type: AWS::Events::Rule\n    Properties:\n      EventPattern: {source: [x]}\n"
        "      Targets: [{Id: q, Arn: !ImportValue queue-arn}]\n",
    )
    assert "No export named queue-arn found." in complaint(hub, "deploy", user)
    answer(hub, "deploy", source)
    answer(hub, "deploy", user)
    assert complaint(hub, "deploy", "--stack", "source", "--delete") == (
        "Export queue-arn cannot be deleted as it is in use by user"
    )
    answer(hub, "deploy", "--stack", "user", "--delete")
    answer(hub, "deploy", "--stack", "source", "--delete")


def test_stack_outlives_a_restart(tmp_path: Path, secrets: str) -> None:
    running = HubProcess(tmp_path / "hub", {}).start()
    answer(running, "deploy", secrets)
    running.kill()
    with running:
        assert "no changes: 4 as they are" in answer(running, "deploy", secrets, "--plan")
    running.kill()
    verified = crossbus(None, "store", "verify", "--data-folder", str(tmp_path / "hub" / "data"))
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (["deploy"], "give a template, or --delete with --stack", 2),
        (["deploy", "x.yaml", "--stack", "1"], "expected a stack's name: a letter, then", 2),
        (["deploy", "x.yaml", "--parameter", "a"], "expected --parameter NAME=VALUE, got 'a'", 2),
        (
            ["deploy", "x.yaml", "--parameter", "a=1", "--parameter", "a=2"],
            "expected each parameter once, got a again",
            2,
        ),
        (["deploy", "missing.yaml"], "cannot read the template missing.yaml: No such file", 1),
        (["deploy", "--stack", "x", "--delete", "--account", "222222222222"], "Stack with id x does not exist", 1),
    ],
)
def test_wrong_command_is_told_in_one_line(hub: HubProcess, arguments: list[str], text: str, status: int) -> None:
    assert text in complaint(hub, *arguments, status=status)


def test_keys_of_another_account_are_refused(hub: HubProcess) -> None:
    line = complaint(
        hub, "deploy", "--stack", "x", "--delete", AWS_ACCESS_KEY_ID="222222222222", AWS_SECRET_ACCESS_KEY="x"
    )
    assert line.startswith(f"expected keys of account {WORKLOAD} in the environment, got those of 222222222222")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "expected a stack's record: "),
        (b'{"account":"1","region":"us-east-1","stack":"s"}', "expected an account of 12 digits and a region"),
        (b'{"account":"111111111111","region":"us-east-1","stack":"s/t"}', "expected a stack's name: a letter"),
        (b'{"account":"111111111111","region":"us-east-1","stack":"s","version":3}', "expected version 0, got 3"),
    ],
)
def test_record_that_cannot_be_is_refused(hub: HubProcess, body: bytes, text: str) -> None:
    status, found = hub.request("PUT", "/_hub/v1/stacks", body, {"Content-Type": "application/json"})
    assert status == 400
    assert text in json.loads(found)["message"]


def test_where_signatures_are_verified_an_admin_key_deploys_and_another_does_not(tmp_path: Path, secrets: str) -> None:
    admin: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "AKIAADMIN", "AWS_SECRET_ACCESS_KEY": "admin/secret+8Kz"}
    other: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "other/secret+9Xy"}
    keys = [
        {
            "access_key_id": pair["AWS_ACCESS_KEY_ID"],
            "secret_access_key": pair["AWS_SECRET_ACCESS_KEY"],
            "account": WORKLOAD,
            "admin": pair is admin,
        }
        for pair in (admin, other)
    ]
    with HubProcess(tmp_path / "hub", {"auth": {"mode": "sigv4", "keys": keys}}) as running:
        assert "it is not an admin key" in complaint(running, "deploy", secrets, **other)
        assert "made Rule (secrets-Rule-" in answer(running, "deploy", secrets, **admin)


# the hub file


def listed(folder: Path, *templates: tuple[str, str], **more: Any) -> dict[str, Any]:
    """Settings that list templates, which are written to the hub file's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in templates:
        (folder / f"{name}.yaml").write_text(text)
    entries = [
        {"file": f"{name}.yaml", "account": WORKLOAD, "region": REGION, "stack": name, **more} for name, _ in templates
    ]
    return {"templates": entries}


def test_listed_template_is_deployed_at_start_kept_and_deleted_once_it_is_not_listed(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with HubProcess(folder, listed(folder, ("secrets", SECRETS), parameters={"Agent": "one"})) as hub:
        (rule,) = rules(hub)
        events = hub.client("events")
        events.remove_targets(Rule=rule, Ids=["log", "queue"])
        events.delete_rule(Name=rule)
        hub.stop()
    with HubProcess(folder, listed(folder, ("secrets", SECRETS), parameters={"Agent": "one"})) as hub:
        assert rules(hub) == [rule]
        assert len(hub.client("events").list_targets_by_rule(Rule=rule)["Targets"]) == 2
        hub.stop()
    with HubProcess(folder, listed(folder, ("secrets", SECRETS), parameters={"Agent": "two"})) as hub:
        assert '{"wildcard":"two"}' in hub.client("events").describe_rule(Name=rule)["EventPattern"]
        hub.stop()
    with HubProcess(folder, {}) as hub:
        assert rules(hub) == []
        assert hub.client("sqs").list_queues().get("QueueUrls", []) == []


def test_listed_template_imports_from_one_before_it_and_both_go_together(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    source = "Resources: {Q: {Type: AWS::SQS::Queue}}\nOutputs: {A: {Value: !GetAtt Q.Arn, Export: {Name: arn}}}"
    user = (
        "Resources:\n  R:\n    Type: AWS::Events::Rule\n    Properties:\n      EventPattern: {source: [x]}\n"
        "      Targets: [{Id: q, Arn: !ImportValue arn}]\n"
    )
    with HubProcess(folder, listed(folder, ("source", source), ("user", user))) as hub:
        (rule,) = rules(hub)
        assert rule.startswith("user-R-")
        hub.stop()
    with HubProcess(folder, {}) as hub:
        assert rules(hub) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Resources: {R: {Type: AWS::Events::Rule, Properties: {Foo: 1}}}", "got Foo - at `Resources.R.Properties`"),
        (BUSES % ("one", "[") + "  X: {", "the template is not YAML"),
        (
            "Resources: {R: {Type: AWS::Events::Rule, Properties: {EventPattern: {source: x}}}}",
            "R (AWS::Events::Rule bad-R-",
        ),
    ],
)
def test_listed_template_that_cannot_be_deployed_stops_the_start(tmp_path: Path, text: str, reason: str) -> None:
    settings = {"accounts": [{"id": WORKLOAD}], "regions": [REGION], "data_folder": str(tmp_path / "data")}
    path = tmp_path / "hub.yaml"
    path.write_text(json.dumps({**settings, **listed(tmp_path, ("bad", text))}))
    for command in (["serve", str(path), "--port", "0"], ["check", str(path)]):
        done = crossbus(None, *command)
        assert done.returncode == 1
        line = done.stderr.decode().splitlines()[-1]
        assert f"{tmp_path / 'bad.yaml'}: " in line
        assert reason in line
        assert line.endswith("at `$.templates[0]`")
