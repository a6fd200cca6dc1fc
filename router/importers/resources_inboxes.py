"""SQS queues and their policies, SNS topics and log groups: the kinds that become inboxes of the simulated accounts.

Queues and log groups are made by their own calls. A topic needs none: its inbox appears with the first delivery. What a
property says that no inbox can do is named in `without_effect`, so that nobody takes it for done.
"""

from collections.abc import Mapping
from typing import Any

from router.importers.intrinsics import Later
from router.importers.kinds import Call, CallRefused, Kind, Steps, Where, gone
from router.importers.property_types import (
    BOOLEAN,
    INTEGER,
    JSON,
    TAGS,
    TEXT,
    TEXTS,
    Type,
    json_text,
)

_NO_QUEUE = "QueueDoesNotExist"


def _sqs(action: str, **request: Any) -> Call:
    return Call("sqs", action, request)


class Queue(Kind):
    type = "AWS::SQS::Queue"
    rank = 0
    properties = Type(
        name="object",
        members={
            "ContentBasedDeduplication": BOOLEAN,
            "DeduplicationScope": TEXT,
            "DelaySeconds": INTEGER,
            "FifoQueue": BOOLEAN,
            "FifoThroughputLimit": TEXT,
            "KmsDataKeyReusePeriodSeconds": INTEGER,
            "KmsMasterKeyId": TEXT,
            "MaximumMessageSize": INTEGER,
            "MessageRetentionPeriod": INTEGER,
            "QueueName": TEXT,
            "ReceiveMessageWaitTimeSeconds": INTEGER,
            "RedriveAllowPolicy": JSON,
            "RedrivePolicy": JSON,
            "SqsManagedSseEnabled": BOOLEAN,
            "Tags": TAGS,
            "VisibilityTimeout": INTEGER,
        },
    )
    name_property = "QueueName"
    name_chars_max = 75
    replaced_by = frozenset({"QueueName", "FifoQueue"})
    late = frozenset({"Ref", "QueueUrl"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"QueueName": name, "Arn": where.arn("sqs", name)}

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        if "KmsMasterKeyId" in properties:
            return [f"expected no key, this hub has none to encrypt messages with - at `{path}.KmsMasterKeyId`"]
        return []

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        def steps() -> Steps:
            yield _sqs("GetQueueUrl", QueueName=name)

        return (yield from gone(steps(), _NO_QUEUE))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        request: dict[str, Any] = {"QueueName": name, "Attributes": self._attributes(properties)}
        if "Tags" in properties:
            request["tags"] = {tag["Key"]: str(tag["Value"]) for tag in properties["Tags"]}
        answer = yield _sqs("CreateQueue", **request)
        return {"Ref": answer["QueueUrl"], "QueueUrl": answer["QueueUrl"]}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        answer = yield _sqs("GetQueueUrl", QueueName=name)
        url = answer["QueueUrl"]
        wanted, had = self._attributes(new), self._attributes(old)
        unset = {attribute: _DEFAULTS.get(attribute, "") for attribute in had if attribute not in wanted}
        wanted.pop("FifoQueue", None)
        if wanted or unset:
            yield _sqs("SetQueueAttributes", QueueUrl=url, Attributes={**unset, **wanted})
        tags = {tag["Key"]: str(tag["Value"]) for tag in new.get("Tags", [])}
        old_tags = {tag["Key"]: tag["Value"] for tag in old.get("Tags", [])}
        if tags and tags != old_tags:
            yield _sqs("TagQueue", QueueUrl=url, Tags=tags)
        if left := [key for key in old_tags if key not in tags]:
            yield _sqs("UntagQueue", QueueUrl=url, TagKeys=left)
        return {"Ref": url, "QueueUrl": url}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        def steps() -> Steps:
            answer = yield _sqs("GetQueueUrl", QueueName=name)
            yield _sqs("DeleteQueue", QueueUrl=answer["QueueUrl"])

        yield from gone(steps(), _NO_QUEUE)

    def _attributes(self, properties: Mapping[str, Any]) -> dict[str, str]:
        found = {}
        for name, value in properties.items():
            if name in ("QueueName", "Tags") or (name == "FifoQueue" and not value):
                continue
            if isinstance(value, bool):
                found[name] = "true" if value else "false"
            else:
                found[name] = json_text(value) if isinstance(value, dict) else str(value)
        return found


_DEFAULTS = {
    # What SQS has where nothing is said (CreateQueue): what a property that is taken out becomes.
    "VisibilityTimeout": "30",
    "DelaySeconds": "0",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "MaximumMessageSize": "1048576",
    "SqsManagedSseEnabled": "false",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}


class QueuePolicy(Kind):
    type = "AWS::SQS::QueuePolicy"
    rank = 1
    properties = Type(
        name="object",
        members={"PolicyDocument": JSON, "Queues": TEXTS},
        required=frozenset({"PolicyDocument", "Queues"}),
    )
    name_chars_max = 128

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"Ref": name, "Id": name}

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        policy = json_text(properties["PolicyDocument"])
        for url in properties["Queues"]:
            yield _sqs("SetQueueAttributes", QueueUrl=str(url), Attributes={"Policy": policy})
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        left = [url for url in old["Queues"] if url not in new["Queues"]]
        yield from self.delete(where, name, {"Queues": left})
        return (yield from self.create(where, name, new))

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        for url in properties["Queues"]:
            yield from gone(self._unset(url), _NO_QUEUE)

    def _unset(self, url: Any) -> Steps:
        if not isinstance(url, Later):
            yield _sqs("SetQueueAttributes", QueueUrl=str(url), Attributes={"Policy": ""})


