"""From an HTTP request's headers and body to an operation, and back: AWS's JSON protocols 1.0 (SQS) and 1.1.

A `Service` decodes the body, checks it against the service's model, calls the operation and writes its answer; hot
operations take and give bytes. An answer of an operation that has no output in the model is empty, as recorded on AWS;
one without members is `{}`. A timestamp is whole milliseconds on the hub's side (see `router.aws.validate`).

An operation that AWS has and this hub has not is answered like one that nobody has: UnknownOperationException. AWS
gives no message there; here it names the operation. This module knows no sockets and no signatures.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from router.aws.errors import (
    InvalidParameterException,
    MalformedInput,
    MissingRequiredParameterException,
    QueryProtocolRefused,
)
from router.aws.model import load_model
from router.aws.validate import Violation, read_input, violations_text, write_output
from router.core.policy import Principal
from router.errors import ApiError, SerializationException, UnknownOperationException, ValidationException


class Caller(msgspec.Struct, frozen=True):
    """Who calls, and where: the location, and whether the hub's own API is open to them.

    `arn` is their IAM ARN where the hub knows it; `trace_header` is the call's X-Amzn-Trace-Id, as it came.
    """

    account: str
    region: str
    admin: bool = False
    access_key_id: str = ""
    arn: str | None = None
    trace_header: str | None = None

    @property
    def principal(self) -> Principal:
        """The caller as resource policies know them."""
        return Principal(self.account, self.arn)


Operation = Callable[[Caller, dict[str, Any]], Awaitable[dict[str, Any]]]
RawOperation = Callable[[Caller, bytes], Awaitable[bytes]]

_INVALID: dict[str, type[ApiError]] = {"logs": InvalidParameterException}
_NAME_CHARS_MAX = 128


class Service:
    """One AWS service on the wire. `raw` operations are called with the body as it came and return the answer's bytes.

    Raises KeyError when the model does not have one of the operations.
    """

    def __init__(
        self, name: str, operations: Mapping[str, Operation], raw: Mapping[str, RawOperation] | None = None
    ) -> None:
        self.name = name
        self._operations = dict(operations)
        self._raw = dict(raw or {})
        # SQS has its own refusal for an attribute it does not know; the operations give it.
        self._model = load_model(name, {*self._operations, *self._raw}, enums=name != "sqs")
        self.target_prefix = self._model.target_prefix
        self.content_type = f"application/x-amz-json-{self._model.json_version}"

    def has(self, operation: str) -> bool:
        return operation in self._operations or operation in self._raw

    async def call(self, operation: str, body: bytes, caller: Caller) -> bytes:
        """The answer to one request. Raises ApiError."""
        raw = self._raw.get(operation)
        if raw is not None:
            return await raw(caller, body)
        known = self._operations.get(operation)
        if known is None:
            raise UnknownOperationException(_unknown(self.target_prefix, operation))
        return self.write(operation, await known(caller, self.read(operation, body)))

    def read(self, operation: str, body: bytes) -> dict[str, Any]:
        """A request's members, checked against the model. Raw operations use it for the exact text of a refusal.

        Raises SerializationException, or the service's error for violated constraints.
        """
        try:
            data = msgspec.json.decode(body)
            shape = self._model.operations[operation].input
            members, violations = ({}, []) if shape is None else read_input(self._model, shape, data)
        except SerializationException as error:
            raise self._unreadable(error.message) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._unreadable(f"The body is not JSON: {error}") from None
        except RecursionError:
            raise self._unreadable("The body is nested too deeply") from None
        if violations:
            raise self._refusal(violations)
        return members

    def write(self, operation: str, output: dict[str, Any]) -> bytes:
        """An operation's answer. A member that its output does not have is a bug and fails an assertion."""
        shape = self._model.operations[operation].output
        if shape is None:
            assert not output, f"{operation} has no output, got {', '.join(output)}"
            return b""
        return write_output(self._model, shape, output)

    def _unreadable(self, message: str) -> SerializationException:
        return MalformedInput(message) if self.name == "sqs" else SerializationException(message)

    def _refusal(self, violations: list[Violation]) -> ApiError:
        # SQS's model has no constraints but required members, and its own words for those.
        if self.name == "sqs" and violations[0].missing:
            return MissingRequiredParameterException(f"The request must contain the parameter {violations[0].member}.")
        return _INVALID.get(self.name, ValidationException)(violations_text(self._model, violations))


class Services:
    """All services behind one port, told apart by `X-Amz-Target`."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._by_prefix = {service.target_prefix: service for service in services}

    def __iter__(self) -> Iterator[Service]:
        return iter(self._by_prefix.values())

    def find(self, headers: Mapping[str, str], body: bytes = b"", raw_query: str = "") -> tuple[Service, str]:
        """The service and operation that a request names. Header names are lower case, or the mapping ignores case.

        `body` and `raw_query` are only looked at to tell a client of the old query protocol what is wrong. Raises
        UnknownOperationException.
        """
        target = headers.get("x-amz-target", "")
        prefix, _, operation = target.partition(".")
        service = self._by_prefix.get(prefix)
        if service is not None and service.has(operation):
            return service, operation
        if target:
            if service is None:
                known = ", ".join(f"{prefix}.<operation>" for prefix in self._by_prefix)
                raise UnknownOperationException(f"X-Amz-Target must be one of {known}, got {_short(target)}")
            raise UnknownOperationException(_unknown(prefix, operation))
        form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if form or body.startswith(b"Action=") or raw_query.startswith("Action=") or "&Action=" in raw_query:
            raise QueryProtocolRefused(
                "The AWS query protocol (Action=...) is not spoken here: send JSON with the header X-Amz-Target, as "
                "every current AWS SDK does"
            )
        raise UnknownOperationException("The header X-Amz-Target is missing: it names the operation")


def error_body(error: ApiError, content_type: str = "application/x-amz-json-1.1") -> tuple[int, bytes, dict[str, str]]:
    """A refusal as status, body and headers.

    SDKs read the code from `__type`, after its `#`, or from `x-amzn-ErrorType`; those that still know SQS's query
    protocol take `x-amzn-query-error` first. Some read `message`, some `Message`.
    """
    if isinstance(error, QueryProtocolRefused):
        text = f"<Type>Sender</Type><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        answer = f"<ErrorResponse><Error>{text}</Error></ErrorResponse>".encode()
        return error.status, answer, {"Content-Type": "text/xml", "x-amzn-ErrorType": error.code}
    kind = error.code
    headers = {"Content-Type": content_type, "x-amzn-ErrorType": error.code}
    if error.query_code is not None:
        # The errors in SQS's model have its namespace; the framework's own, all named …Exception, have another.
        own = not kind.endswith("Exception") or kind == "ResourceNotFoundException"
        kind = f"com.amazonaws.sqs#{kind}" if own else f"com.amazon.coral.service#{kind}"
        headers["x-amzn-query-error"] = f"{error.query_code};{'Sender' if error.status < 500 else 'Receiver'}"
    message = error.message.encode("utf-8", "replace").decode()  # a text may repeat a header's stray bytes
    body = {"__type": kind, "message": message, "Message": message, **error.members()}
    return error.status, msgspec.json.encode(body), headers


def _unknown(prefix: str, operation: str) -> str:
    return f"{prefix}.{_short(operation)} is not an operation of this hub"


def _short(text: str) -> str:
    return text if len(text) <= _NAME_CHARS_MAX else text[:_NAME_CHARS_MAX] + "…"
