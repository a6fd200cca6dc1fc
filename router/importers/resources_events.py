"""Event buses, their policies, and rules: the kinds of AWS::Events that route events.

Properties and what replaces a resource: classic.md section 9; Ref and GetAtt: the resource types' pages. The calls are
those of the EventBridge API.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from router.aws.model import load_model
from router.catalog import kinds as target_kinds
from router.core.arn import InvalidArn, bus_name, rule_arn
from router.importers.intrinsics import Later
from router.importers.kinds import Call, CallRefused, Kind, Steps, Where, gone, present
from router.importers.property_types import JSON, TEXT, Type, api_value, json_text, of_model

MODEL = load_model(
    "events", ["PutRule", "PutTargets", "CreateEventBus", "CreateArchive", "CreateConnection", "CreateApiDestination"]
)
_DEFAULT = "default"
_NOT_FOUND = "ResourceNotFoundException"


def members(shape: str, *leave_out: str) -> dict[str, Type]:
    """The members of a request that are properties as they are."""
    return {name: of_model(MODEL, of) for name, of in MODEL.shapes[shape].members.items() if name not in leave_out}


def event(action: str, **request: Any) -> Call:
    return Call("events", action, {name: value for name, value in request.items() if value is not None})


def describes(call: Call) -> Steps:
    """Whether a Describe call finds something."""

    def steps() -> Steps:
        yield call

    return (yield from gone(steps(), _NOT_FOUND))


def retag(arn: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
    """Tags as they are to be; of those that the stack did not set nothing is known, and they stay."""
    wanted = {tag["Key"]: tag["Value"] for tag in new.get("Tags", [])}
    had = {tag["Key"]: tag["Value"] for tag in old.get("Tags", [])}
    if wanted and wanted != had:
        tags = [{"Key": key, "Value": str(value)} for key, value in wanted.items()]
        yield event("TagResource", ResourceARN=arn, Tags=tags)
    left = [key for key in had if key not in wanted]
    if left:
        yield event("UntagResource", ResourceARN=arn, TagKeys=left)


_GONE: Mapping[str, Any] = {
    "Description": "",
    "KmsKeyIdentifier": "",
    "DeadLetterConfig": {},
    "LogConfig": {"Level": "OFF"},
}
"""What tells UpdateEventBus that a property is not there any more: what it is not given stays."""


class EventBus(Kind):
    type = "AWS::Events::EventBus"
    rank = 0
    properties = Type(
        name="object",
        members={**members("CreateEventBusRequest"), "Policy": JSON},
        required=frozenset({"Name"}),
    )
    name_property = "Name"
    name_chars_max = 256
    replaced_by = frozenset({"Name", "EventSourceName"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"Ref": name, "Name": name, "Arn": where.arn("events", f"event-bus/{name}")}

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        return (yield from describes(event("DescribeEventBus", Name=name)))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        given = {key: value for key, value in properties.items() if key not in ("Name", "Policy")}
        yield event("CreateEventBus", Name=name, **api_value(self.properties, given))
        if "Policy" in properties:
            yield event("PutPermission", EventBusName=name, Policy=json_text(properties["Policy"]))
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        own = tuple(_GONE)
        if present(new, *own) != present(old, *own):
            gone = {key: _GONE[key] for key in present(old, *own) if key not in new}
            yield event("UpdateEventBus", Name=name, **api_value(self.properties, present(new, *own)), **gone)
        if new.get("Policy") != old.get("Policy"):
            if "Policy" in new:
                yield event("PutPermission", EventBusName=name, Policy=json_text(new["Policy"]))
            else:
                yield event("RemovePermission", EventBusName=name, RemoveAllPermissions=True)
        yield from retag(where.arn("events", f"event-bus/{name}"), new, old)
        return {}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield event("DeleteEventBus", Name=name)


class EventBusPolicy(Kind):
    """A statement of a bus's policy. The short form (Action, Principal, Condition) is that of old templates."""

    type = "AWS::Events::EventBusPolicy"
    rank = 3
    properties = Type(
        name="object",
        members={
            "StatementId": TEXT,
            "EventBusName": TEXT,
            "Statement": JSON,
            "Action": TEXT,
            "Principal": TEXT,
            "Condition": Type(
                name="object",
                members={"Type": TEXT, "Key": TEXT, "Value": TEXT},
                required=frozenset({"Type", "Key", "Value"}),
            ),
        },
        required=frozenset({"StatementId"}),
    )
    name_chars_max = 64
    replaced_by = frozenset({"StatementId", "EventBusName"})

    def identity(self, where: Where, name: str, properties: Mapping[str, Any]) -> str:
        return f"{properties.get('EventBusName', _DEFAULT)}|{properties['StatementId']}"

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        short = [key for key in ("Action", "Principal", "Condition") if key in properties]
        if "Statement" in properties and short:
            return [f"expected either Statement or {', '.join(short)}, got both - at `{path}`"]
        if "Statement" not in properties and not {"Action", "Principal"} <= set(short):
            return [f"expected Statement, or Action and Principal, got neither - at `{path}`"]
        return []

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        statements = yield from self._statements(properties)
        return any(statement.get("Sid") == properties["StatementId"] for statement in statements)

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        if "Statement" not in properties:
            yield event("PutPermission", **api_value(self.properties, properties))
            return {}
        statements = yield from self._statements(properties)
        raw = properties["Statement"]
        own = msgspec.json.decode(raw) if isinstance(raw, str) else raw
        own = {**own, "Sid": properties["StatementId"]}
        others = [statement for statement in statements if statement.get("Sid") != own["Sid"]]
        policy = {"Version": "2012-10-17", "Statement": [*others, own]}
        yield event("PutPermission", EventBusName=self._bus(properties), Policy=json_text(policy))
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        return (yield from self.create(where, name, new))

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        def steps() -> Steps:
            yield event(
                "RemovePermission", EventBusName=self._bus(properties), StatementId=str(properties["StatementId"])
            )

        yield from gone(steps(), _NOT_FOUND)

    def _bus(self, properties: Mapping[str, Any]) -> str:
        return str(properties.get("EventBusName", _DEFAULT))

    def _statements(self, properties: Mapping[str, Any]) -> Steps:
        described = yield event("DescribeEventBus", Name=self._bus(properties))
        policy = msgspec.json.decode(described.get("Policy") or '{"Statement":[]}')
        found = policy["Statement"]
        return found if isinstance(found, list) else [found]


