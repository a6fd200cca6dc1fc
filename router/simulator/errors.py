"""What the simulated SQS refuses, with the code of the old query protocol too, on which SDKs still dispatch
(`x-amzn-query-error`). Codes that SQS's model does not have end in `Exception` on the JSON wire.
"""

from typing import ClassVar

from router.errors import ApiError


class QueueDoesNotExist(ApiError):
    code: ClassVar[str] = "QueueDoesNotExist"
    query_code: ClassVar[str | None] = "AWS.SimpleQueueService.NonExistentQueue"

    def __init__(self, message: str = "The specified queue does not exist.") -> None:
        super().__init__(message)


class QueueNameExists(ApiError):
    code = "QueueNameExists"
    query_code = "QueueAlreadyExists"


class ReceiptHandleIsInvalid(ApiError):
    code: ClassVar[str] = "ReceiptHandleIsInvalid"
    query_code: ClassVar[str | None] = "ReceiptHandleIsInvalid"

    def __init__(self, handle: str) -> None:
        super().__init__(f'The input receipt handle "{handle[:100]}" is not a valid receipt handle.')


class MessageNotInflight(ApiError):
    code = "MessageNotInflight"
    query_code = "AWS.SimpleQueueService.MessageNotInflight"


class InvalidAttributeName(ApiError):
    code = "InvalidAttributeName"
    query_code = "InvalidAttributeName"


class InvalidAttributeValue(ApiError):
    code = "InvalidAttributeValue"
    query_code = "InvalidAttributeValue"


class InvalidParameterValue(ApiError):
    code = "InvalidParameterValueException"
    query_code = "InvalidParameterValue"


class MissingParameter(ApiError):
    code = "MissingRequiredParameterException"
    query_code = "MissingParameter"


class InvalidAddress(ApiError):
    code = "InvalidAddress"
    query_code = "InvalidAddress"


class InvalidMessageContents(ApiError):
    code = "InvalidMessageContents"
    query_code = "InvalidMessageContents"


class EmptyBatchRequest(ApiError):
    code = "EmptyBatchRequest"
    query_code = "AWS.SimpleQueueService.EmptyBatchRequest"


class TooManyEntriesInBatchRequest(ApiError):
    code = "TooManyEntriesInBatchRequest"
    query_code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"


class BatchEntryIdsNotDistinct(ApiError):
    code = "BatchEntryIdsNotDistinct"
    query_code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"


class InvalidBatchEntryId(ApiError):
    code = "InvalidBatchEntryId"
    query_code = "AWS.SimpleQueueService.InvalidBatchEntryId"


class BatchRequestTooLong(ApiError):
    code = "BatchRequestTooLong"
    query_code = "AWS.SimpleQueueService.BatchRequestTooLong"


class OverLimit(ApiError):
    code = "OverLimit"
    query_code = "OverLimit"


class RequestThrottled(ApiError):
    """The simulated queue cannot take more now."""

    code = "RequestThrottled"
    query_code = "RequestThrottled"


class UnsupportedOperation(ApiError):
    code = "UnsupportedOperation"
    query_code = "AWS.SimpleQueueService.UnsupportedOperation"
