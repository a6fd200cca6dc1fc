"""A real Prometheus for tests, with config/prometheus as it stands, but for its haste: it scrapes and computes every
second. Its folder and port are its own.
"""

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from tests.dashboards.files import PROMETHEUS

PROGRAM = shutil.which("prometheus")
_INTERVAL = "1s"


class Prometheus:
    """It scrapes `target`, an address with its port."""

    def __init__(self, folder: Path, target: str) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        for name in ("recording.yml", "alerts.yml"):
            shutil.copy(PROMETHEUS / name, folder / name)
        (folder / "targets.yml").write_text(yaml.safe_dump([{"targets": [target]}]))
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = dict.fromkeys(config["global"], _INTERVAL)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._ready = threading.Event()
        self.url = ""
        self.log: list[str] = []

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [
                PROGRAM,
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read_log, daemon=True).start()
        if not self._ready.wait(30):
            self.__exit__()
            raise AssertionError(f"Prometheus does not listen after 30 s: {self.log[-5:]}")
        end = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < end, self.log[-5:]
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line.rstrip())
            found = re.search(r'msg="Listening on" .*address=(?:\S*?)(127\.0\.0\.1:\d+)', line)
            if found:
                self.url = f"http://{found[1]}"
                self._ready.set()
        self._process.stderr.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of one of its answers. An expression that it does not understand raises AssertionError."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.code} for {parameters}: {error.read().decode()}") from error

    def values(self, expr: str, *, since_s: float) -> list[list[float]]:
        """What an expression was, second by second, from then until now: the values of each series, without NaN."""
        found = self.get("query_range", query=expr, start=str(since_s), end=str(time.time()), step=_INTERVAL)
        series = ([float(value) for _, value in one["values"]] for one in found["result"])
        return [[value for value in values if value == value] for values in series]
