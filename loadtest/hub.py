"""A fresh hub process for a benchmark, and what it uses: CPU seconds, memory, time until ready."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from router.bench import process

ACCOUNT = "111111111111"
REGION = "us-east-1"


class Hub:
    """`settings` is the hub file; listen address and data folder are filled in."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crossbus-bench-")
        self._settings = settings
        self.port = 0
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        (folder / "hub.yaml").write_text(
            json.dumps(
                {
                    "accounts": [{"id": ACCOUNT}],
                    "regions": [REGION],
                    "quotas": "raised",
                    **self._settings,
                    "listen": {"host": "127.0.0.1", "port": 0},
                    "data_folder": str(folder / "data"),
                }
            )
        )
        self.start()
        return self

    @property
    def data_folder(self) -> Path:
        return Path(self._folder.name) / "data"

    def start(self) -> None:
        """Start, and wait until it is ready; after `kill` it goes on with what it had."""
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "router", "serve", str(Path(self._folder.name) / "hub.yaml")],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not line.startswith("{"):
                raise RuntimeError(f"the hub did not start: {line}{self.process.stderr.read()}".strip())
            entry = json.loads(line)
            if entry["event"] == "hub.ready":
                self.port = entry["port"]
                break
        else:
            raise RuntimeError("the hub did not start")
        self.ready_s = time.perf_counter() - started

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        self.process.kill()
        self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._folder.cleanup()

    def cpu_s(self) -> float:
        """User and system CPU that the hub has used so far, its children included."""
        return process.cpu_s(self.process.pid)

    def own_cpu_s(self) -> float:
        """User and system CPU of the hub's own process."""
        return process.own_cpu_s(self.process.pid)

    def ended_children_cpu_s(self) -> float:
        """User and system CPU of the processes that the hub started and that have ended."""
        return process.ended_children_cpu_s(self.process.pid)

    def anonymous_mb(self) -> float:
        """Resident anonymous memory, its children's included (the mapped store is page cache and not counted)."""
        return process.anonymous_mb(self.process.pid)
