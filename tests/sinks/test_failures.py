"""Which failures may pass and which will not, with their codes, whatever service or network they come from."""

import ast
from pathlib import Path
from typing import get_args

import pytest

import router
from router.sinks.base import Rejected, Retryable
from router.sinks.failures import Failure, of_error, of_fault
from router.sinks.http_client import FaultKind, HttpFault, Response
from tests.sinks.fakes import always, endpoints_at, serving

# User guide, "eb-rule-dlq" (classic.md section 5.2).
CODES = frozenset(
    """
    ACTION_DECRYPTION_FAILURE CONNECTION_FAILURE CROSS_ACCOUNT_INGESTION_FAILED CROSS_REGION_INGESTION_FAILED
    ERROR_FROM_TARGET EVENT_DECRYPTION_FAILURE EVENT_ENCRYPTION_FAILURE EVENTS_IN_BATCH_REQUEST_REJECTED
    FAILED_TO_ASSUME_ROLE INTERNAL_ERROR INVALID_JSON INVALID_PARAMETER NO_PERMISSIONS NO_RESOURCE
    RESOURCE_ALREADY_EXISTS RESOURCE_LIMIT_EXCEEDED RESOURCE_MODIFICATION_COLLISION RULE_DECRYPTION_FAILURE
    SDK_CLIENT_ERROR THIRD_ACCOUNT_HOP_DETECTED THIRD_REGION_HOP_DETECTED THROTTLING TIMEOUT TRANSIENT_ASSUME_ROLE
    UNKNOWN
    """.split()
)
ARN = "arn:aws:sqs:us-east-1:222222222222:orders"


def verdict(failure: Failure) -> tuple[type[Failure], str]:
    return type(failure), failure.code


def test_every_error_code_is_one_that_eventbridge_has() -> None:
    """Where a code is written out; what is made of one is made by `failures`, which is read here too."""
    found: dict[str, str] = {}
    for path in Path(router.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Rejected", "Retryable", "HopRefused"):
                code = node.args[0]
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    found[code.value] = path.name
    assert {code: where for code, where in found.items() if code not in CODES} == {}
    assert {"NO_PERMISSIONS", "THROTTLING", "THIRD_ACCOUNT_HOP_DETECTED"} <= set(found)


FAULTS: dict[FaultKind, tuple[type[Failure], str]] = {
    "timeout": (Retryable, "TIMEOUT"),
    "connect": (Retryable, "CONNECTION_FAILURE"),
    "reset": (Retryable, "CONNECTION_FAILURE"),
    "tls": (Retryable, "CONNECTION_FAILURE"),
    "protocol": (Retryable, "SDK_CLIENT_ERROR"),
    "dns": (Rejected, "CONNECTION_FAILURE"),
    "forbidden": (Rejected, "CONNECTION_FAILURE"),
    "invalid": (Rejected, "INVALID_PARAMETER"),
}


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_a_name_without_address_and_an_invalid_address_are_not_retried_and_other_faults_are(kind: FaultKind) -> None:
    failure = of_fault(HttpFault(kind, "the reason"), "sqs at example.com")
    assert verdict(failure) == FAULTS[kind]
    assert failure.message == "sqs at example.com: the reason"


@pytest.mark.parametrize(
    "code",
    [
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMSThrottlingException",
        "KmsThrottled",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
def test_throttling_is_retryable_whatever_its_status(code: str, status: int) -> None:
    assert verdict(of_error(code, "why", status)) == (Retryable, "THROTTLING")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDenied", "NO_PERMISSIONS"),
        ("AccessDeniedException", "NO_PERMISSIONS"),
        ("AuthorizationError", "NO_PERMISSIONS"),
        ("ExpiredTokenException", "NO_PERMISSIONS"),
        ("InvalidClientTokenId", "NO_PERMISSIONS"),
        ("KMSAccessDeniedException", "NO_PERMISSIONS"),
        ("SignatureDoesNotMatch", "NO_PERMISSIONS"),
        ("UnrecognizedClientException", "NO_PERMISSIONS"),
        ("NotFound", "NO_RESOURCE"),
        ("QueueDoesNotExist", "NO_RESOURCE"),
        ("ResourceNotFoundException", "NO_RESOURCE"),
    ],
)
@pytest.mark.parametrize("status", [400, 403, 404, 500, 502])
def test_missing_permissions_and_missing_targets_are_not_retried_whatever_their_status(
    code: str, expected: str, status: int
) -> None:
    assert verdict(of_error(code, "why", status)) == (Rejected, expected)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("LimitExceededException", 400, (Retryable, "RESOURCE_LIMIT_EXCEEDED")),
        ("ServiceQuotaExceededException", 402, (Retryable, "RESOURCE_LIMIT_EXCEEDED")),
        ("ConflictException", 409, (Retryable, "RESOURCE_MODIFICATION_COLLISION")),
        ("OperationAbortedException", 400, (Retryable, "RESOURCE_MODIFICATION_COLLISION")),
        ("RequestTimeout", 400, (Retryable, "TIMEOUT")),
        ("", 408, (Retryable, "TIMEOUT")),
        ("InternalError", 400, (Retryable, "ERROR_FROM_TARGET")),
        ("ServiceUnavailable", 400, (Retryable, "ERROR_FROM_TARGET")),
        ("", 500, (Retryable, "ERROR_FROM_TARGET")),
        ("", 599, (Retryable, "ERROR_FROM_TARGET")),
        ("InvalidParameterValue", 500, (Retryable, "ERROR_FROM_TARGET")),
        ("", 429, (Retryable, "THROTTLING")),
        ("", 401, (Rejected, "NO_PERMISSIONS")),
        ("", 403, (Rejected, "NO_PERMISSIONS")),
        ("", 404, (Rejected, "NO_RESOURCE")),
        ("", 413, (Rejected, "INVALID_PARAMETER")),
        ("InvalidParameterValue", 400, (Rejected, "INVALID_PARAMETER")),
        ("MissingParameter", 400, (Rejected, "INVALID_PARAMETER")),
        ("ValidationException", 400, (Rejected, "INVALID_PARAMETER")),
        ("SomethingElse", 400, (Rejected, "ERROR_FROM_TARGET")),
        ("", 302, (Rejected, "ERROR_FROM_TARGET")),
        ("", 409, (Rejected, "ERROR_FROM_TARGET")),
    ],
)
def test_other_errors_go_by_their_code_and_then_by_their_status(
    code: str, status: int, expected: tuple[type[Failure], str]
) -> None:
    assert verdict(of_error(code, "why", status)) == expected


