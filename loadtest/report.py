"""What a benchmark says of its runs: a table of medians, and a file with every run and what it was measured on."""

import json
import os
import platform
import statistics
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def report(name: str, headline: str, runs: Sequence[dict[str, float]], **facts: str) -> None:
    """Print the medians under the headline and write loadtest/results/NAME.json."""
    medians = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
    width = max(map(len, medians))
    print(f"\nmedians of {len(runs)} runs, {headline}")
    for figure, value in medians.items():
        print(f"  {figure:<{width}}  {round(value, 3):>12,}")
    write(name, {"medians": medians, "runs": runs, **facts})


def write(name: str, results: Mapping[str, Any], *, folder: Path | None = None) -> Path:
    """Write NAME.json into the folder, by default loadtest/results: the results, and the interpreter, libraries and
    machine they are from."""
    folder = folder or RESULTS
    folder.mkdir(exist_ok=True)
    written = {
        **results,
        "python": platform.python_version(),
        "build": sysconfig.get_config_var("CONFIG_ARGS"),
        "msgspec": metadata.version("msgspec"),
        "machine": platform.platform(),
        "processor": processor(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(written, indent=2) + "\n")
    return path


def processor() -> str:
    """The processor's name and how many there are."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{os.cpu_count()} x {line.partition(':')[2].strip()}"
    return f"{os.cpu_count()} x {platform.processor() or platform.machine()}"
