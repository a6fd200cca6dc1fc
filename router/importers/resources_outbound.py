"""Archives, connections and API destinations: the kinds of AWS::Events that keep events or send them out.

The ARNs of connections and API destinations end in a UUID that only the hub's answer has.
"""

from collections.abc import Mapping
from typing import Any

from router import limits
from router.core.arn import InvalidArn, parse
from router.importers.kinds import Call, Kind, Steps, Where, gone
from router.importers.property_types import JSON, Type, api_value
from router.importers.resources_events import describes, event, members

_NOT_FOUND = "ResourceNotFoundException"


def _deleted(call: Call) -> Steps:
    def steps() -> Steps:
        yield call

    yield from gone(steps(), _NOT_FOUND)


def _unset(defaults: Mapping[str, Any], new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """What says that a property is not there any more: what an Update call is not given stays."""
    return {name: default for name, default in defaults.items() if name in old and name not in new}


class Archive(Kind):
    type = "AWS::Events::Archive"
    rank = 3
    properties = Type(
        name="object",
        members={
            **members("CreateArchiveRequest", "EventSourceArn", "EventPattern"),
            "SourceArn": members("CreateArchiveRequest")["EventSourceArn"],
            "EventPattern": JSON,
        },
        required=frozenset({"SourceArn"}),
        api_names={"SourceArn": "EventSourceArn"},
    )
    name_property = "ArchiveName"
    name_chars_max = 48
    replaced_by = frozenset({"ArchiveName", "SourceArn"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"Ref": name, "ArchiveName": name, "Arn": where.arn("events", f"archive/{name}")}

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        return (yield from describes(event("DescribeArchive", ArchiveName=name)))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield event("CreateArchive", **{**api_value(self.properties, properties), "ArchiveName": name})
        return {}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        given = api_value(self.properties, {key: item for key, item in new.items() if key != "SourceArn"})
        unset = _unset({"Description": "", "EventPattern": "", "RetentionDays": 0}, new, old)
        yield event("UpdateArchive", **{**unset, **given, "ArchiveName": name})
        return {}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield from _deleted(event("DeleteArchive", ArchiveName=name))


class Connection(Kind):
    type = "AWS::Events::Connection"
    rank = 2
    properties = Type(name="object", members=members("CreateConnectionRequest"))
    name_property = "Name"
    name_chars_max = 64
    replaced_by = frozenset({"Name"})
    late = frozenset({"Arn", "SecretArn"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"Ref": name, "ArnForPolicy": where.arn("events", f"connection/{name}")}

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        return [
            f"expected {wanted}, got none - at `{path}`"
            for wanted in ("AuthorizationType", "AuthParameters")
            if wanted not in properties
        ]

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        return (yield from describes(event("DescribeConnection", Name=name)))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield event("CreateConnection", **{**api_value(self.properties, properties), "Name": name})
        return (yield from self._late(name))

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        given = api_value(self.properties, new)
        auth, had = given["AuthParameters"], old["AuthParameters"]
        auth = {**_unset({"InvocationHttpParameters": {}}, auth, had), **auth}
        if "OAuthParameters" in auth:
            oauth = auth["OAuthParameters"]
            unset = _unset({"OAuthHttpParameters": {}}, oauth, had.get("OAuthParameters", {}))
            auth["OAuthParameters"] = {**unset, **oauth}
        unset = _unset({"Description": "", "KmsKeyIdentifier": ""}, new, old)
        yield event("UpdateConnection", **{**unset, **given, "AuthParameters": auth, "Name": name})
        return (yield from self._late(name))

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield from _deleted(event("DeleteConnection", Name=name))

    def _late(self, name: str) -> Steps:
        answer = yield event("DescribeConnection", Name=name)
        found = {"Arn": answer["ConnectionArn"]}
        return {**found, "SecretArn": answer["SecretArn"]} if answer.get("SecretArn") else found


class ApiDestination(Kind):
    type = "AWS::Events::ApiDestination"
    rank = 4
    properties = Type(
        name="object",
        members=members("CreateApiDestinationRequest"),
        required=frozenset({"ConnectionArn", "HttpMethod", "InvocationEndpoint"}),
    )
    name_property = "Name"
    name_chars_max = 64
    replaced_by = frozenset({"Name"})
    late = frozenset({"Arn"})

    def attributes(self, where: Where, name: str, properties: Mapping[str, Any]) -> dict[str, str]:
        return {"Ref": name, "ArnForPolicy": where.arn("events", f"api-destination/{name}")}

    def problems(self, properties: Mapping[str, Any], path: str) -> list[str]:
        arn = properties.get("ConnectionArn")
        if isinstance(arn, str):
            try:
                parse(arn)
            except InvalidArn as error:
                return [f"{error} - at `{path}.ConnectionArn`"]
        return []

    def exists(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        return (yield from describes(event("DescribeApiDestination", Name=name)))

    def create(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        answer = yield event("CreateApiDestination", **{**api_value(self.properties, properties), "Name": name})
        return {"Arn": answer["ApiDestinationArn"]}

    def update(self, where: Where, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Steps:
        defaults = {"Description": "", "InvocationRateLimitPerSecond": limits.INVOCATIONS_PER_S_DEFAULT}
        given = {**_unset(defaults, new, old), **api_value(self.properties, new)}
        answer = yield event("UpdateApiDestination", **{**given, "Name": name})
        return {"Arn": answer["ApiDestinationArn"]}

    def delete(self, where: Where, name: str, properties: Mapping[str, Any]) -> Steps:
        yield from _deleted(event("DeleteApiDestination", Name=name))
