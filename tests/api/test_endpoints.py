"""Global endpoints over the API, with the managed rules that replicate."""

from pathlib import Path
from typing import Any

import pytest

from router.catalog.endpoints import Endpoint
from router.core.event import Location
from router.errors import ResourceNotFoundException
from router.global_endpoints import GlobalEndpoints
from tests.api.hub import THEM, Api, serving
from tests.catalog.hub import HERE, ROLE

FAR = Location(HERE.account, "eu-west-1")
CHECK = "arn:aws:route53:::healthcheck/abcdef-12"


def arn(region: str, name: str = "orders", account: str = HERE.account) -> dict[str, str]:
    return {"EventBusArn": f"arn:aws:events:{region}:{account}:event-bus/{name}"}


def routing(route: str = "eu-west-1", check: str = CHECK) -> dict[str, Any]:
    return {"FailoverConfig": {"Primary": {"HealthCheck": check}, "Secondary": {"Route": route}}}


def request(**changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "Name": "one",
        "RoutingConfig": routing(),
        "EventBuses": [arn("us-east-1"), arn("eu-west-1")],
        "RoleArn": ROLE,
    }
    return {name: value for name, value in {**given, **changed}.items() if value is not None}


async def two_buses(api: Api, name: str = "orders") -> None:
    for location in (HERE, FAR):
        await api.catalog.create_bus(location, name)


def managed(api: Api, location: Location) -> list[str]:
    return [name for name in api.catalog.rules(location, "orders") if name.startswith("GlobalEndpoint")]


async def test_an_endpoint_is_described_as_it_was_made(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        made = await api.call("CreateEndpoint", **request(Description="both"))
        assert made == {
            "Name": "one",
            "Arn": "arn:aws:events:us-east-1:111111111111:endpoint/one",
            "RoutingConfig": routing(),
            "ReplicationConfig": {"State": "ENABLED"},
            "EventBuses": [arn("us-east-1"), arn("eu-west-1")],
            "RoleArn": ROLE,
            "State": "ACTIVE",
        }
        shown = await api.call("DescribeEndpoint", Name="one")
        assert {**made, "Description": "both"}.items() <= shown.items()
        assert shown["EndpointUrl"] == f"https://{shown['EndpointId']}.endpoint.events.amazonaws.com"
        assert (await api.call("ListEndpoints"))["Endpoints"] == [shown]


async def test_an_endpoint_is_there_after_a_restart_and_belongs_to_its_account(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request())
        shown = await api.call("DescribeEndpoint", Name="one")
    async with serving(tmp_path) as api:
        assert await api.call("DescribeEndpoint", Name="one") == shown
        assert (await api.call("ListEndpoints", THEM))["Endpoints"] == []
        endpoints = GlobalEndpoints(api.catalog)
        assert endpoints.by_id(HERE.account, shown["EndpointId"]) is not None
        assert endpoints.by_id(THEM.account, shown["EndpointId"]) is None
        await api.call("UpdateEndpoint", Name="one", Description="new")
        found = endpoints.by_id(HERE.account, shown["EndpointId"])
        assert found is not None
        assert found.description == "new"
        await api.call("DeleteEndpoint", Name="one")
        assert endpoints.by_id(HERE.account, shown["EndpointId"]) is None


async def test_endpoints_are_listed_in_pages_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        for name in ("b", "a", "ab"):
            await api.call("CreateEndpoint", **request(Name=name))
        first = await api.call("ListEndpoints", MaxResults=2)
        assert [one["Name"] for one in first["Endpoints"]] == ["a", "ab"]
        rest = await api.call("ListEndpoints", NextToken=first["NextToken"])
        assert [one["Name"] for one in rest["Endpoints"]] == ["b"]
        found = await api.call("ListEndpoints", NamePrefix="a", HomeRegion="us-east-1")
        assert [one["Name"] for one in found["Endpoints"]] == ["a", "ab"]
        assert (await api.call("ListEndpoints", HomeRegion="eu-west-1"))["Endpoints"] == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"RoleArn": None}, "Parameter RoleArn is not valid. Reason: a role is required where ReplicationConfig.State"),
        ({"EventBuses": [arn("us-east-1"), arn("us-east-1")]}, "expected two event buses of the same name"),
        ({"EventBuses": [arn("us-east-1"), arn("eu-west-1", "other")]}, "expected two event buses of the same name"),
        ({"EventBuses": [arn("us-east-1"), arn("eu-west-1", "none")]}, "Event bus none does not exist."),
        (
            {"EventBuses": [arn("us-east-1"), arn("eu-west-1", account="222222222222")]},
            "expected event buses of account",
        ),
        ({"RoutingConfig": routing("us-east-1")}, "expected the region of the secondary event bus, eu-west-1"),
        ({"EventBuses": [arn("us-east-1")]}, "Member must have length greater than or equal to 2"),
    ],
)
async def test_what_cannot_be_an_endpoint_is_refused(tmp_path: Path, changed: dict[str, Any], expected: str) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.catalog.create_bus(FAR, "other")
        assert expected in await api.refused("CreateEndpoint", **request(**changed))
        assert (await api.call("ListEndpoints"))["Endpoints"] == []


