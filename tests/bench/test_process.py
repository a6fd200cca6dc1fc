"""What a process and its children use."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from router.bench import process

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"
WITH_CHILD = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {BUSY!r} + 'print(1, flush=True)\\nsys = input()'],"
    " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\nprint(child.pid, flush=True)\ninput()\n"
    "child.communicate(b'x\\n')\nprint('ended', flush=True)\ninput()\n"
)


@pytest.fixture
def parent() -> Iterator["subprocess.Popen[str]"]:
    """A process whose child has used 0.3 s and more; a line lets the child end, another one the process."""
    with subprocess.Popen(
        [sys.executable, "-c", WITH_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        running.kill()


def test_children_count_while_they_live_and_when_they_have_ended(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert process.family(parent.pid) == [parent.pid, child]
    alive_s, alive_mb = process.cpu_s(parent.pid), process.anonymous_mb(parent.pid)
    assert alive_s >= 0.29 > process.own_cpu_s(parent.pid)
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "ended\n"
    assert process.family(parent.pid) == [parent.pid]
    assert process.cpu_s(parent.pid) >= alive_s
    assert process.ended_children_cpu_s(parent.pid) >= 0.29
    assert 0 < process.anonymous_mb(parent.pid) < alive_mb


def test_a_process_that_is_not_there_is_an_error() -> None:
    with pytest.raises(process.Unreadable, match="cannot read what process 999999999 uses"):
        process.cpu_s(999_999_999)
    with pytest.raises(process.Unreadable):
        process.anonymous_mb(999_999_999)


def test_the_running_process_has_memory_and_has_used_time() -> None:
    assert process.anonymous_mb(os.getpid()) > 1
    assert process.own_cpu_s(os.getpid()) > 0
