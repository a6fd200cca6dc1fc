"""Topics of a real SNS endpoint: Publish and PublishBatch in the query protocol, the only one that SNS speaks.

Each delivery becomes one message and has its own outcome. The XML of an answer is read without document types, so that
nothing in it can expand or lead elsewhere.
"""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote, urlencode
from xml.parsers import expat

import msgspec

from router.sinks.base import Attempt, Delivered, Outcome, Rejected, Retryable
from router.sinks.batches import in_batches
from router.sinks.endpoints import Endpoints, Service
from router.sinks.failures import Failure
from router.sinks.http_client import Response

_BATCH_BYTES_MAX = 262_144  # SNS: PublishBatch, the sum of all messages
_HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
_XML_DEPTH_MAX = 16  # ours: SNS's answers have 6 levels


class _Message(msgspec.Struct, frozen=True):
    id: str
    text: str
    attributes: dict[str, str] | None


class SnsSink:
    """See the module's contract."""

    kind: ClassVar[str] = "sns"
    batch_max: ClassVar[int] = 10
    concurrency: ClassVar[int] = 8

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def send(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        arn = attempts[0].target.arn
        service = self._endpoints.service(arn)
        deadline = self._endpoints.deadline()

        async def call(batch: Sequence[_Message]) -> Sequence[Outcome] | Failure:
            if len(batch) == 1:
                form = _form("Publish", arn, _fields(batch[0], "Message", "MessageAttributes"))
            else:
                form = _form("PublishBatch", arn, _batch_fields(batch))
            answer = await service.call(_HEADERS, form, deadline=deadline)
            return _outcomes(service, batch, answer) if isinstance(answer, Response) else answer

        messages = [_message(str(index), attempt) for index, attempt in enumerate(attempts)]
        return await in_batches(messages, _size, call, count_max=self.batch_max, bytes_max=_BATCH_BYTES_MAX)


def _message(message_id: str, attempt: Attempt) -> _Message | Rejected:
    try:
        text = attempt.payload.decode()
    except UnicodeDecodeError:
        return Rejected("INVALID_PARAMETER", "the payload is not UTF-8 text")
    if not text:
        return Rejected("INVALID_PARAMETER", "the payload is empty, SNS takes at least one character")
    return _Message(message_id, text, attempt.attributes)


def _size(message: _Message) -> int:
    return len(message.text.encode()) + sum(
        len(name.encode()) + len(value.encode()) + len("String") for name, value in (message.attributes or {}).items()
    )


def _form(action: str, topic_arn: str, fields: list[tuple[str, str]]) -> bytes:
    pairs = [("Action", action), ("Version", "2010-03-31"), ("TopicArn", topic_arn), *fields]
    return urlencode(pairs, quote_via=quote, safe="").encode()


def _fields(message: _Message, text_name: str, attributes_name: str) -> list[tuple[str, str]]:
    fields = [(text_name, message.text)]
    for number, (name, value) in enumerate((message.attributes or {}).items(), 1):
        entry = f"{attributes_name}.entry.{number}"
        fields += [
            (f"{entry}.Name", name),
            (f"{entry}.Value.DataType", "String"),
            (f"{entry}.Value.StringValue", value),
        ]
    return fields


def _batch_fields(batch: Sequence[_Message]) -> list[tuple[str, str]]:
    fields = []
    for number, message in enumerate(batch, 1):
        member = f"PublishBatchRequestEntries.member.{number}"
        fields.append((f"{member}.Id", message.id))
        fields += _fields(message, f"{member}.Message", f"{member}.MessageAttributes")
    return fields


def _outcomes(service: Service, batch: Sequence[_Message], response: Response) -> Sequence[Outcome] | Failure:
    try:
        root = None if response.truncated else parse_xml(response.body)
    except BadXml:
        root = None
    if response.status // 100 != 2:
        error = root.find("Error") if root else None
        return (
            service.failure(response, error.text_of("Code"), error.text_of("Message"))
            if error
            else (service.failure(response))
        )
    if root is None:
        return service.failure(response)
    if len(batch) == 1:
        return [Delivered()] if root.find("PublishResult") else service.failure(response)
    result = root.find("PublishBatchResult") or root
    by_id: dict[str, Outcome] = {}
    for sent in result.members("Successful"):
        by_id[sent.text_of("Id")] = Delivered()
    for failed in result.members("Failed"):
        by_id[failed.text_of("Id")] = service.entry_failure(
            failed.text_of("Code"),
            failed.text_of("Message"),
            is_sender_fault=failed.text_of("SenderFault").lower() == "true",
        )
    unheard = Retryable("SDK_CLIENT_ERROR", f"{service.what}: the answer does not say what became of the message")
    return [by_id.get(message.id, unheard) for message in batch]


class BadXml(ValueError):
    """The text is not XML of the plain kind that AWS answers."""


class Element:
    """An XML element by its local name: its text and its children."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.children: list[Element] = []

    def find(self, name: str) -> "Element | None":
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def text_of(self, name: str) -> str:
        child = self.find(name)
        return child.text.strip() if child else ""

    def members(self, name: str) -> list["Element"]:
        """The members of the list of that name."""
        found = self.find(name)
        return found.children if found else []


def parse_xml(body: bytes) -> Element:
    """The root element; raises `BadXml` for what is not well-formed, has a document type or is nested too deep."""
    top = Element("")
    open_elements = [top]

    def start(name: str, _: dict[str, str]) -> None:
        if len(open_elements) > _XML_DEPTH_MAX:
            raise BadXml(f"expected at most {_XML_DEPTH_MAX} levels of XML, got more")
        element = Element(name.rpartition(":")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def document_type(*_: object) -> None:
        raise BadXml("expected XML without a document type, got one")

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise BadXml(f"expected XML, got something else: {expat.ErrorString(error.code)}") from error
    return top.children[0]