@pytest.mark.parametrize(
    ("code", "is_sender_fault", "expected"),
    [
        ("InternalError", False, (Retryable, "ERROR_FROM_TARGET")),
        ("InternalError", True, (Retryable, "ERROR_FROM_TARGET")),
        ("SomethingElse", False, (Retryable, "ERROR_FROM_TARGET")),
        ("SomethingElse", True, (Rejected, "ERROR_FROM_TARGET")),
        ("InvalidMessageContents", True, (Rejected, "INVALID_PARAMETER")),
        ("InvalidMessageContents", False, (Retryable, "ERROR_FROM_TARGET")),
        ("KmsThrottled", True, (Retryable, "THROTTLING")),
        ("RequestThrottled", True, (Retryable, "THROTTLING")),
        ("ThrottlingException", False, (Retryable, "THROTTLING")),
        ("AccessDenied", True, (Rejected, "NO_PERMISSIONS")),
        ("AccessDenied", False, (Rejected, "NO_PERMISSIONS")),
        ("", False, (Retryable, "ERROR_FROM_TARGET")),
        ("", True, (Rejected, "ERROR_FROM_TARGET")),
    ],
)
async def test_an_entrys_failure_goes_by_its_code_and_then_by_whose_fault_it_is(
    code: str, is_sender_fault: bool, expected: tuple[type[Failure], str]
) -> None:
    async with endpoints_at("http://127.0.0.1:1", "sqs") as endpoints:
        failure = endpoints.service(ARN).entry_failure(code, "why", is_sender_fault=is_sender_fault)
    assert verdict(failure) == expected
    assert "why" in failure.message


@pytest.mark.parametrize(("text", "expected"), [("-5", 0.0), ("0", 0.0), ("30", 30.0), ("soon", None)])
async def test_a_negative_retry_after_stops_retries_for_api_destinations_only(
    text: str, expected: float | None
) -> None:
    async with serving(always(503, "{}", Retry_After=text)) as server, endpoints_at(server.url, "sqs") as endpoints:
        answer = await endpoints.service(ARN).json("X", "1.0", b"{}", deadline=endpoints.deadline())
    assert not isinstance(answer, Response)
    assert isinstance(answer, Retryable)
    assert answer.retry_after_s == expected
