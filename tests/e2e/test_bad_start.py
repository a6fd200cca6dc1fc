"""Hub files that cannot be used, and folders and ports in use: `crossbus serve` ends with one clear line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.hub import REGION, WORKLOAD, HubProcess


def serve(folder: Path, text: str | bytes, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`crossbus serve` on a hub file that cannot be used."""
    path = folder / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return subprocess.run(
        [sys.executable, "-m", "router", "serve", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


def hub_file(folder: Path, **settings: Any) -> str:
    base = {
        "listen": {"port": 0},
        "data_folder": str(folder / "data"),
        "accounts": [{"id": WORKLOAD}],
        "regions": [REGION],
    }
    return yaml.safe_dump({**base, **settings})


_RESOURCES = {"account": WORKLOAD, "region": REGION}
_BROKEN: dict[str, tuple[str | bytes | dict[str, Any], str]] = {
    "no YAML": ("accounts: [", "is not YAML: "),
    "bytes": (b"accounts: \x80", "is not YAML: "),
    "empty": ("", "Expected `object`, got `null`"),
    "an unknown key": ({"listen": {"prot": 1}}, "Object contains unknown field `prot` - at `$.listen`"),
    "a variable that is not set": (
        {"auth": {"mode": "sigv4", "keys": [{"secret_access_key": "${CROSSBUS_NOT_SET}"}]}},
        "the environment variable CROSSBUS_NOT_SET is not set - at `$.auth.keys[0].secret_access_key`",
    ),
    "open to the network without auth": (
        {"listen": {"host": "0.0.0.0"}},
        "expected a loopback address, got '0.0.0.0'",
    ),
    "a number for an account": ({"accounts": [{"id": 111111111111}]}, "at `$.accounts[0].id` (put quotes around it)"),
    "an unknown durability": (
        {"store": {"durability": "maybe"}},
        "Invalid enum value 'maybe' - at `$.store.durability`",
    ),
    "a bad pattern": (
        {"resources": [{**_RESOURCES, "rules": [{"Name": "r", "EventPattern": {"source": "x"}}]}]},
        'Reason: "source" must be an object or an array',
    ),
    "a bad queue": ({"resources": [{**_RESOURCES, "queues": [{"QueueName": "a b"}]}]}, "QueueName"),
    "a data folder that is a file": ({"data_folder": __file__}, "cannot use the data folder"),
}


@pytest.mark.parametrize("broken", _BROKEN)
def test_a_hub_file_that_cannot_be_used_is_one_clear_line(tmp_path: Path, broken: str) -> None:
    given, expected = _BROKEN[broken]
    done = serve(tmp_path, hub_file(tmp_path, **given) if isinstance(given, dict) else given)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("crossbus: ")
    assert expected in line


def test_a_data_folder_and_a_port_in_use_are_one_clear_line_and_harm_nobody(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "first", {}) as hub:
        done = serve(tmp_path, hub_file(tmp_path), "--data-folder", str(hub.folder / "data"))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert f"in use by another hub (process {hub.pid})" in line
        done = serve(tmp_path, hub_file(tmp_path), "--port", str(hub.port))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"crossbus: cannot listen on 127.0.0.1:{hub.port}: ")
        assert "address already in use" in line
        assert hub.get("/readyz") == (200, "ready\n")
