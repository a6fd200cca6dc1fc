"""The commands in the documents, as they stand, with the real AWS CLI and curl, against the hub that they speak of.

Only the hub's address is another one, because tests have no fixed ports.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.hub import HubProcess, eventually

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:4610"
_CLI = shutil.which("aws", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(not (_CLI and shutil.which("curl")), reason="needs the AWS CLI and curl")


def blocks(text: str, language: str = "sh") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPORTS, RULE, RECORD, READ = (block for block in blocks(README) if "aws" in block.lower())
DOCUMENTED = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(blocks(path.read_text(encoding="utf-8")))
    if re.search(r"^aws ", block, re.MULTILINE)
]


class Shell:
    """What a reader's terminal has after the README's exports."""

    def __init__(self, hub: HubProcess, folder: Path) -> None:
        self.hub, self._folder = hub, folder

    def run(self, commands: str, *, status: int = 0) -> str:
        """What the commands print; they all end well, or the last one with `status`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_CONFIG_FILE": str(self._folder / "aws-config"),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "CROSSBUS_URL": self.hub.url,
        }
        script = f"set -e\n{EXPORTS}{commands}".replace(ADDRESS, self.hub.url)
        command = ["sh", "-c", script]
        done = subprocess.run(
            command, env=environment, cwd=self._folder, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def settled(self) -> None:
        eventually(lambda: self.hub.metric("crossbus_deliveries_pending") == 0)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Beside the sample hub."""
    sample = yaml.safe_load((ROOT / "config" / "hub.yaml").read_text(encoding="utf-8"))
    with HubProcess(tmp_path / "hub", sample) as hub:
        yield Shell(hub, tmp_path)


def test_the_first_five_minutes_go_as_the_readme_says(shell: Shell) -> None:
    shell.run(RULE)
    (answer,) = blocks(README, "json")
    assert json.loads(shell.run(RECORD)) == json.loads(answer)
    shell.settled()
    logged, forwarded = (json.loads(line) for line in shell.run(READ).splitlines())
    assert logged["detail"]["eventName"] == forwarded["detail"]["eventName"] == "GetSecretValue"
    assert (forwarded["account"], forwarded["region"]) == ("111111111111", "us-east-1")
    shell.run(RULE.replace("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", "ENABLED"))
    assert json.loads(shell.run(RECORD))["accepted"] == 1
    shell.settled()
    log_group = next(line for line in READ.splitlines() if line.startswith("aws logs"))
    assert len(shell.run(log_group).splitlines()) == 1, "the log group gets nothing more"


def test_the_readmes_explanation_is_what_the_hub_says(shell: Shell, tmp_path: Path) -> None:
    body = re.search(r"-d '(.*)'", RECORD, re.DOTALL)
    assert body is not None
    record: dict[str, Any] = {**json.loads(body[1]), "eventName": "ListSecrets"}
    event = {
        "source": "aws.secretsmanager",
        "detail-type": "AWS API Call via CloudTrail",
        "account": "111111111111",
        "region": "us-east-1",
        "detail": record,
    }
    (tmp_path / "event.json").write_text(json.dumps(event))
    (shown,) = (block for block in blocks(README, "") if block.startswith("$ crossbus explain"))
    command, _, said = shown.partition("\n")
    assert shell.run(command.removeprefix("$ "), status=1).startswith(said)


@pytest.mark.parametrize("block", DOCUMENTED)
def test_the_aws_commands_of_the_documents_are_taken(shell: Shell, block: str) -> None:
    shell.run(block)
