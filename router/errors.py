"""Every error that a caller of an API can see: class, API code, HTTP status, message.

The codes and texts are AWS's (EventBridge API reference, "CommonErrors"; recorded answers). An `ApiError` means "the
caller sent something that is refused"; bugs are never wrapped in one.
"""

from typing import Any, ClassVar


class ApiError(Exception):
    """A refusal. SDKs dispatch on `code`; `query_code` is the old query protocol's name where SDKs still expect it."""

    code: ClassVar[str] = "InternalException"
    status: ClassVar[int] = 400
    query_code: ClassVar[str | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def members(self) -> dict[str, Any]:
        """What the answer says beside code and message, where the service's model has more."""
        return {}


class ValidationException(ApiError):
    code = "ValidationException"


class SerializationException(ApiError):
    """The body is not what the protocol asks for (no JSON, wrong type)."""

    code = "SerializationException"


class UnknownOperationException(ApiError):
    code = "UnknownOperationException"


class MissingAuthenticationTokenException(ApiError):
    code = "MissingAuthenticationTokenException"
    status = 403


class IncompleteSignatureException(ApiError):
    code = "IncompleteSignatureException"


class InvalidSignatureException(ApiError):
    code = "InvalidSignatureException"
    status = 403


class UnrecognizedClientException(ApiError):
    code = "UnrecognizedClientException"
    status = 403


class AccessDeniedException(ApiError):
    code = "AccessDeniedException"


class RequestTooLarge(ApiError):
    code = "RequestEntityTooLargeException"
    status = 413


class ThrottlingException(ApiError):
    code = "ThrottlingException"


class ServiceUnavailable(ApiError):
    """The hub cannot promise anything now (the store fails, or the hub is stopping)."""

    code = "ServiceUnavailableException"
    status = 503


class InternalException(ApiError):
    code = "InternalException"
    status = 500


class ResourceNotFoundException(ApiError):
    code = "ResourceNotFoundException"


class ResourceAlreadyExistsException(ApiError):
    code = "ResourceAlreadyExistsException"


class InvalidStateException(ApiError):
    code = "InvalidStateException"


class IllegalStatusException(ApiError):
    code = "IllegalStatusException"


class LimitExceededException(ApiError):
    code = "LimitExceededException"


class InvalidEventPatternException(ApiError):
    code = "InvalidEventPatternException"


class ManagedRuleException(ApiError):
    code = "ManagedRuleException"


class PolicyLengthExceededException(ApiError):
    code = "PolicyLengthExceededException"
