"""Writes what source/ describes to dashboards/, or to the folder that is named: `make.py [FOLDER]`. A test compares."""

import json
import sys
from pathlib import Path

from source import hub, locations, rules, targets

FOLDER = Path(__file__).parent / "dashboards"


def texts() -> dict[str, str]:
    """The files' names and what is in them."""
    made = [module.DASHBOARD for module in (hub, rules, targets, locations)]
    return {f"{one['uid']}.json": json.dumps(one, indent=1, ensure_ascii=False) + "\n" for one in made}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")
