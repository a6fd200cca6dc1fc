"""A plan as people read it, a line a resource, and as JSON. Secrets are never in it."""

from collections.abc import Iterator
from typing import Any

from router.importers.record import Leftover
from router.importers.stack import Change, Plan, Step

_SIGNS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-"}
_VALUE_CHARS_MAX = 60


def lines(plan: Plan) -> Iterator[str]:
    """`+` make, `~` change, `-/+` replace, `-` delete; what is skipped; how many of each."""
    changing = [step for step in plan.steps if step.action != "keep"]
    rows = [(_SIGNS[step.action], step.logical_id, step.type, step.identity) for step in changing]
    rows += [("-", left.logical_id, left.resource.type, left.resource.identity) for left in plan.deletes]
    rows += [("skip", item.logical_id, item.type, item.what) for item in plan.skipped]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    for index, row in enumerate(rows):
        start = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        changes = changing[index].changes if index < len(changing) else ()
        yield f"{start}  {row[3]}{_changes(changes)}".rstrip()
    yield _summary(plan)


def _changes(changes: tuple[Change, ...]) -> str:
    shown = [f"{change.path}: {_clipped(change.before)} -> {_clipped(change.after)}" for change in changes]
    return "  " + "; ".join(shown) if shown else ""


def _clipped(text: str) -> str:
    if not text:
        return "(none)"
    line = " ".join(text.split())
    return line if len(line) <= _VALUE_CHARS_MAX else line[:_VALUE_CHARS_MAX] + "…"


def _summary(plan: Plan) -> str:
    counts = dict.fromkeys(("create", "update", "replace", "keep"), 0)
    for step in plan.steps:
        counts[step.action] += 1
    if plan.changes_nothing:
        return f"no changes: {counts['keep']} as they are, {len(plan.skipped)} skipped"
    return (
        f"{counts['create']} to make, {counts['update']} to change, {counts['replace']} to replace, "
        f"{len(plan.deletes)} to delete, {counts['keep']} as they are, {len(plan.skipped)} skipped"
    )


def as_json(plan: Plan) -> dict[str, Any]:
    return {
        "changes": [_step(step) for step in plan.steps if step.action != "keep"]
        + [_leftover(left) for left in plan.deletes],
        "kept": [step.logical_id for step in plan.steps if step.action == "keep"],
        "skipped": [
            {"logical_id": item.logical_id, "type": item.type, **({"what": item.what} if item.what else {})}
            for item in plan.skipped
        ],
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "action": step.action,
        "logical_id": step.logical_id,
        "type": step.type,
        "physical_id": step.identity,
        "changes": [
            {"path": change.path, "before": change.before or None, "after": change.after or None}
            for change in step.changes
        ],
    }


def _leftover(left: Leftover) -> dict[str, Any]:
    return {
        "action": "delete",
        "logical_id": left.logical_id,
        "type": left.resource.type,
        "physical_id": left.resource.identity,
        "changes": [],
    }
