"""What a target receives: AWS's recorded cases, and the edges around them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.event import Event, envelope
from router.core.jsonpath import InvalidPath
from router.core.transform import (
    BadInput,
    BadTemplate,
    Constant,
    InvalidInput,
    compile_transform,
    render,
)
from tests.shared import needs_shared, rows

RULE_ARN = "arn:aws:events:us-east-1:111111111111:rule/my-bus/my-rule"
INGESTED_MS = 1_718_094_785_999  # 2024-06-11T08:33:05Z
EVENT = Event(
    "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "core.update",
    "my.app",
    "111111111111",
    "2024-06-11T08:33:04Z",
    "us-east-1",
    ("arn:aws:s3:::b",),
    json.dumps(
        {
            "s": "text",
            "quote": 'say "hi"',
            "lines": "one\ntwo",
            "n": 1.10,
            "yes": True,
            "nil": None,
            "o": {"a": 'x"y', "b": "back\\"},
            "l": ["A", "B"],
            "k": [{"v": 1}, {"v": 2}],
        },
        separators=(",", ":"),
    ).replace("1.1,", "1.10,"),
)


def event_of(row: dict[str, Any]) -> Event:
    sent = json.loads(row["event"])
    return Event(
        sent["id"],
        sent["detail-type"],
        sent["source"],
        sent["account"],
        sent["time"],
        sent["region"],
        tuple(sent["resources"]),
        json.dumps(sent["detail"], separators=(",", ":")),
    )


def made(
    event: Event = EVENT,
    *,
    input: str | None = None,
    input_path: str | None = None,
    paths: dict[str, str] | None = None,
    template: str | None = None,
) -> str:
    transform = compile_transform(input=input, input_path=input_path, paths_map=paths, template=template)
    assert transform is not None
    return render(transform, event, rule_arn=RULE_ARN, rule_name="my-rule", ingested_ms=INGESTED_MS).decode()


@needs_shared
@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in rows("conformance/transformers.jsonl")])
def test_recorded_case_comes_out_as_on_aws(row: dict[str, Any]) -> None:
    def result() -> str:
        return made(
            event_of(row),
            input=row.get("Input"),
            input_path=row.get("InputPath"),
            paths=row.get("InputPathsMap"),
            template=row.get("InputTemplate"),
        )

    match row["compare"]:
        case "error":
            with pytest.raises(BadTemplate) as raised:
                result()
            assert f"InputTemplate for target <target-id> {raised.value}" == row["expect"]["message"]
        case "not-delivered":
            with pytest.raises(InvalidInput):
                result()
        case "text":
            assert result() == row["expect"]
        case "json":
            assert json.loads(result()) == json.loads(row["expect"])
        case other:
            raise AssertionError(f"unknown way to compare: {other}")


PATHS = {
    name: f"$.detail.{name}" for name in ("s", "quote", "lines", "n", "yes", "nil", "o", "l", "none", "none.deep")
} | {
    "source": "$.source",
    "resource": "$.resources[0]",
    "resources": "$.resources",
    "all": "$.detail.k[*].v",
    "version": "$.version",
}
PATHS["nonedeep"] = PATHS.pop("none.deep")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{}", "{}"),
        ("[]", "[]"),
        ("<s>", '"text"'),
        ('{"a": <n>}', '{"a": 1.10}'),
        ('{"a": "<n>"}', '{"a": "1.10"}'),
        ('{"a": <quote>}', '{"a": "say \\"hi\\""}'),
        ('{"a": <lines>}', '{"a": "one\\ntwo"}'),
        ('{"a": <yes>, "b": "<yes>"}', '{"a": true, "b": "true"}'),
        ('{"a": <nil>, "b": "<nil>"}', '{"a": null, "b": "null"}'),
        ('{"a": <none>, "b": "<none>", "c": <nonedeep>}', '{"a": "", "b": "", "c": ""}'),
        ('{"a": [<l>, <o>]}', '{"a": [["A","B"], {"a":"x\\"y","b":"back\\\\"}]}'),
        ('{"a": <all>}', '{"a": [1,2]}'),
        ('{"a": "<all>"}', '{"a": "[1,2]"}'),
        ('{"a": "\\"<s>\\" \\\\", "b": <s>}', '{"a": "\\"text\\" \\\\", "b": "text"}'),
        ('{"a": "<resource>", "b": <resources>}', '{"a": "arn:aws:s3:::b", "b": ["arn:aws:s3:::b"]}'),
        ('{"a": <source>, "b": "<version>"}', '{"a": "my.app", "b": "0"}'),
        ('{"a": "1 < 2 > 0"}', '{"a": "1 < 2 > 0"}'),
        (' "t: <s>"\n', ' "t: text"\n'),
        ('"<o>"', '"{a:xy,b:back\\\\}"'),
        ('"<l>\\n<n>"', '"[A,B]\\n1.10"'),
        ('"a" <s>', '"a" "text"'),
        (
            '"<aws.events.rule-name> <aws.events.event.ingestion-time>"',
            '"my-rule 2024-06-11T08:33:05Z"',
        ),
        (
            "[<aws.events.rule-arn>,<aws.events.rule-name>,<aws.events.event.ingestion-time>]",
            f'["{RULE_ARN}","my-rule","2024-06-11T08:33:05Z"]',
        ),
    ],
)
def test_template_is_filled_in(template: str, expected: str) -> None:
    assert made(paths=PATHS, template=template) == expected


def test_predefined_events_are_json_values() -> None:
    assert made(template="<aws.events.event.json>") == envelope(EVENT).decode()
    assert made(template="<aws.events.event>") == (
        '{"id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa","account":"111111111111","detailType":"core.update",'
        '"time":"2024-06-11T08:33:05Z","source":"my.app","region":"us-east-1","resources":["arn:aws:s3:::b"],'
        '"version":"0"}'
    )


@pytest.mark.parametrize(
    "template",
    [
        "<s> is not quoted",
        "plain",
        "",
        "  ",
        '{"a": "<quote>"}',
        '{"a": "<lines>"}',
        '{"a": "<l>"}',
        '{"a": "<aws.events.event>"}',
        '"<quote>"',
        '"<lines>"',
        '"<aws.events.event.json>"',
        '"text" <o>',
        '"one"and"two"',
        '"open <s>',
        '"<s>" trailing',
    ],
)
def test_result_that_is_not_json_cannot_be_delivered(template: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        made(paths=PATHS, template=template)
    assert raised.value.code == "INVALID_JSON"


def test_unknown_placeholder_is_named() -> None:
    with pytest.raises(BadTemplate) as raised:
        compile_transform(input=None, input_path=None, paths_map=None, template='"<x> <y>"')
    assert raised.value.placeholder == "x"


@pytest.mark.parametrize("template", ["<aws.events.nothing>", "<AWS.events.rule-arn>"])
def test_reserved_name_that_does_not_exist_is_refused(template: str) -> None:
    with pytest.raises(BadTemplate):
        compile_transform(input=None, input_path=None, paths_map={}, template=template)


@pytest.mark.parametrize(
    ("input_path", "expected"),
    [
        ("$.detail", EVENT.detail),
        ("$.detail.s", '"text"'),
        ("$.detail.n", "1.10"),
        ("$.detail.o.b", '"back\\\\"'),
        ("$.id", '"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa"'),
        ("$.detail-type", '"core.update"'),
        ("$['detail-type']", '"core.update"'),
        ("$.account", '"111111111111"'),
        ("$.time", '"2024-06-11T08:33:04Z"'),
        ("$.region", '"us-east-1"'),
        ("$.resources[*]", '["arn:aws:s3:::b"]'),
    ],
)
def test_input_path_delivers_the_part_as_sent(input_path: str, expected: str) -> None:
    assert made(input_path=input_path) == expected


def test_input_path_that_finds_nothing_cannot_be_delivered() -> None:
    with pytest.raises(InvalidInput, match=r"\$\.detail\.none finds nothing"):
        made(input_path="$.detail.none")


@pytest.mark.parametrize("input_path", [None, "$"])
def test_whole_event_needs_no_transform(input_path: str | None) -> None:
    assert compile_transform(input=None, input_path=input_path, paths_map=None, template=None) is None


def test_constant_is_delivered_as_sent() -> None:
    assert compile_transform(input='{"a" : 1}', input_path=None, paths_map=None, template=None) == Constant(
        b'{"a" : 1}'
    )
    assert made(input='{"a" : 1}') == '{"a" : 1}'


def test_constant_that_is_not_json_is_refused() -> None:
    with pytest.raises(BadInput, match="JSON syntax error"):
        compile_transform(input="{a}", input_path=None, paths_map=None, template=None)


@pytest.mark.parametrize(("input_path", "paths"), [("detail", None), (None, {"x": "detail"})])
def test_bad_path_is_refused(input_path: str | None, paths: dict[str, str] | None) -> None:
    template = None if paths is None else "<x>"
    with pytest.raises(InvalidPath):
        compile_transform(input=None, input_path=input_path, paths_map=paths, template=template)


def test_two_inputs_are_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        compile_transform(input="{}", input_path="$.detail", paths_map=None, template=None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\', max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(value=json_values)
def test_value_outside_quotes_always_arrives_unchanged(value: object) -> None:
    event = Event("i", "t", "s", "1" * 12, "2024-06-11T08:33:04Z", "us-east-1", (), json.dumps({"v": value}))
    assert json.loads(made(event, paths={"v": "$.detail.v"}, template='{"x":<v>}')) == {"x": value}


@given(value=st.lists(json_values) | st.dictionaries(st.text(max_size=3), json_values))
def test_container_in_a_text_template_always_leaves_a_string(value: object) -> None:
    event = Event("i", "t", "s", "1" * 12, "2024-06-11T08:33:04Z", "us-east-1", (), json.dumps({"v": value}))
    text = json.loads(made(event, paths={"v": "$.detail.v"}, template='"is <v>"'))
    assert '"' not in text
