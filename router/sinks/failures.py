"""What a failed call to a target means: which failures may pass (`Retryable`) and which will not (`Rejected`), with the
codes of the user guide's "eb-rule-dlq".

EventBridge does not retry missing permissions, missing targets and invalid addresses (classic.md section 5.1); it
retries throttling, timeouts, lost connections and the target's own errors. Texts are bounded and free of secrets.
"""

import email.utils
import re
from collections.abc import Iterable, Mapping
from datetime import UTC

import msgspec

from router import limits
from router.sinks.base import Rejected, Retryable
from router.sinks.http_client import HttpFault, Response

Failure = Retryable | Rejected

TEXT_CHARS_MAX = 500  # ours: of what a target says about a failure

_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMSThrottling",
        "KMSThrottlingException",
        "KmsThrottled",
        "OverLimit",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_NO_RESOURCE = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "InvalidAddress",
        "KmsDisabled",  # so EventBridge's dead letters call a queue whose key is disabled (classic.md section 5.2)
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
_NO_PERMISSIONS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "KmsAccessDenied",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_COLLISION = frozenset({"ConflictException", "OperationAbortedException", "ResourceConflictException"})
_LIMITS = frozenset({"LimitExceededException", "ResourceLimitExceeded", "ServiceQuotaExceededException"})
_TIMEOUTS = frozenset({"RequestTimeout", "RequestTimeoutException"})
_NOT_YET = frozenset(
    {
        "CodeArtifactUserPendingException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ResourceNotReadyException",
        "ServiceException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SnapStartNotReadyException",
    }
)


def of_fault(fault: HttpFault, what: str) -> Failure:
    """What a call to `what` without an answer means."""
    text = f"{what}: {fault.reason}"
    match fault.kind:
        case "timeout":
            return Retryable("TIMEOUT", text)
        case "connect" | "reset" | "tls":
            return Retryable("CONNECTION_FAILURE", text)
        case "protocol":
            return Retryable("SDK_CLIENT_ERROR", text)
        case "dns" | "forbidden":
            return Rejected("CONNECTION_FAILURE", text)
        case "invalid":
            return Rejected("INVALID_PARAMETER", text)


def of_error(code: str, message: str, status: int, *, retry_after_s: float | None = None) -> Failure:
    """What an AWS service's error means; `status` 0 where the error is one entry's and has none of its own."""
    text = f"{code}: {message}" if code and message else code or message or f"status {status}"
    if code in _THROTTLED or status == 429:
        return Retryable("THROTTLING", text, retry_after_s)
    if code in _NO_PERMISSIONS:
        return Rejected("NO_PERMISSIONS", text)
    if code in _NO_RESOURCE:
        return Rejected("NO_RESOURCE", text)
    if code in _COLLISION:
        return Retryable("RESOURCE_MODIFICATION_COLLISION", text, retry_after_s)
    if code in _LIMITS:
        return Retryable("RESOURCE_LIMIT_EXCEEDED", text, retry_after_s)
    if code in _TIMEOUTS or status == 408:
        return Retryable("TIMEOUT", text, retry_after_s)
    if code in _NOT_YET or status >= 500:
        return Retryable("ERROR_FROM_TARGET", text, retry_after_s)
    if status in (401, 403):
        return Rejected("NO_PERMISSIONS", text)
    if status == 404:
        return Rejected("NO_RESOURCE", text)
    if status == 413 or code.startswith(("Invalid", "Validation", "Missing", "ParameterValueInvalid")):
        return Rejected("INVALID_PARAMETER", text)
    return Rejected("ERROR_FROM_TARGET", text)


class _JsonError(msgspec.Struct):
    type: str | None = msgspec.field(name="__type", default=None)
    code: str | None = None
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)


_decode_error = msgspec.json.Decoder(_JsonError).decode


def json_error(response: Response) -> tuple[str, str]:
    """The code and message of an error in one of AWS's JSON protocols; empty where the answer has none."""
    code = response.headers.get("x-amzn-errortype", "")
    try:
        error = _decode_error(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _JsonError()
    # `com.amazonaws.sqs#QueueDoesNotExist`, and in the header `ResourceNotFoundException:http://…`.
    code = (code or error.type or error.code or "").partition(":")[0].rpartition("#")[2]
    return code, error.message or error.capital_message or ""


_SECONDS = re.compile(r"-?[0-9]+")
_RETRY_AFTER_S_MAX = 2.0 * limits.EVENT_AGE_S_DEFAULT  # ours: longer than any event lives, so that it is given up


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """What `Retry-After` asks for, in seconds, at most `_RETRY_AFTER_S_MAX`; negative only where the header's number
    is, not where its date is over. None without one that can be read."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), _RETRY_AFTER_S_MAX)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait_s = moment.timestamp() - now_ms / 1000
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), _RETRY_AFTER_S_MAX)


def shown(text: str, secrets: Iterable[str] = ()) -> str:
    """What a target said, fit to be kept and shown: without secrets, control characters and excess."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = "".join(character if character.isprintable() else " " for character in text[: 2 * TEXT_CHARS_MAX])
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
