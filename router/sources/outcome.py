"""What became of one event that was offered to the hub."""

import msgspec


class Taken(msgspec.Struct, frozen=True):
    """Everything that was promised for it is on disk."""

    event_id: str


class Withheld(msgspec.Struct, frozen=True):
    """The location's trails do not log it: as on AWS it never reaches the bus."""

    reason: str


class Refused(msgspec.Struct, frozen=True):
    """`code` and `message` are those of a failed PutEvents entry."""

    code: str
    message: str


THROTTLED = Refused("ThrottlingException", "The hub's store cannot take more events now. Try again.")
STORE_FAILED = Refused("InternalFailure", "Internal Service Failure")
MALFORMED_DETAIL = Refused("MalformedDetail", "Detail is malformed.")
