from pathlib import Path
from typing import Any

import pytest

from tests.api.hub import serving
from tests.catalog.hub import PATTERN

PREFIX = "arn:aws:events:us-east-1:111111111111:"


@pytest.mark.parametrize("resource", ["event-bus/default", "event-bus/orders", "rule/r", "rule/orders/r"])
async def test_tags_are_merged_listed_and_removed(tmp_path: Path, resource: str) -> None:
    arn = PREFIX + resource
    async with serving(tmp_path) as api:
        await api.call("CreateEventBus", Name="orders")
        for bus in ("default", "orders"):
            await api.call("PutRule", Name="r", EventBusName=bus, EventPattern=PATTERN)
        assert await api.call("TagResource", ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}]) == {}
        tags = [{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}]
        await api.call("TagResource", ResourceARN=arn, Tags=tags)
        assert await api.call("ListTagsForResource", ResourceARN=arn) == {
            "Tags": [{"Key": "a", "Value": "3"}, {"Key": "b", "Value": "2"}]
        }
        assert await api.call("UntagResource", ResourceARN=arn, TagKeys=["a", "unknown"]) == {}
        assert await api.call("ListTagsForResource", ResourceARN=arn) == {"Tags": [{"Key": "b", "Value": "2"}]}


NOT_AN_ARN = "ValidationException: Parameter {} is not valid. Reason: Provided Arn is not in correct format."


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            {"ResourceARN": PREFIX + "rule/no"},
            "ResourceNotFoundException: Rule no does not exist on EventBus default.",
        ),
        ({"ResourceARN": PREFIX + "event-bus/no"}, "ResourceNotFoundException: Event bus no does not exist."),
        ({"ResourceARN": PREFIX + "rule/no/r"}, "ResourceNotFoundException: Event bus no does not exist."),
        ({"ResourceARN": "rule"}, NOT_AN_ARN.format("rule")),
        ({"ResourceARN": PREFIX + "rule/"}, NOT_AN_ARN.format(PREFIX + "rule/")),
        (
            {"ResourceARN": PREFIX + "archive/a"},
            f"ValidationException: Parameter {PREFIX}archive/a is not valid. Reason: Only rules and event buses have "
            "tags.",
        ),
        (
            {"Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
            "ValidationException: Invalid parameter: Duplicated keys are not allowed.",
        ),
        (
            {"Tags": [{"Key": "aws:k", "Value": "1"}]},
            "ValidationException: Invalid parameter: Tag keys that start with 'aws:' are reserved, got 'aws:k'.",
        ),
        (
            {"Tags": [{"Key": f"k{number}", "Value": "1"} for number in range(51)]},
            "LimitExceededException: The requested resource exceeds the maximum number allowed.",
        ),
    ],
)
async def test_a_refusal_has_its_code_and_text(tmp_path: Path, request_: dict[str, Any], expected: str) -> None:
    request = {"ResourceARN": PREFIX + "event-bus/default", "Tags": [{"Key": "k", "Value": "v"}], **request_}
    async with serving(tmp_path) as api:
        assert await api.refused("TagResource", **request) == expected


async def test_a_rule_put_again_after_its_deletion_has_no_old_tags(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.call("PutRule", Name="r", EventPattern=PATTERN, Tags=[{"Key": "a", "Value": "1"}])
        await api.call("DeleteRule", Name="r")
        await api.call("PutRule", Name="r", EventPattern=PATTERN)
        assert await api.call("ListTagsForResource", ResourceARN=PREFIX + "rule/r") == {"Tags": []}
