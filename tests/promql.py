"""As much of PromQL as the table of docs/metrics.md uses: selectors, `increase`, `sum`, `vector` and arithmetic.

A counter's increase is what it has come to: the tests ask a hub for all that it has counted since it started.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_SELECTOR = re.compile(r"(crossbus_\w+)\{([^}]*)\}")
_LABEL = re.compile(r'(\w+)(!?=)"([^"]*)"')
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Selector(NamedTuple):
    """A metric and its label tests: name, `=` or `!=`, value."""

    metric: str
    tests: tuple[tuple[str, str, str], ...]


class Row(NamedTuple):
    metric: str
    dimension: str
    expression: str


def table(text: str) -> list[Row]:
    """The rows of the document's table of AWS/Events."""
    return [Row(*found) for found in re.findall(r"^\| (\w+) \| (\w+) \| `([^`]+)` \|$", text, re.MULTILINE)]


def selectors(expression: str) -> list[Selector]:
    return [Selector(name, tuple(_LABEL.findall(labels))) for name, labels in _SELECTOR.findall(expression)]


class Samples:
    """What `/metrics` said."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def value(self, expression: str, **variables: str) -> float:
        """The expression's value, `$name` being what `variables` say; what has no series is 0."""
        for name, value in variables.items():
            expression = expression.replace(f"${name}", value)
        plain = _SELECTOR.sub(lambda found: repr(self._sum(selectors(found[0]))), expression).replace("[1m]", "")
        return _evaluate(ast.parse(plain, mode="eval").body)

    def _sum(self, found: Iterable[Selector]) -> float:
        (selector,) = found
        return sum(
            value
            for name, labels, value in self._samples
            if name == selector.metric
            and all((labels.get(label, "") == wanted) == (test == "=") for label, test, wanted in selector.tests)
        )


def _evaluate(node: ast.expr) -> float:
    if isinstance(node, ast.Constant):
        return float(str(node.value))
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    assert isinstance(node, ast.Call), ast.dump(node)
    assert ast.unparse(node.func) in ("sum", "increase", "vector")
    return _evaluate(node.args[0])
