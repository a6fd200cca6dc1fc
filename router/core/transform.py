"""What a target receives: the whole event, a constant, a part of the event, or a filled-in template.

Follows the recorded behaviour of AWS (EventBridge user guide, "eb-transform-target-input"; classic.md section 4.2):

- A placeholder outside quotes becomes the value's JSON; inside quotes the bare text of a string, or the JSON of
  anything else. A path that finds nothing becomes `""` outside quotes and nothing inside.
- A template that starts with a quote is a text template: one or more quoted lines. In it, objects and arrays lose their
  double quotes, so that the text stays a string. The surrounding quotes are delivered.
- Extracted values are not escaped. The result must be JSON (a text template: JSON strings, one after another); one that
  is not cannot be delivered and raises `InvalidInput`, the dead letter's INVALID_JSON.

Values are copied as JSON text and never pass through Python numbers. Knows no targets: which kinds accept an input at
all, and that only one of the three forms is given, is the caller's to check.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from router.core import jsonpath
from router.core.event import Event, envelope
from router.core.jsonpath import MISSING, Path


class InvalidInput(ValueError):
    """The input made for the target is not valid JSON, or there is none."""

    code = "INVALID_JSON"


class BadTemplate(ValueError):
    """The template names a placeholder that is neither in the paths map nor predefined."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(f"contains invalid placeholder {placeholder}.")
        self.placeholder = placeholder


class BadInput(ValueError):
    """The constant input is not JSON; the message says where."""


class Constant(msgspec.Struct, frozen=True):
    body: bytes


class Reader(msgspec.Struct, frozen=True):
    """A path and the shortest way to its value: a field of the envelope, a path inside `detail`, or the whole event."""

    path: Path
    field: str | None
    inside_detail: Path | None


class Extract(msgspec.Struct, frozen=True):
    reader: Reader


class Slot(msgspec.Struct, frozen=True):
    """A placeholder's place in a template."""

    name: str
    quoted: bool


class Template(msgspec.Struct, frozen=True):
    parts: tuple[str | Slot, ...]
    readers: tuple[tuple[str, Reader], ...]
    predefined: tuple[str, ...]
    is_text: bool


Transform = Constant | Extract | Template

PREDEFINED = frozenset(
    {
        "aws.events.rule-arn",
        "aws.events.rule-name",
        "aws.events.event.ingestion-time",
        "aws.events.event",
        "aws.events.event.json",
    }
)
_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]+)>")
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')
_INNER_QUOTES = re.compile(r'(\\[^"])|\\?"')
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_TEXT = re.compile(rf"[ \t\r\n]*+{_STRING}(?:[ \t\r\n]++{_STRING})*+[ \t\r\n]*+")
_FIELDS = {
    "$.id": "id",
    "$.detail-type": "detail_type",
    "$.source": "source",
    "$.account": "account",
    "$.time": "time",
    "$.region": "region",
}
_encode = msgspec.json.Encoder().encode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode
_decode_str = msgspec.json.Decoder(str).decode


def compile_transform(
    *, input: str | None, input_path: str | None, paths_map: Mapping[str, str] | None, template: str | None
) -> Transform | None:
    """The compiled input of a target; None means the whole event.

    Raises `BadInput`, `BadTemplate` or `jsonpath.InvalidPath`.
    """
    assert (input is not None) + (input_path is not None) + (template is not None) <= 1, "one input form at most"
    if input is not None:
        try:
            _check_json(input)
        except msgspec.DecodeError as error:
            raise BadInput(f"JSON syntax error in input: {error}") from error
        return Constant(input.encode())
    if input_path is not None:
        path = jsonpath.compile_path(input_path)
        return Extract(_reader(path)) if path.steps else None
    if template is not None:
        return _compile_template(template, paths_map or {})
    return None


