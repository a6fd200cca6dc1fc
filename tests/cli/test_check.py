"""`crossbus check`: files of rules in every form, their warnings, samples, and hub files with declared rules."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from router.cli import inputs
from router.config import ConfigError
from tests.cli.terminal import run
from tests.shared import SHARED, needs_shared

GOOD = {"source": ["shop"]}
TRAP = {"source": ["aws.s3"], "detail": ["AWS API Call via CloudTrail"]}
EVENT = {"source": "shop", "detail": {"n": 1}}


def written(folder: Path, content: object, name: str = "rules.json") -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def patterns(path: Path) -> list[tuple[str, object]]:
    return [(rule.name, json.loads(rule.pattern)) for rule in inputs.rules(path).patterns]


def lines(*rows: object) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (GOOD, [("rules", GOOD)]),
        ({"resources": ["arn"]}, [("rules", {"resources": ["arn"]})]),
        ({"name": "r", "pattern": GOOD}, [("r", GOOD)]),
        ({"Name": "r", "EventPattern": json.dumps(GOOD)}, [("r", GOOD)]),
        ({"pattern": GOOD, "name": 5}, [("rules", GOOD)]),
        ([{"name": "r", "event_pattern": GOOD}, {"pattern": TRAP}, GOOD], [("r", GOOD), ("#2", TRAP), ("#3", GOOD)]),
        ({"a": {"pattern": GOOD}, "b": {"EventPattern": TRAP, "Name": "other"}}, [("a", GOOD), ("b", TRAP)]),
        ({"Rules": [{"Name": "r", "EventPattern": json.dumps(GOOD)}]}, [("r", GOOD)]),
        ({"rules": [{"name": "r", "ScheduleExpression": "rate(1 day)"}, {"pattern": GOOD}]}, [("#2", GOOD)]),
        (lines({"name": "r", "pattern": GOOD}, TRAP), [("r", GOOD), ("line 2", TRAP)]),
        ("name: r\npattern:\n  source: [shop]\n", [("r", GOOD)]),
        ("r:\n  pattern: {source: [shop]}\n", [("r", GOOD)]),
        ("{name: r, pattern: {source: [shop]}}", [("r", GOOD)]),
        ("[]", []),
    ],
)  # fmt: skip
def test_rules_are_found_in_every_form(tmp_path: Path, content: object, found: object) -> None:
    assert patterns(written(tmp_path, content)) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected a hub file, or rules as JSON, JSON lines or YAML, got null"),
        ("5", "expected a hub file, or rules as JSON, JSON lines or YAML, got 5"),
        ("a: [", "expected a hub file, or rules as JSON, JSON lines or YAML: "),
        ("{} x", "expected a hub file, or rules as JSON, JSON lines or YAML: "),
        ("a: &a [*a]", "expected a hub file, or rules as JSON, JSON lines or YAML: "),
        ("? [a]\n: b", "expected a hub file, or rules as JSON, JSON lines or YAML: "),
        ("a: {pattern: {}}\na: {pattern: {}}", "expected each key once, got 'a' again - at line 2"),
        ('{"pattern": {}}\n{"pattern": {]}', "line 2: expected JSON, got "),
        (b"\xff", "expected UTF-8, got "),
        ("accounts: []", "Expected `array` of length >= 1 - at `$.accounts`"),
        ({"listen": {"port": 1}}, "Object missing required field `accounts`"),
        ({"Resources": {"R": {"Type": "AWS::Events::Rule"}}}, "got a CloudFormation template"),
    ],
)
def test_a_file_without_rules_says_what_was_expected(tmp_path: Path, content: object, said: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as refused:
        inputs.rules(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_a_good_file_is_good(tmp_path: Path) -> None:
    one = written(tmp_path, GOOD)
    two = written(tmp_path, [GOOD, GOOD], "two.json")
    assert run("check", str(one), str(two)) == (0, f"{one} is good: 1 rule\n{two} is good: 2 rules\n", "")


def test_each_warning_is_a_line_with_file_rule_and_path(tmp_path: Path) -> None:
    buckets = {"detail": {"eventName": ["ListBuckets "]}}
    path = written(tmp_path, {"trap": {"pattern": TRAP}, "buckets": {"pattern": buckets}, "good": {"pattern": GOOD}})
    status, shown, complaints = run("check", str(path))
    first, second = shown.splitlines()
    assert (status, complaints) == (1, "")
    assert first.startswith(f"{path}: rule trap: detail: expected an object, got a list of values (")
    assert second.startswith(f'{path}: rule buckets: detail.eventName: expected "ListBuckets", got "ListBuckets ": ')


def test_a_refused_pattern_is_a_warning_with_what_was_meant(tmp_path: Path) -> None:
    path = written(tmp_path, '{"name": "r", "pattern": {"source": [{"EXISTS": true}], "source": [{"EXISTS": true}]}}')
    status, shown, _ = run("check", str(path))
    assert status == 1
    assert shown.splitlines()[0].startswith(f"{path}: rule r: pattern: Event pattern is not valid. Reason: Unrec")
    assert shown.splitlines()[1].startswith(f"{path}: rule r: source: expected an operator, got ")


def test_a_key_that_stands_twice_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"pattern": {"source": ["a"], "source": ["b"]}}]')
    assert ": rule #1: source: is given twice: " in run("check", str(path))[1]


def test_a_file_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path) -> None:
    good, missing = written(tmp_path, GOOD), tmp_path / "missing.json"
    status, shown, complaints = run("check", str(missing), str(good))
    assert (status, shown) == (1, f"{good} is good: 1 rule\n")
    assert complaints == f"crossbus: cannot read {missing}: No such file or directory\n"


def test_without_files_the_sample_hub_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("check")[2] == "crossbus: cannot read config/hub.yaml: No such file or directory\n"


# hub files


def hub_file(folder: Path, *rules: object) -> Path:
    account = "111111111111"
    resources = [{"account": account, "region": region, "rules": list(rules)} for region in ("us-east-1", "eu-west-1")]
    hub = {"accounts": [{"id": account}], "regions": ["us-east-1", "eu-west-1"], "resources": resources}
    path = folder / "hub.yaml"
    path.write_text(yaml.safe_dump({**hub, "data_folder": str(folder / "data")}))
    return path


def test_the_declared_rules_of_a_hub_file_are_checked_too(tmp_path: Path) -> None:
    path = hub_file(
        tmp_path, {"Name": "trap", "EventPattern": TRAP}, {"Name": "text", "EventPattern": json.dumps(GOOD)}
    )
    status, shown, complaints = run("check", str(path))
    assert (status, complaints, len(shown.splitlines())) == (1, "", 2)
    assert shown.startswith(f"{path}: rule trap (111111111111/us-east-1): detail: expected an object, got a list ")


def test_a_hub_file_that_cannot_run_says_so_once_and_what_was_meant(tmp_path: Path) -> None:
    path = hub_file(tmp_path, {"Name": "r", "EventPattern": {"source": [{"EXISTS": True}]}})
    status, shown, complaints = run("check", str(path))
    assert status == 1
    assert len(complaints.splitlines()) == 1
    assert "Event pattern is not valid. Reason: Unrecognized match type EXISTS" in complaints
    assert "operators are lower case" in shown


# samples


@pytest.mark.parametrize("content", [EVENT, [EVENT], lines(EVENT, {"source": "other"})])
def test_a_sample_is_an_event_an_array_or_lines(tmp_path: Path, content: object) -> None:
    sample = written(tmp_path, content, "events")
    assert inputs.events(sample)[0] == EVENT
    path = written(tmp_path, {"a": {"pattern": GOOD}, "b": {"pattern": {"source": ["x"]}}, "c": {"pattern": TRAP}})
    status, shown, _ = run("check", str(path), "--sample", str(sample))
    assert status == 1
    first, second = shown.splitlines()
    assert first.startswith(
        (f"{path}: rule b: source: matches none of the 2 ", f"{path}: rule b: source: does not match")
    )
    assert 'differs in source: expected one of "x", got "' in first
    assert second.startswith(f"{path}: rule c: detail: "), "a rule that never matches is not held against the sample"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lines(EVENT, [1]), "line 2: expected a JSON object"),
        ([EVENT, 5], "event 2: expected a JSON object"),
        ("[", "expected a JSON array of events: "),
        ("[]", "expected at least one event, got none"),
        ("\n", "expected at least one event, got none"),
        ("x", "line 1: expected strict JSON"),
    ],
)
def test_a_bad_sample_says_where(tmp_path: Path, content: object, said: str) -> None:
    sample = written(tmp_path, content, "events")
    status, shown, complaints = run("check", str(written(tmp_path, GOOD)), "--sample", str(sample))
    assert (status, shown) == (1, "")
    assert complaints.startswith(f"crossbus: {sample}: {said}")


def test_on_a_terminal_the_work_with_a_sample_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from router.cli import check

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    rules = [inputs.NamedPattern(str(number), "{}") for number in range(3)]
    assert list(check._with_progress(rules, "checking", shown=True)) == rules
    assert check._with_progress(rules, "checking", shown=False) is rules


@needs_shared
def test_the_rules_of_the_corpus_are_read_as_json_lines() -> None:
    found = inputs.rules(SHARED / "corpus" / "patterns.jsonl").patterns
    assert len(found) == 175
