"""ARNs: what is taken apart, what is built, what is refused."""

import pytest

from router.core.arn import (
    Arn,
    InvalidArn,
    api_destination_arn,
    bus_arn,
    bus_name,
    connection_arn,
    connection_secret_arn,
    log_group_arn,
    parse,
    queue_arn,
    rule_arn,
)
from router.core.event import Location

HERE = Location("111111111111", "us-east-1")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("arn:aws:sqs:eu-west-1:111111111111:q", Arn("aws", "sqs", "eu-west-1", "111111111111", "q")),
        ("arn:aws:s3:::bucket/key", Arn("aws", "s3", "", "", "bucket/key")),
        ("arn:aws:iam::aws:policy/Admin", Arn("aws", "iam", "", "aws", "policy/Admin")),
        (
            "arn:aws-cn:lambda:cn-north-1:111111111111:function:f:1",
            Arn("aws-cn", "lambda", "cn-north-1", "111111111111", "function:f:1"),
        ),
    ],
)
def test_arn_is_taken_apart_and_written_again(text: str, parts: Arn) -> None:
    assert parse(text) == parts
    assert str(parts) == text


def test_arn_names_its_location() -> None:
    assert parse("arn:aws:sqs:us-east-1:111111111111:q").location == HERE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "q",
        "arn:aws:sqs:us-east-1:111111111111",
        "arn:aws:sqs:us-east-1:111111111111:",
        "arn:aws:sqs:us-east-1:1111:q",
        "arn:aws::us-east-1:111111111111:q",
        "arn::sqs:us-east-1:111111111111:q",
        "arn:aws:sqs:us-east-1:111111111111:q\n",
        " arn:aws:sqs:us-east-1:111111111111:q",
    ],
)
def test_what_is_no_arn_is_refused(text: str) -> None:
    with pytest.raises(InvalidArn, match="Expected arn:"):
        parse(text)


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (bus_arn(HERE, "default"), "arn:aws:events:us-east-1:111111111111:event-bus/default"),
        (rule_arn(HERE, "default", "r"), "arn:aws:events:us-east-1:111111111111:rule/r"),
        (rule_arn(HERE, "orders", "r"), "arn:aws:events:us-east-1:111111111111:rule/orders/r"),
        (queue_arn(HERE, "q.fifo"), "arn:aws:sqs:us-east-1:111111111111:q.fifo"),
        (log_group_arn(HERE, "/aws/events/x"), "arn:aws:logs:us-east-1:111111111111:log-group:/aws/events/x"),
        (bus_arn(Location("1" * 12, "cn-north-1"), "b"), "arn:aws-cn:events:cn-north-1:111111111111:event-bus/b"),
        (queue_arn(Location("1" * 12, "us-gov-west-1"), "q"), "arn:aws-us-gov:sqs:us-gov-west-1:111111111111:q"),
    ],
)
def test_built_arn_is_that_of_aws(built: str, expected: str) -> None:
    assert built == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default", (None, "default")),
        ("aws.partner/x.com/1", (None, "aws.partner/x.com/1")),
        ("arn:aws:events:us-east-1:111111111111:event-bus/orders", (HERE, "orders")),
    ],
)
def test_bus_is_named_by_name_or_arn(text: str, expected: tuple[Location | None, str]) -> None:
    assert bus_name(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "arn:aws:events:us-east-1:111111111111",
        "arn:aws:sqs:us-east-1:111111111111:event-bus/x",
        "arn:aws:events:us-east-1:111111111111:rule/x",
        "arn:aws:events:us-east-1:111111111111:event-bus/",
        "arn:aws:events:us-east-1:111111111111:event-bus/a b",
        "arn:aws:events:us-east-1::event-bus/x",
        "arn:aws:events::111111111111:event-bus/x",
    ],
)
def test_what_names_no_bus_is_refused(text: str) -> None:
    with pytest.raises(InvalidArn):
        bus_name(text)


def test_arns_of_connections_and_api_destinations_end_in_a_uuid() -> None:
    assert connection_arn(HERE, "pager", "u-1") == "arn:aws:events:us-east-1:111111111111:connection/pager/u-1"
    assert (
        api_destination_arn(HERE, "pager", "u-1") == "arn:aws:events:us-east-1:111111111111:api-destination/pager/u-1"
    )
    assert connection_secret_arn(Location("111111111111", "cn-north-1"), "pager", "u-1", "AbCdEf") == (
        "arn:aws-cn:secretsmanager:cn-north-1:111111111111:secret:events!connection/pager/u-1-AbCdEf"
    )
