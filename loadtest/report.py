"""What a benchmark says of its runs: a table of medians, and a file with every run and what it was measured on."""

import json
import platform
import statistics
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def report(name: str, headline: str, runs: Sequence[dict[str, float]], **facts: str) -> None:
    """Print the medians under the headline and write loadtest/results/NAME.json."""
    medians = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
    width = max(map(len, medians))
    print(f"\nmedians of {len(runs)} runs, {headline}")
    for figure, value in medians.items():
        print(f"  {figure:<{width}}  {round(value, 3):>12,}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    written = {
        "medians": medians,
        "runs": runs,
        **facts,
        "python": platform.python_version(),
        "build": sysconfig.get_config_var("CONFIG_ARGS"),
        "machine": platform.platform(),
    }
    (results / f"{name}.json").write_text(json.dumps(written, indent=2) + "\n")
