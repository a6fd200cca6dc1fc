"""Hops between buses: one within a region and one across, in either order."""

import pytest

from router.core.event import Location
from router.core.hops import HopRefused, Hops, hop

HERE = Location("111111111111", "us-east-1")
OTHER_ACCOUNT = Location("222222222222", "us-east-1")
OTHER_REGION = Location("111111111111", "eu-west-1")
OTHER_BOTH = Location("333333333333", "eu-west-1")


@pytest.mark.parametrize(
    ("made", "there", "after"),
    [
        (Hops(), HERE, Hops(1, 0)),
        (Hops(), OTHER_ACCOUNT, Hops(1, 0)),
        (Hops(), OTHER_REGION, Hops(0, 1)),
        (Hops(), OTHER_BOTH, Hops(0, 1)),
        (Hops(1, 0), OTHER_BOTH, Hops(1, 1)),
        (Hops(0, 1), OTHER_ACCOUNT, Hops(1, 1)),
    ],
)
def test_first_hop_of_its_kind_is_made(made: Hops, there: Location, after: Hops) -> None:
    assert hop(made, HERE, there) == after


@pytest.mark.parametrize(
    ("made", "there", "code"),
    [
        (Hops(1, 0), HERE, "THIRD_ACCOUNT_HOP_DETECTED"),
        (Hops(1, 0), OTHER_ACCOUNT, "THIRD_ACCOUNT_HOP_DETECTED"),
        (Hops(1, 1), OTHER_ACCOUNT, "THIRD_ACCOUNT_HOP_DETECTED"),
        (Hops(0, 1), OTHER_REGION, "THIRD_REGION_HOP_DETECTED"),
        (Hops(0, 1), OTHER_BOTH, "THIRD_REGION_HOP_DETECTED"),
        (Hops(1, 1), OTHER_BOTH, "THIRD_REGION_HOP_DETECTED"),
    ],
)
def test_second_hop_of_its_kind_is_refused(made: Hops, there: Location, code: str) -> None:
    refused = hop(made, HERE, there)
    assert isinstance(refused, HopRefused)
    assert refused.code == code
    assert "an event can be sent to an event bus target only once" in refused.message
