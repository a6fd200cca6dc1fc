"""Amazon resource names: taken apart, and built for the resources that the hub has itself.

Promises that what `parse` accepts has the six parts of an ARN and no control characters, and that what is built here is
byte for byte the ARN that AWS gives the same resource. Knows no service's own rules about what comes after the account.
"""

import re
from functools import lru_cache

import msgspec

from router.core.event import Location


class InvalidArn(ValueError):
    """The text is not an ARN, or not one of the kind that is wanted here."""


class Arn(msgspec.Struct, frozen=True):
    """The parts of an ARN; `resource` is everything after the fifth colon, `region` and `account` may be empty."""

    partition: str
    service: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @property
    def location(self) -> Location:
        return Location(self.account, self.region)


_ARN = re.compile(r"arn:(aws[a-z0-9-]*):([a-z0-9-]+):([a-z0-9-]*):([0-9]{12}|aws|):([^\x00-\x1f\x7f]+)")
_BUS_NAME = re.compile(r"[/.\-_A-Za-z0-9]+")
_BUS_RESOURCE = "event-bus/"


@lru_cache(maxsize=65_536)
def parse(text: str) -> Arn:
    """The parts of an ARN; raises `InvalidArn`."""
    match = _ARN.fullmatch(text)
    if match is None:
        raise InvalidArn(f"Expected arn:partition:service:region:account:resource, got {text!r}")
    return Arn(*match.groups())


def partition(region: str) -> str:
    """The partition that a region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws"


def _arn(service: str, loc: Location, resource: str) -> str:
    return f"arn:{partition(loc.region)}:{service}:{loc.region}:{loc.account}:{resource}"


def bus_arn(loc: Location, name: str) -> str:
    return _arn("events", loc, _BUS_RESOURCE + name)


def rule_arn(loc: Location, bus: str, rule: str) -> str:
    """`rule/NAME` on the default bus, `rule/BUS/NAME` on the others (recorded, classic.md section 3)."""
    return _arn("events", loc, f"rule/{rule}" if bus == "default" else f"rule/{bus}/{rule}")


def endpoint_arn(loc: Location, name: str) -> str:
    return _arn("events", loc, f"endpoint/{name}")


def queue_arn(loc: Location, name: str) -> str:
    return _arn("sqs", loc, name)


def log_group_arn(loc: Location, name: str) -> str:
    """The ARN without the `:*` that some of AWS's answers append."""
    return _arn("logs", loc, f"log-group:{name}")


def connection_arn(loc: Location, name: str, uuid: str) -> str:
    return _arn("events", loc, f"connection/{name}/{uuid}")


def api_destination_arn(loc: Location, name: str, uuid: str) -> str:
    return _arn("events", loc, f"api-destination/{name}/{uuid}")


def connection_secret_arn(loc: Location, name: str, uuid: str, suffix: str) -> str:
    """The secret that EventBridge keeps for a connection, in the owner's Secrets Manager (recorded)."""
    return _arn("secretsmanager", loc, f"secret:events!connection/{name}/{uuid}-{suffix}")


def bus_name(text: str) -> tuple[Location | None, str]:
    """The location and name that an `EventBusName` means: (None, name) for a bare name; raises `InvalidArn`."""
    if not text.startswith("arn:"):
        if _BUS_NAME.fullmatch(text) is None:
            raise InvalidArn(f"Expected the name of an event bus or its ARN, got {text!r}")
        return None, text
    arn = parse(text)
    name = arn.resource.removeprefix(_BUS_RESOURCE)
    if (
        arn.service != "events"
        or not arn.resource.startswith(_BUS_RESOURCE)
        or not arn.account.isdigit()
        or not arn.region
        or _BUS_NAME.fullmatch(name) is None
    ):
        raise InvalidArn(f"Expected arn:partition:events:region:account:event-bus/name, got {text!r}")
    return arn.location, name
