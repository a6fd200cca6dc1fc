"""A disk without room, a folder that cannot be written: nothing is acknowledged, the reason is told, nothing breaks,
and there is a way back without a restart.
"""

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.verify import verify
from tests.e2e.hub import HubProcess, eventually
from tests.e2e.test_bad_start import hub_file, serve
from tests.e2e.test_full_store import SETTINGS

MIB = 1024 * 1024
ENTRY = {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"text": "x" * 200_000})}


def mount(*arguments: str) -> None:
    """Needs root, and a kernel that lets it mount: skips the test where it may not."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert any(word in done.stderr for word in ("permi", "Permi", "denied", "loop device")), done.stderr
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()[:200]}")


@contextmanager
def mounted(folder: Path, *, size: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(hub: HubProcess) -> tuple[int, set[str]]:
    """Put events until some are refused; how many were acknowledged, and the codes of the others."""
    events = hub.client("events")
    taken, codes = 0, set()
    for _ in range(80):
        (outcome,) = events.put_events(Entries=[ENTRY])["Entries"]
        taken += "EventId" in outcome
        if "ErrorCode" in outcome:
            codes.add(outcome["ErrorCode"])
    return taken, codes


def held(hub: HubProcess) -> int:
    sqs = hub.client("sqs")
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def check_a_full_disk(hub: HubProcess, make_room: Callable[[], object]) -> None:
    taken, codes = fill(hub)
    assert taken > 5
    assert codes == {"ThrottlingException"}
    status, text = hub.get("/readyz")
    assert status == 503
    assert text.startswith("no room on the disk of ")
    assert hub.get("/healthz")[0] == 200
    make_room()
    eventually(lambda: hub.get("/readyz")[0] == 200)  # without any traffic
    assert "EventId" in hub.client("events").put_events(Entries=[ENTRY])["Entries"][0]
    eventually(lambda: held(hub) == taken + 1)
    hub.kill()
    assert verify(hub.folder / "data").problems == []
    hub.start()
    eventually(lambda: held(hub) == taken + 1)
    assert not [line for line in hub.log if line["event"] == "request.bug"]


def test_a_full_disk_throttles_each_entry_keeps_what_it_took_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    with mounted(folder / "data", size=8 * MIB), HubProcess(folder, {**SETTINGS, "store": {}}) as hub:
        check_a_full_disk(hub, lambda: mount("-o", f"remount,size={64 * MIB}", str(folder / "data")))
        hub.kill()


def test_a_limit_on_the_files_size_is_a_full_disk_too(tmp_path: Path) -> None:
    limit = ["sh", "-c", 'ulimit -S -f 12288; exec "$@"', "sh"]  # in blocks of 512 or, in bash, 1024 bytes
    with HubProcess(tmp_path, {**SETTINGS, "store": {}}, prefix=limit) as hub:
        unlimited = (resource.RLIM_INFINITY, resource.prlimit(hub.pid, resource.RLIMIT_FSIZE)[1])
        check_a_full_disk(hub, lambda: resource.prlimit(hub.pid, resource.RLIMIT_FSIZE, unlimited))


def test_a_hub_that_starts_on_a_full_disk_says_so(tmp_path: Path) -> None:
    with mounted(tmp_path / "data", size=8192):
        done = serve(tmp_path, hub_file(tmp_path))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "No space left on device" in line


def test_a_read_only_folder_is_one_clear_line_and_can_be_verified(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    data = folder / "data"
    data.mkdir(parents=True)
    if os.geteuid() != 0:
        with HubProcess(folder, {}) as hub:
            hub.stop()
        data.chmod(0o500)
        try:
            check_read_only(folder)
        finally:
            data.chmod(0o700)
        return
    with mounted(data, size=8 * MIB):
        with HubProcess(folder, {}) as hub:
            hub.stop()
        mount("-o", "remount,ro", str(data))
        check_read_only(folder)


def check_read_only(folder: Path) -> None:
    done = serve(folder, hub_file(folder))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"crossbus: cannot use the data folder {folder / 'data'}: ")
    assert line.endswith(("Read-only file system", "Permission denied"))
    assert verify(folder / "data").problems == []


def test_a_file_that_was_cut_off_is_one_clear_line_and_stays_as_it_is(tmp_path: Path) -> None:
    with HubProcess(tmp_path, SETTINGS) as hub:
        for _ in range(5):
            hub.client("events").put_events(Entries=[ENTRY])
        hub.kill()
    file = tmp_path / "data" / "store" / "data.mdb"
    length = file.stat().st_size // 2
    os.truncate(file, length)
    done = serve(tmp_path, hub_file(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "data.mdb is damaged: page " in line
    assert "it has been cut off" in line
    assert file.stat().st_size == length
    (problem,) = verify(tmp_path / "data").problems
    assert problem.table == "file"
