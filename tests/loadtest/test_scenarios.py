"""The load scenarios and their hub: they fit together, without any load."""

import ast
import json
from pathlib import Path

import msgspec
import pytest

import loadtest
from loadtest.estate import CENTRAL, detection, settings
from loadtest.scenarios import SCENARIOS, Scenario
from router.config import Hub, parse
from router.config_profiles import Profile
from router.core.event import Location
from router.core.pattern import parse as parse_pattern
from router.core.profiles import fits

LOCUSTFILE = Path(loadtest.__file__).with_name("locustfile.py")
each = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


@pytest.fixture(scope="module")
def hub() -> Hub:
    return parse(json.dumps(settings()).encode(), "estate", {})


def test_the_estate_has_50_accounts_in_6_regions_and_one_that_watches(hub: Hub) -> None:
    workloads = [account.id for account in hub.accounts if account.id != CENTRAL]
    assert (len(workloads), len(hub.regions)) == (50, 6)
    declared = {(resources.account, resources.region) for resources in hub.resources}
    assert {(account, region) for account in workloads for region in hub.regions} <= declared
    assert all(hub.trails_of(location) for location in hub.locations())


def test_every_link_between_regions_that_rules_use_has_its_latency(hub: Hub) -> None:
    used = set()
    for resources in hub.resources:
        for rule in resources.rules:
            for target in rule.targets:
                if ":event-bus/" in target.arn:
                    parts = target.arn.split(":")
                    used.add((Location(resources.account, resources.region), Location(parts[4], parts[3]), target.arn))
    assert len(used) == 301
    for sender, receiver, arn in used:
        found = [
            profile.name
            for profile in hub.profiles
            if fits(profile.selector(), sender=sender, receiver=receiver, sink="event_bus", target=arn)
        ]
        assert len(found) == 1, (sender, receiver, found)


def test_detections_differ_and_their_patterns_are_good() -> None:
    patterns = {json.dumps(detection(number)["EventPattern"]) for number in range(100)}
    assert len(patterns) == 100
    for pattern in patterns:
        parse_pattern(pattern)


@each
def test_phases_have_names_of_their_own_and_fill_the_time(scenario: Scenario) -> None:
    names = [phase.name for phase in scenario.phases]
    assert len(set(names)) == len(names)
    assert sum(phase.share for phase in scenario.phases) == pytest.approx(1.0)


@each
def test_what_a_scenario_compares_are_phases_of_it_in_their_order(scenario: Scenario) -> None:
    names = [phase.name for phase in scenario.phases]
    for comparison in scenario.comparisons:
        assert names.index(comparison.before) < names.index(comparison.during)


@each
def test_profiles_of_a_scenario_are_good_and_taken_back(scenario: Scenario) -> None:
    put: set[str] = set()
    for phase in scenario.phases:
        for given in phase.put:
            profile = msgspec.convert(given, Profile)
            assert profile.problem() is None
            put.add(profile.name)
        assert set(phase.removed) <= put
        put -= set(phase.removed)
    assert put == set()


@each
def test_users_of_a_scenario_are_classes_of_the_locustfile(scenario: Scenario) -> None:
    tree = ast.parse(LOCUSTFILE.read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(scenario.users) <= classes
