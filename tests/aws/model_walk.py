"""Every constraint of EventBridge's model, broken once: a walk over botocore's copy of the model, and for each broken
constraint the text that AWS answers (recorded answers). It shares no code with the validator.

A `Case` is a request that is right but for one thing. `example` makes the smallest right request, so that a case for a
member anywhere in the model is the smallest right request around it.
"""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

_model = json.loads(
    gzip.decompress(resources.files("botocore").joinpath("data/events/2015-10-07/service-2.json.gz").read_bytes())
)
SHAPES: dict[str, dict[str, Any]] = _model["shapes"]
OPERATIONS: dict[str, str] = {name: data["input"]["shape"] for name, data in _model["operations"].items()}
UNASKED_MINIMUMS = {"TraceHeader"}
"""Observed on AWS: an empty TraceHeader is taken."""
SHOWN_CHARS_MAX = 32_768

ARN = "arn:aws:events:us-east-1:111111111111"
# For each pattern a text of three parts, of which the middle one may be repeated at will.
STRETCHABLE = {
    r"^((%[0-9A-Fa-f]{2}|[-()_.!~*';/?:@\x26=+$,A-Za-z0-9])+)([).!';/?:,])?$": ("https://example.com/", "a", ""),
    r"aws\.partner(/[\.\-_A-Za-z0-9]+){2,}": ("aws.partner/a/b", "a", ""),
    r"aws\.partner/[\.\-_A-Za-z0-9]+/[/\.\-_A-Za-z0-9]*": ("aws.partner/a/", "a", ""),
    r"^arn:aws([a-z]|\-)*:route53:::healthcheck/[\-a-z0-9]+$": ("arn:aws:route53:::healthcheck/a", "a", ""),
    r"(^arn:aws([a-z]|\-)*:secretsmanager:[a-z0-9-.]+:.*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)": ("$.a", "a", ""),
    r"(\d{12}|\*)": ("111111111111", "1", ""),
    r"\d{12}": ("111111111111", "1", ""),
    r"^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:.+\/.+$": (f"{ARN}:archive/a", "a", ""),
    r"^(?:^arn:[a-z0-9\-]+:vpc-lattice:[a-zA-Z0-9\-]+:\d{12}:resourceconfiguration/rcfg-[0-9a-z]{17}$|^$)": (
        "arn:aws:vpc-lattice:us-east-1",
        "a",
        f":111111111111:resourceconfiguration/rcfg-{'0' * 17}",
    ),
    r"^arn:aws[a-z-]*:events:[a-z]+-[a-z-]+-\d+:\d{12}:event-bus/[\w.-]+$": (f"{ARN}:event-bus/a", "a", ""),
    r"events:[a-zA-Z]+": ("events:P", "a", ""),
    r"^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]+$": ("arn:aws:iam::111111111111:role/a", "a", ""),
    r"^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:connection\/[\.\-_A-Za-z0-9]+\/[\-A-Za-z0-9]+$": (
        f"{ARN}:connection/a/a",
        "a",
        "",
    ),
    r"^[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+$": ("a.a", "a", ""),
}
NEVER_RIGHT = (" ", "#", "\n", "é", "\x7f", "a:b", "!")
"""Some pattern takes each of them, and none takes all."""


class Case(NamedTuple):
    """`found` are the paths, values (as AWS shows them) and constraints; for a wrong type its text alone."""

    kind: str
    value: Any
    found: list[tuple[str, str, str]]
    wrong_type: str = ""

    def at(self, prefix: str, value: Any) -> "Case":
        """The same one level up."""
        found = [(prefix + path, shown, constraint) for path, shown, constraint in self.found]
        wrong_type = self.wrong_type.replace("(at '", f"(at '{prefix}")
        return Case(self.kind, value, found, wrong_type)

    def text(self) -> str:
        """The message that AWS answers with."""
        if self.wrong_type:
            return self.wrong_type.replace(".'", "'")
        noun = "error" if len(self.found) == 1 else "errors"
        listed = [
            f"Value{shown} at '{path.strip('.')}' failed to satisfy constraint: {constraint}"
            for path, shown, constraint in self.found
        ]
        return f"{len(listed)} validation {noun} detected: {'; '.join(listed)}"


def comparable(text: str) -> str:
    """A message with its enums sorted: their order is Java's, and its recorded cases have a test of their own."""
    return re.sub(
        r"enum value set: \[([^]]*)\]", lambda m: f"enum value set: [{', '.join(sorted(m[1].split(', ')))}]", text
    )


# what is right


