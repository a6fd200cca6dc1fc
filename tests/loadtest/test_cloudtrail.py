"""The generated CloudTrail records: the same for the same seed, and like the real ones."""

import json
from collections import Counter
from typing import Any

import pytest

from loadtest.cloudtrail import ACCOUNTS, CALLS, REGIONS, CloudTrail
from router.core import cloudtrail
from router.core.event import Location
from tests.shared import needs_shared, rows

TIME = "2026-11-27T10:00:00Z"
COUNT = 4000


def drawn(seed: int = 1, count: int = COUNT) -> list[dict[str, Any]]:
    trail = CloudTrail(seed)
    return [trail.record(*trail.place(), TIME) for _ in range(count)]


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return drawn()


def size(record: dict[str, Any]) -> int:
    return len(json.dumps(record, separators=(",", ":")))


def quantiles(values: list[int]) -> list[int]:
    values = sorted(values)
    return [values[int(len(values) * share)] for share in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)]


def test_the_same_seed_gives_the_same_records_and_another_others() -> None:
    assert drawn(5, 50) == drawn(5, 50) != drawn(6, 50)


def test_records_come_from_all_accounts_and_regions() -> None:
    trail = CloudTrail(1)
    places = Counter(trail.place() for _ in range(20_000))
    assert set(places) == {(account, region) for account in ACCOUNTS for region in REGIONS}
    assert len(places) == 300
    assert max(places.values()) / 20_000 < 0.05, "no place has more than a twentieth"


def test_every_record_is_one_that_the_hub_takes(records: list[dict[str, Any]]) -> None:
    for record in records:
        body = json.dumps(record).encode()
        event = cloudtrail.wrap(body, location=Location(ACCOUNTS[0], REGIONS[0]), event_id="e", now_ms=0)
        assert event.detail_type.endswith(" via CloudTrail")
        assert event.time == TIME
        assert event.source == "aws." + record["eventSource"].partition(".")[0]


def test_nothing_of_a_template_is_left(records: list[dict[str, Any]]) -> None:
    assert [record for record in records if "$" in json.dumps(record)] == []


def test_every_kind_of_call_is_made(records: list[dict[str, Any]]) -> None:
    assert {record["eventName"] for record in records} == {call.name for call in CALLS}


def test_a_record_is_of_its_account_and_region() -> None:
    record = CloudTrail(3).record("100000000007", "eu-west-1", TIME)
    assert (record["recipientAccountId"], record["awsRegion"]) == ("100000000007", "eu-west-1")


def test_a_batch_is_what_service_events_are_sent_as() -> None:
    batch = json.loads(CloudTrail(3).batch(7, ACCOUNTS[0], REGIONS[0], TIME))
    assert [*batch] == ["Records"]
    assert len(batch["Records"]) == 7


@needs_shared
def test_records_are_like_real_ones(records: list[dict[str, Any]]) -> None:
    details = [row["event"].get("detail") for row in rows("corpus/events.jsonl")]
    real = [
        detail for detail in details if isinstance(detail, dict) and "eventID" in detail and "userIdentity" in detail
    ]
    assert len(real) > 1500

    # Sizes, as far as nine in ten; the rest of the real ones has a few of everything.
    for made, found in list(zip(quantiles([*map(size, records)]), quantiles([*map(size, real)]), strict=True))[:5]:
        assert made == pytest.approx(found, rel=0.2)

    def share(of: list[dict[str, Any]]) -> float:
        told = [record["readOnly"] for record in of if "readOnly" in record]
        return told.count(True) / len(told)

    assert share(records) == pytest.approx(share(real), abs=0.05)

    def kinds(of: list[dict[str, Any]], share: float) -> set[str]:
        found = Counter(record["userIdentity"].get("type") for record in of)
        return {kind for kind, count in found.items() if kind is not None and count > share * len(of)}

    assert kinds(records, 0.01) == kinds(real, 0.01) == {"IAMUser", "AssumedRole", "AWSService"}

    def fields(of: list[dict[str, Any]]) -> set[str]:
        found = Counter(key for record in of for key in record)
        return {key for key, count in found.items() if count > 0.5 * len(of)}

    assert fields(records) == fields(real)

    def services(of: list[dict[str, Any]]) -> set[str]:
        return {service for service, _ in Counter(record["eventSource"] for record in of).most_common(8)}

    assert services(records) == services(real)