class Rule(Kind):
    type = "AWS::Events::Rule"
    rank = 6
    properties = Type(
        name="object",
        members={
            **members("PutRuleRequest", "EventPattern"),
            "EventPattern": JSON,
            "Targets": of_model(MODEL, "TargetList"),
        },
    )
    name_property = "Name"
    name_chars_max = 64
    replaced_by = frozenset({"Name", "EventBusName"})

    def identity(self, where: Where, name: str, properties: Mapping[str, Any]) -> str:
        bus = self._bus(properties)
        return name if bus == _DEFAULT else f"{bus}|{name}"

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        """Ref is the name, and `BUS|NAME` on buses other than the default one."""
        arn = rule_arn(where.location, self._bus(properties), name)
        return {"Ref": self.identity(where, name, properties), "Arn": arn}

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        found = []
        if "EventPattern" not in properties and "ScheduleExpression" not in properties:
            found.append(f"expected EventPattern or ScheduleExpression, got neither - at `{path}`")
        bus = properties.get("EventBusName")
        if isinstance(bus, str):
            try:
                bus_name(bus)
            except InvalidArn as error:
                found.append(f"{error} - at `{path}.EventBusName`")
        targets = properties.get("Targets")
        for index, target in enumerate(targets if isinstance(targets, list) else []):
            arn = target.get("Arn") if isinstance(target, dict) else None
            if isinstance(arn, str) and target_kinds.kind_of(arn) is None:
                found.append(
                    f"this hub has no targets such as {arn!r}, it has {target_kinds.SUPPORTED} - "
                    f"at `{path}.Targets[{index}].Arn`"
                )
        return found

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        return (yield from describes(event("DescribeRule", Name=name, EventBusName=properties.get("EventBusName"))))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield self._put(name, properties, tags=True)
        targets = properties.get("Targets", [])
        yield from self._put_targets(name, properties, targets)
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        if _without(new, "Targets", "Tags") != _without(old, "Targets", "Tags"):
            yield self._put(name, new, tags=False)
        had = {target["Id"]: target for target in old.get("Targets", [])}
        wanted = {target["Id"]: target for target in new.get("Targets", [])}
        left = [id_ for id_ in had if id_ not in wanted]
        if left:
            yield from self._remove_targets(name, new, left)
        changed = [target for id_, target in wanted.items() if had.get(id_) != target]
        yield from self._put_targets(name, new, changed)
        yield from retag(rule_arn(where.location, self._bus(new), name), new, old)
        return {}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        def steps() -> Steps:
            bus = properties.get("EventBusName")
            answer = yield event("ListTargetsByRule", Rule=name, EventBusName=bus)
            ids = [target["Id"] for target in answer["Targets"]]
            if ids:
                yield from self._remove_targets(name, properties, ids)
            yield event("DeleteRule", Name=name, EventBusName=bus)

        yield from gone(steps(), _NOT_FOUND)

    def _bus(self, properties: Mapping[str, Any]) -> str:
        raw = properties.get("EventBusName", _DEFAULT)
        return _DEFAULT if isinstance(raw, Later) else bus_name(raw)[1]

    def _put(self, name: str, properties: Mapping[str, Any], *, tags: bool) -> Call:
        given = _without(properties, "Name", "Targets", *(() if tags else ("Tags",)))
        return event("PutRule", Name=name, **api_value(self.properties, given))

    def _put_targets(self, name: str, properties: Mapping[str, Any], targets: list[Any]) -> Steps:
        if not targets:
            return
        given = api_value(self.properties.members["Targets"], targets)
        answer = yield event("PutTargets", Rule=name, EventBusName=properties.get("EventBusName"), Targets=given)
        _all_done(answer)

    def _remove_targets(self, name: str, properties: Mapping[str, Any], ids: list[str]) -> Steps:
        answer = yield event("RemoveTargets", Rule=name, EventBusName=properties.get("EventBusName"), Ids=ids)
        _all_done(answer)


def _all_done(answer: Mapping[str, Any]) -> None:
    for entry in answer.get("FailedEntries") or ():
        raise CallRefused(entry["ErrorCode"], f"target {entry['TargetId']}: {entry['ErrorMessage']}")


def _without(properties: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name not in names}