@cache
def example(name: str) -> Any:
    """The smallest right value of a shape; do not change it."""
    shape = SHAPES[name]
    match shape["type"]:
        case "structure":
            return {member: example(shape["members"][member]["shape"]) for member in shape.get("required", ())}
        case "list":
            return [example(shape["member"]["shape"])] * shape.get("min", 0)
        case "map":
            return {}
        case "string":
            # Some patterns without a minimum want a character all the same.
            return (
                shape["enum"][0] if "enum" in shape else stretched(shape, max("pattern" in shape, shape.get("min", 0)))
            )
        case "integer" | "long":
            return shape.get("min", 0)
        case "boolean":
            return True
        case "timestamp":
            return 1_795_476_896
        case other:
            raise AssertionError(f"{name}: a {other} is new")


def stretched(shape: dict[str, Any], length: int) -> str:
    """A text that fits the shape's pattern and has at least this length."""
    start, middle, end = STRETCHABLE.get(shape.get("pattern", ""), ("", "a", ""))
    return start + middle * max(0, length - len(start) - len(end)) + end


# what is wrong


def cases(name: str) -> Iterator[Case]:
    """Every way in which a value of this shape can break the model, one at a time."""
    shape = SHAPES[name]
    yield from wrong_types(shape)
    match shape["type"]:
        case "structure":
            yield from of_structure(name)
        case "list":
            yield from of_list(name)
        case "map":
            yield from of_map(name)
        case _:
            for kind, value in broken(shape):
                yield Case(kind, value, [("", shown(name, value), text) for text in violated(shape, value)])


def of_structure(name: str) -> Iterator[Case]:
    shape, right = SHAPES[name], example(name)
    for member in shape.get("required", ()):
        without = {key: value for key, value in right.items() if key != member}
        for value in (without, {**without, member: None}):
            yield Case("required", value, [(lower(member), " null", "Member must not be null")])
    for member, reference in shape["members"].items():
        for case in cases(reference["shape"]):
            yield case.at(f"{lower(member)}.", {**right, member: case.value})


def of_list(name: str) -> Iterator[Case]:
    shape, element = SHAPES[name], SHAPES[SHAPES[name]["member"]["shape"]]
    right = example(shape["member"]["shape"])
    for kind, length in (("max", shape.get("max", 0) + 1), ("min", shape.get("min", 0) - 1)):
        if kind in shape and length >= 0:
            value = [right] * length
            yield Case(kind, value, [("", shown(name, value), of_length(kind, shape[kind]))])
    fill = [right] * max(0, shape.get("min", 0) - 1)
    if is_container(element):
        yield Case("required", [None, *fill], [("1.member", " null", "Member must not be null")])
        for case in cases(shape["member"]["shape"]):
            yield case.at("1.member.", [case.value, *fill])
            if "max" not in shape or shape["max"] > 2 + len(fill):
                yield case.at("2.member.", [right, case.value, *fill])
        return
    for kind, value in [*broken(element), ("required", None)]:
        values = [value, *fill]
        text = f"Member must satisfy constraint: {all_of(element, value is None)}"
        yield Case(kind, values, [("", shown(name, values), text)])
    for case in wrong_types(element):
        yield Case(case.kind, [case.value, *fill], [], case.wrong_type)


def of_map(name: str) -> Iterator[Case]:
    shape = SHAPES[name]
    key, value = SHAPES[shape["key"]["shape"]], SHAPES[shape["value"]["shape"]]
    right = example(shape["value"]["shape"])
    if "max" in shape:
        many = {f"k{number}": right for number in range(shape["max"] + 1)}
        yield Case("max", many, [("", shown(name, many), of_length("max", shape["max"]))])
    for kind, wrong in broken(key):
        pairs = {wrong: right}
        yield Case(kind, pairs, [("", shown(name, pairs), f"Map keys must satisfy constraint: {all_of(key)}")])
    for kind, wrong in [*broken(value), ("required", None)]:
        pairs = {"k": wrong}
        text = f"Map value must satisfy constraint: {all_of(value, wrong is None)}"
        yield Case(kind, pairs, [("", shown(name, pairs), text)])
    for case in wrong_types(value):
        yield Case(case.kind, {"k": case.value}, [], case.wrong_type)


