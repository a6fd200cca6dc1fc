"""Answers recorded on AWS, step by step: the steps are played again and the answers must fit, placeholder for
placeholder. What needs deliveries is played against a hub process (tests/e2e/test_recorded.py).
"""

from pathlib import Path
from typing import Any

import pytest

from tests.api import recorded, recorded_archives, recorded_connections
from tests.api.hub import Api, serving
from tests.api.recorded import Play, step
from tests.e2e.recorded import PLAYS as DELIVERED
from tests.e2e.recorded import SCHEDULED
from tests.recorded import CASES, NOT_YET, ROWS, Placeholders, check, name_of, variant_of
from tests.shared import needs_shared


async def bad_schedule(api: Api, variant: str) -> dict[str, Any]:
    refused = await step(api, "PutRule", Name="my-rule", ScheduleExpression=variant_of(variant))
    return {"invalid-put-rule": refused, "put-rule": refused}


async def good_schedule(api: Api, variant: str) -> dict[str, Any]:
    expression = variant_of(variant) or "rate(1 minute)"
    if variant.endswith("::tests_put_rule_with_schedule_cron"):  # which expression it was is in its answer only
        (expression,) = (row["response"]["Rules"][0]["ScheduleExpression"] for row in ROWS
                         if row["test"] == variant and row["step"] == "list-rules")  # fmt: skip
    put = await step(api, "PutRule", Name="my-rule", ScheduleExpression=expression)
    return {"put-rule": put, "list-rules": await step(api, "ListRules", NamePrefix="my")}


PLAYS: dict[str, Play] = {
    **recorded_archives.PLAYS,
    **recorded_connections.PLAYS,
    "test_create_list_describe_delete_custom_event_buses": recorded.buses,
    "test_create_multiple_event_buses_same_name": recorded.same_bus_twice,
    "test_describe_delete_not_existing_event_bus": recorded.no_bus,
    "test_list_event_buses_with_prefix": recorded.bus_prefix,
    "test_list_event_buses_with_limit": recorded.bus_limit,
    "test_remove_permission": recorded.remove_permission,
    "test_remove_permission_non_existing_sid": recorded.remove_unknown_permission,
    "test_put_list_with_prefix_describe_delete_rule": recorded.rule_life,
    "test_disable_re_enable_rule": recorded.switching,
    "test_delete_rule_with_targets": recorded.delete_with_targets,
    "test_put_list_remove_target": recorded.target_life,
    "test_add_exceed_fife_targets_per_rule": recorded.six_targets,
    "test_list_target_by_rule_limit": recorded.target_limit,
    "test_put_multiple_targets_with_same_id_single_rule": recorded.targets_put_again,
    "test_put_multiple_targets_with_same_id_across_different_rules": recorded.targets_put_again,
    "test_put_multiple_targets_with_same_arn_across_different_rules": recorded.targets_put_again,
    "test_put_events_with_input_transformer_missing_keys": recorded.bad_targets,
    "test_put_event_input_path_and_input_transformer": recorded.bad_targets,
    "test_list_rule_names_by_target": recorded.names_by_target,
    "test_list_rule_names_by_target_with_limit": recorded.names_by_target_in_pages,
    "test_list_rule_names_by_target_no_matches": recorded.no_names_by_target,
    "test_invalid_json_event_pattern": recorded.bad_pattern,
    "test_plain_string_payload": recorded.bad_event,
    "test_invalid_event_payload": recorded.bad_event,
    "test_array_event_payload": recorded.bad_event,
    "tests_tag_untag_resource": recorded.tagging,
    "tests_tag_list_untag_not_existing_resource": recorded.tag_nothing,
    "test_list_tags_for_deleted_rule": recorded.tags_of_deleted_rule,
    "test_recreate_tagged_resource_without_tags": recorded.tags_of_new_rule,
    "test_put_rule_with_tags": recorded.rule_with_tags,
    "schedule accepted": recorded.as_requested,
    "test_put_rule_with_schedule_rate": good_schedule,
    "tests_put_rule_with_schedule_cron": good_schedule,
    "tests_put_rule_with_invalid_schedule_cron": bad_schedule,
    "test_put_rule_with_invalid_schedule_rate": bad_schedule,
}


@needs_shared
@pytest.mark.parametrize("case", [case for case in CASES if name_of(case) in PLAYS])
async def test_answers_fit_what_was_recorded_on_aws(tmp_path: Path, case: str) -> None:
    async with serving(tmp_path, exists=lambda location: True) as api:
        played = await PLAYS[name_of(case)](api, case)
    assert check(case, played)


@needs_shared
def test_every_recorded_row_is_played_or_says_why_not() -> None:
    """Each play must give an answer to all steps of its test, so that the tests' names tell the rows."""
    played = [row["id"] for row in ROWS if row["id"] not in NOT_YET]
    names = PLAYS.keys() | DELIVERED.keys() | SCHEDULED.keys()
    assert [row["id"] for row in ROWS if row["id"] not in NOT_YET and name_of(row["test"]) not in names] == []
    assert NOT_YET.keys() <= {row["id"] for row in ROWS}
    assert len(PLAYS) + len(DELIVERED) + len(SCHEDULED) == len(names), "a test has one play"
    assert (len(ROWS), len(played), len(NOT_YET)) == (306, 305, 1)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ({"A": "x"}, {"A": "x", "B": "y"}),
        ({"A": 1}, {"A": True}),
        ({"A": "datetime"}, {"A": "2026-11-23T10:00:00Z"}),
        (["<uuid:1>", "<uuid:1>"], ["a", "b"]),
        (["<uuid:1>", "<uuid:2>"], ["a", "a"]),
        (["<name>", "rule/<name>"], ["a", "rule/b"]),
        ({"Body": {"id": "<uuid:1>", "time": "date"}}, {"Body": '{"time":"2026-11-23T10:00:00Z","id":"a"}'}),
        ("at date", "at noon"),
        ([1, 2], [1]),
    ],
)
def test_an_answer_that_differs_does_not_fit(expected: Any, got: Any) -> None:
    assert Placeholders().mismatch(expected, got, "$") is not None


def test_what_differs_from_run_to_run_fits() -> None:
    expected = {
        "Arn": "arn:<partition>:x:<region>:rule/<n>",
        "Body": {"id": "<uuid:1>", "time": "date"},
        "At": "datetime",
    }
    got = {"At": 1.5, "Body": '{"id":"a","time":"2026-11-23T10:00:00Z"}', "Arn": "arn:aws:x:eu-west-1:rule/r"}
    assert Placeholders().mismatch(expected, got, "$") is None