class Topic(Kind):
    type = "AWS::SNS::Topic"
    rank = 0
    properties = Type(
        name="object",
        members={
            "ArchivePolicy": JSON,
            "ContentBasedDeduplication": BOOLEAN,
            "DataProtectionPolicy": JSON,
            "DeliveryStatusLogging": Type(name="list", element=JSON),
            "DisplayName": TEXT,
            "FifoThroughputScope": TEXT,
            "FifoTopic": BOOLEAN,
            "KmsMasterKeyId": TEXT,
            "SignatureVersion": TEXT,
            "Subscription": Type(
                name="list", element=Type(name="object", members={"Endpoint": TEXT, "Protocol": TEXT})
            ),
            "Tags": TAGS,
            "TopicName": TEXT,
            "TracingConfig": TEXT,
        },
    )
    name_property = "TopicName"
    name_chars_max = 256
    replaced_by = frozenset({"TopicName", "FifoTopic"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        arn = where.arn("sns", name)
        return {"Ref": arn, "TopicArn": arn, "TopicName": name}

    def without_effect(self, properties: Mapping[str, Any]) -> list[str]:
        return [name for name in properties if name not in ("TopicName", "FifoTopic")]


class LogGroup(Kind):
    type = "AWS::Logs::LogGroup"
    rank = 0
    properties = Type(
        name="object",
        members={
            "DataProtectionPolicy": JSON,
            "DeletionProtectionEnabled": BOOLEAN,
            "FieldIndexPolicies": Type(name="list", element=JSON),
            "KmsKeyId": TEXT,
            "LogGroupClass": TEXT,
            "LogGroupName": TEXT,
            "ResourcePolicyDocument": JSON,
            "RetentionInDays": INTEGER,
            "Tags": TAGS,
        },
    )
    name_property = "LogGroupName"
    name_chars_max = 512
    replaced_by = frozenset({"LogGroupName"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        """The Arn that CloudFormation gives ends in `:*`."""
        return {"Ref": name, "Arn": where.arn("logs", f"log-group:{name}:*")}

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        """A group that a delivery made before is taken over."""
        try:
            yield Call("logs", "CreateLogGroup", {"logGroupName": name})
        except CallRefused as refused:
            if refused.code != "ResourceAlreadyExistsException":
                raise
        return {}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        def steps() -> Steps:
            yield Call("logs", "DeleteLogGroup", {"logGroupName": name})

        yield from gone(steps(), "ResourceNotFoundException")

    def without_effect(self, properties: Mapping[str, Any]) -> list[str]:
        return [name for name in properties if name != "LogGroupName"]