def broken(shape: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """For each constraint of a scalar a value that breaks it."""
    low, high = shape.get("min"), shape.get("max")
    if shape["type"] == "string":
        if high is not None:
            yield "max", stretched(shape, high + 1)
        if low:
            yield "min", stretched(shape, low)[: low - 1]
        if "pattern" in shape:
            texts = [text * max(1, low or 0) for text in NEVER_RIGHT]
            bad = [text for text in texts if not fits(shape["pattern"], text)]
            assert bad, f"no text breaks {shape['pattern']}"
            yield "pattern", bad[0]
        if "enum" in shape:
            yield "enum", "SOMETHING_ELSE"
    elif shape["type"] in ("integer", "long"):
        if high is not None:
            yield "max", high + 1
        if low is not None:
            yield "min", low - 1


def violated(shape: dict[str, Any], value: Any) -> list[str]:
    """All constraints that a scalar breaks, in AWS's order."""
    of, size = ("length", len(value)) if isinstance(value, str) else ("value", value)
    texts = []
    if "enum" in shape and value not in shape["enum"]:
        texts.append(enum_text(shape))
    if "pattern" in shape and not fits(shape["pattern"], value):
        texts.append(f"Member must satisfy regular expression pattern: {shape['pattern']}")
    if "max" in shape and size > shape["max"]:
        texts.append(f"Member must have {of} less than or equal to {shape['max']}")
    if "min" in shape and size < shape["min"]:
        texts.append(f"Member must have {of} greater than or equal to {shape['min']}")
    return texts


def all_of(shape: dict[str, Any], null: bool = False) -> str:
    """All constraints that an element, a key or a value of a map has."""
    texts = [of_length(kind, shape[kind]) for kind in ("max", "min") if kind in shape]
    if "pattern" in shape:
        texts.append(f"Member must satisfy regular expression pattern: {shape['pattern']}")
    if "enum" in shape:
        texts.append(enum_text(shape))
    return f"[{', '.join([*texts, *(['Member must not be null'] if null else [])])}]"


def wrong_types(shape: dict[str, Any]) -> Iterator[Case]:
    """A value of each other JSON type, with what AWS's reader says to it."""
    nouns = {"string": "a String", "integer": "an Integer", "boolean": "a Boolean"}
    noun = nouns.get(shape["type"], "milliseconds since epoch")
    right = {"string": str, "integer": int, "timestamp": float, "boolean": bool, "structure": dict, "map": dict}.get(
        shape["type"], list
    )
    tokens: dict[object, str] = {
        "x": "STRING_VALUE",
        7: "NUMBER_VALUE",
        7.5: "DECIMAL_VALUE",
        True: "TRUE_VALUE",
        False: "FALSE_VALUE",
    }
    otherwise = {"structure": "Expected null", "list": "Expected list or null", "map": "Expected map or null"}
    values: tuple[Any, ...] = ("x", 7, 7.5, True, False, [], {})
    for value in values:
        if type(value) is right or (shape["type"] == "timestamp" and type(value) is int):
            continue
        if isinstance(value, list):
            said = "Start of list found where not expected"
        elif isinstance(value, dict):
            said = "Start of structure or map found where not expected."
        elif is_container(shape):
            said = otherwise[shape["type"]]
        else:
            said = f"{tokens[value]} can not be converted to {noun}"
        yield Case("type", value, [], f"{said} (at '')")


# how AWS writes it


def shown(name: str, value: Any) -> str:
    """` 'value'`, or nothing for a secret."""
    if SHAPES[name].get("sensitive"):
        return ""
    text = java(name, value)
    return f" '{text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + '…'}'"


def java(name: str, value: Any) -> str:
    shape = SHAPES[name]
    if value is None:
        return "null"
    if shape.get("sensitive"):
        return "*** Sensitive Data Redacted ***"
    match shape["type"]:
        case "structure":
            members = [f"{lower(m)}={java(r['shape'], value.get(m))}" for m, r in shape["members"].items()]
            if name == "PutEventsRequestEntry":  # recorded; the published model has not got them
                members += ["kmsKeyIdentifier=null", "internalMetadata=null"]
            return f"{name}({', '.join(members)})"
        case "list":
            return f"[{', '.join(java(shape['member']['shape'], item) for item in value)}]"
        case "map":
            pairs = [f"{key}={java(shape['value']['shape'], item)}" for key, item in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case "boolean":
            return str(value).lower()
        case _:
            return str(value)


def of_length(kind: str, bound: int) -> str:
    return f"Member must have length {'less' if kind == 'max' else 'greater'} than or equal to {bound}"


def enum_text(shape: dict[str, Any]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]"


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text fits a pattern of Java's."""
    flags = re.UNICODE if r"\p{" in pattern else re.ASCII
    pattern = pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w\s").replace("[a-zA-Z0-9-_]", "[a-zA-Z0-9_-]")
    return re.fullmatch(pattern, text, flags) is not None


def is_container(shape: dict[str, Any]) -> bool:
    return shape["type"] in ("structure", "list", "map")


def lower(member: str) -> str:
    return member[0].lower() + member[1:]


def _without_unasked_minimums() -> None:
    for name in UNASKED_MINIMUMS:
        del SHAPES[name]["min"]


_without_unasked_minimums()
