"""A real hub process for tests: its own folder, a free port, killed or stopped as the test asks."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import boto3
import yaml
from botocore.config import Config

REGION = "us-east-1"
WORKLOAD = "111111111111"
SECURITY = "333333333333"


class HubProcess:
    """`settings` is the hub file; listen address and data folder are filled in. `prefix` is a command that starts the
    hub's, such as strace: what it starts must take its place."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        environment: dict[str, str] | None = None,
        *,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = {
            "accounts": [{"id": WORKLOAD}, {"id": "222222222222"}, {"id": SECURITY}],
            "regions": ["us-east-1", "eu-west-1"],
            "quotas": "raised",
            **settings,
            "listen": {"host": "127.0.0.1", "port": 0},
            "data_folder": str(folder / "data"),
        }
        self._environment = environment or {}
        self._prefix = prefix
        self.log: list[dict[str, Any]] = []
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()

    def launch(self, port: int = 0) -> None:
        """Start and do not wait; `port` takes up an earlier run's port again."""
        path = self.folder / "hub.yaml"
        path.write_text(yaml.safe_dump({**self._settings, "listen": {"host": "127.0.0.1", "port": port}}))
        self._ready.clear()
        self._process = subprocess.Popen(
            [*self._prefix, sys.executable, "-m", "router", "serve", str(path)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._environment},
        )
        threading.Thread(target=self._read_log, args=(self._process,), daemon=True).start()

    def start(self, port: int = 0) -> Self:
        """Start and wait until it is ready."""
        self.launch(port)
        if not self._ready.wait(20):
            self.kill()
            raise AssertionError(f"the hub is not ready after 20 s: {self.log[-5:]}")
        return self

    def _read_log(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": line.rstrip()}
            self.log.append(entry)
            if entry["event"] == "hub.ready":
                self.port = entry["port"]
                self._ready.set()
        process.stderr.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def freeze(self) -> None:
        """SIGSTOP: it does nothing more until `thaw`, or is killed as it stands."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        return self._process.wait(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def client(self, service: str, account: str = WORKLOAD, region: str = REGION, **options: Any) -> Any:
        """A boto3 client that calls as `account`."""
        keys = {"aws_access_key_id": account, "aws_secret_access_key": "none", **options}
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            config=Config(retries={"max_attempts": 0}, read_timeout=30),
            **keys,
        )

    def get(self, path: str) -> tuple[int, str]:
        return self.request("GET", path)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and text of a plain HTTP call, whatever the status."""
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def service_events(self, events: object, account: str = WORKLOAD, region: str = REGION) -> dict[str, Any]:
        status, text = self.request("POST", f"/aws-events/{account}/{region}", json.dumps(events).encode())
        assert status == 200, text
        answer: dict[str, Any] = json.loads(text)
        return answer

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        _, text = self.get("/metrics")
        total = 0.0
        for line in text.splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                total += float(line.rpartition(" ")[2])
        return total


def eventually(check: Any, *, seconds: float = 60.0) -> Any:
    """The first true value of `check()`; fails with the last value when none comes in time."""
    end = time.monotonic() + seconds
    value = check()
    while not value:
        if time.monotonic() > end:
            raise AssertionError(f"still {value!r} after {seconds} s")
        time.sleep(0.05)
        value = check()
    return value


def receive_all(sqs: Any, url: str, *, expected: int, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Messages of a queue, deleted as they are read, until `expected` have come."""
    messages: list[dict[str, Any]] = []
    end = time.monotonic() + seconds
    while len(messages) < expected and time.monotonic() < end:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
        )
        found = answer.get("Messages", [])
        if found:
            entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(found)]
            sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        messages += found
    return messages