async def test_a_second_endpoint_of_a_name_and_an_unknown_one_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request())
        assert await api.refused("CreateEndpoint", **request()) == (
            "ResourceAlreadyExistsException: Endpoint one already exists."
        )
        for operation in ("DescribeEndpoint", "DeleteEndpoint", "UpdateEndpoint"):
            assert await api.refused(operation, Name="two") == (
                "ResourceNotFoundException: Endpoint two does not exist."
            )


async def test_replication_is_a_managed_rule_on_each_bus_that_comes_and_goes_with_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request())
        endpoint_id = (await api.call("DescribeEndpoint", Name="one"))["EndpointId"]
        assert managed(api, HERE) == managed(api, FAR) == [f"GlobalEndpointManagedRule-{endpoint_id}"]
        (rule,) = api.catalog.rules(HERE, "orders").values()
        assert [target.arn for target in rule.targets] == [arn("eu-west-1")["EventBusArn"]]
        assert "ManagedRuleException" in await api.refused("DisableRule", Name=rule.name, EventBusName="orders")
        await api.call("UpdateEndpoint", Name="one", ReplicationConfig={"State": "DISABLED"})
        assert managed(api, HERE) == managed(api, FAR) == []
        await api.call("UpdateEndpoint", Name="one", ReplicationConfig={"State": "ENABLED"})
        await api.call("DeleteEndpoint", Name="one")
        assert managed(api, HERE) == managed(api, FAR) == []


async def test_an_endpoint_does_not_replicate_to_a_bus_that_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request(ReplicationConfig={"State": "DISABLED"}))
        await api.call("DeleteEventBus", Name="orders")
        assert await api.refused("UpdateEndpoint", Name="one", ReplicationConfig={"State": "ENABLED"}) == (
            "ResourceNotFoundException: Event bus orders does not exist."
        )
        await api.call("UpdateEndpoint", Name="one", Description="without a bus")
    async with serving(tmp_path) as api:
        assert managed(api, HERE) == managed(api, FAR) == []
        await api.call("DeleteEndpoint", Name="one")


async def test_an_update_changes_what_it_names(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request(Description="old"))
        other = CHECK + "3"
        await api.call("UpdateEndpoint", Name="one", RoutingConfig=routing(check=other), RoleArn=ROLE + "2")
        shown = await api.call("DescribeEndpoint", Name="one")
        assert shown["RoutingConfig"] == routing(check=other)
        assert (shown["RoleArn"], shown["Description"]) == (ROLE + "2", "old")
        await api.call("UpdateEndpoint", Name="one", Description="new")
        assert (await api.call("DescribeEndpoint", Name="one"))["Description"] == "new"


async def test_events_go_to_the_other_region_while_the_health_check_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request())
        endpoints = GlobalEndpoints(api.catalog)
        assert endpoints.get(HERE, "one").takes == HERE
        (changed,) = await endpoints.set_health(CHECK, healthy=False)
        assert changed.takes == FAR
    async with serving(tmp_path) as api:
        found = api.catalog.things.get(Endpoint, HERE, "one")
        assert found is not None
        assert found.takes == FAR
        with pytest.raises(ResourceNotFoundException, match="No endpoint has the health check"):
            await GlobalEndpoints(api.catalog).set_health("arn:aws:route53:::healthcheck/none", healthy=True)


async def test_a_location_has_a_hundred_endpoints_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.global_endpoints.ENDPOINTS_PER_LOCATION_MAX", 1)
    async with serving(tmp_path) as api:
        await two_buses(api)
        await api.call("CreateEndpoint", **request())
        assert (
            await api.refused("CreateEndpoint", **request(Name="two"))
        ) == "LimitExceededException: The requested resource exceeds the maximum number allowed."