def _compile_template(template: str, paths_map: Mapping[str, str]) -> Template:
    paths = {name: jsonpath.compile_path(text) for name, text in paths_map.items()}
    parts: list[str | Slot] = []
    used: dict[str, None] = {}
    quoted = False
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        name = match[1]
        if name not in paths and name not in PREDEFINED:
            raise BadTemplate(name)
        literal = template[position : match.start()]
        quoted = _quoted_after(literal, quoted)
        parts += [literal, Slot(name, quoted)]
        used[name] = None
        position = match.end()
    parts.append(template[position:])
    return Template(
        tuple(part for part in parts if part != ""),
        tuple((name, _reader(paths[name])) for name in used if name in paths),
        tuple(name for name in used if name not in paths),
        template.lstrip().startswith('"'),
    )


def _quoted_after(literal: str, quoted: bool) -> bool:
    """Whether the end of a literal part stands inside a JSON string, given whether its start does."""
    position = 0
    while match := _QUOTE_OR_ESCAPE.search(literal, position):
        if match[0] == '"':
            quoted = not quoted
            position = match.end()
        else:
            position = match.end() + 1
    return quoted


def render(transform: Transform, event: Event, *, rule_arn: str, rule_name: str, ingested_ms: int) -> bytes:
    """The body that the target receives; raises `InvalidInput`."""
    if isinstance(transform, Constant):
        return transform.body
    if isinstance(transform, Extract):
        found = _read(transform.reader, event)
        if found is None:
            raise InvalidInput(f"InputPath {transform.reader.path.text} finds nothing in the event")
        return found.encode()
    values = {name: _read(reader, event) for name, reader in transform.readers}
    for name in transform.predefined:
        values[name] = _predefined(name, event, rule_arn, rule_name, ingested_ms)
    return _fill(transform, values)


def _fill(template: Template, values: Mapping[str, str | None]) -> bytes:
    texts: list[str] = []
    for part in template.parts:
        if isinstance(part, str):
            texts.append(part)
        elif part.quoted:
            strip = template.is_text and part.name not in template.predefined
            texts.append(_inside_quotes(values[part.name], strip))
        else:
            value = values[part.name]
            texts.append('""' if value is None else value)
    filled = "".join(texts)
    if template.is_text:
        if _TEXT.fullmatch(filled) is None:
            raise InvalidInput("The filled-in InputTemplate is not a sequence of JSON strings")
    else:
        try:
            _check_json(filled)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"The filled-in InputTemplate is not valid JSON: {error}") from error
    return filled.encode()


def _inside_quotes(value: str | None, strip: bool) -> str:
    if value is None:
        return ""
    if value[0] == '"':
        return _decode_str(value)
    if strip and value[0] in "{[":
        return _INNER_QUOTES.sub(r"\1", msgspec.json.format(value, indent=-1))
    return value


def _reader(path: Path) -> Reader:
    inside_detail = None
    if path.definite and path.steps[0] == "detail":
        inside_detail = Path(path.text, path.steps[1:], path.definite - 1)
    return Reader(path, _FIELDS.get(path.text), inside_detail)


def _read(reader: Reader, event: Event) -> str | None:
    """The JSON text that a path finds in the event, or None."""
    if reader.field is not None:
        return _encode(getattr(event, reader.field)).decode()
    if reader.inside_detail is not None:
        found = jsonpath.get_json(reader.inside_detail, event.detail.encode())
    else:
        found = jsonpath.get_json(reader.path, envelope(event))
    return None if found is MISSING else found.decode()


class _EventWithoutDetail(msgspec.Struct):
    """`aws.events.event`: the keys, their spelling and their order are recorded; `time` is the ingestion time."""

    id: str
    account: str
    detail_type: str = msgspec.field(name="detailType")
    time: str
    source: str
    region: str
    resources: tuple[str, ...]
    version: str


def _predefined(name: str, event: Event, rule_arn: str, rule_name: str, ingested_ms: int) -> str:
    if name == "aws.events.rule-arn":
        return _encode(rule_arn).decode()
    if name == "aws.events.rule-name":
        return _encode(rule_name).decode()
    if name == "aws.events.event.json":
        return envelope(event).decode()
    ingested = datetime.fromtimestamp(ingested_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if name == "aws.events.event.ingestion-time":
        return _encode(ingested).decode()
    return _encode(
        _EventWithoutDetail(
            event.id,
            event.account,
            event.detail_type,
            ingested,
            event.source,
            event.region,
            event.resources,
            "0",
        )
    ).decode()
