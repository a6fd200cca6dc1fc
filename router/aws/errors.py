"""Refusals that only the wire itself makes, by the names and codes that the services give them."""

from router.errors import ApiError, SerializationException, UnknownOperationException


class InvalidParameterException(ApiError):
    """What CloudWatch Logs calls a violated constraint."""

    code = "InvalidParameterException"


class MalformedInput(SerializationException):
    """What SQS calls a body that is not what the protocol asks for."""

    query_code = "MalformedInput"


class MissingRequiredParameterException(ApiError):
    """What SQS calls a missing member."""

    code = "MissingRequiredParameterException"
    query_code = "MissingParameter"


class QueryProtocolRefused(UnknownOperationException):
    """A request in the old query protocol (`Action=…`). Its clients read only XML, so that is what they are sent."""
