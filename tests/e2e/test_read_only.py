"""A file system that becomes read-only under a running hub: nothing is acknowledged any more, the reason is told, and
what was acknowledged is there when it can be written again.

`mount -o remount,ro` is refused while a hub has its store open; a file system does it to itself, after an error.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from router.verify import verify
from tests.e2e.hub import HubProcess, eventually
from tests.e2e.test_full_disk import mount
from tests.e2e.test_syncing import Disk, entry, received, refused, settings

MIB = 1024 * 1024


class Ext4:
    """An ext4 file system in a file, with its journal, at a folder."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self._folder = folder
        folder.mkdir(parents=True)
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed: there is no file system that could fail")
        with image.open("wb") as file:
            file.truncate(32 * MIB)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, stdin=subprocess.DEVNULL)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        mount("-o", "loop,errors=remount-ro", str(self._image), str(self._folder))
        try:
            yield
        finally:
            subprocess.run(["umount", str(self._folder)], check=True)

    def fail(self) -> None:
        """As if it had found itself broken: it takes no writes until it is mounted anew."""
        found = ["findmnt", "-n", "-o", "SOURCE", str(self._folder)]
        device = subprocess.run(found, capture_output=True, text=True, check=True).stdout.strip()
        trigger = Path("/sys/fs/ext4", os.path.basename(device), "trigger_fs_error")
        if not trigger.exists():
            pytest.skip("this kernel does not let ext4 be told to fail")
        trigger.write_text("1")

    def repair(self) -> None:
        done = subprocess.run(["e2fsck", "-fp", str(self._image)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout  # 1: errors were corrected


def load(hub: HubProcess, acknowledged: list[str], failed: list[dict[str, Any]], stop: threading.Event) -> None:
    events = hub.client("events")
    while not stop.is_set():
        for outcome in events.put_events(Entries=[entry(f"marker-{len(acknowledged)}")] * 3)["Entries"]:
            if "EventId" in outcome:
                acknowledged.append(outcome["EventId"])
            else:
                failed.append(outcome)


def ids(hub: HubProcess, *, at_least: int) -> set[str]:
    """The ids of the events in the queue, once there are so many."""
    return eventually(lambda: len(found := arrived(hub)) >= at_least and found)  # type: ignore[no-any-return]


def arrived(hub: HubProcess) -> set[str]:
    from_inbox = hub.client("sqs")
    url = from_inbox.get_queue_url(QueueName="orders")["QueueUrl"]
    found: set[str] = set()
    while messages := from_inbox.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found |= {message["Body"].split('"id":"')[1][:36] for message in messages}
    return found


def test_nothing_is_acknowledged_or_lost_when_the_file_system_becomes_read_only_under_load(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    disk = Ext4(tmp_path / "image", folder / "data")
    hub = HubProcess(folder, {**settings(), "aws_events": True})
    acknowledged: list[str] = []
    failed: list[dict[str, Any]] = []
    stop = threading.Event()
    with disk.mounted(), hub:
        loader = threading.Thread(target=load, args=(hub, acknowledged, failed, stop))
        loader.start()
        try:
            eventually(lambda: len(acknowledged) > 100)
            disk.fail()
            eventually(lambda: len(failed) > 10)
        finally:
            stop.set()
            loader.join()
        assert refused(hub, 3) == {outcome["ErrorCode"] for outcome in failed} == {"InternalFailure"}
        with pytest.raises(ClientError) as error:
            hub.client("events").put_rule(Name="new", EventPattern='{"source":["shop"]}')
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        answer = hub.service_events([{"source": "shop", "detail-type": "order", "detail": {}}])
        assert (answer["accepted"], answer["failed"]) == (0, 1)
        status, text = hub.get("/readyz")
        assert status == 503
        assert "Read-only file system" in text
        # Where it hit the very last write of a commit, only a restart helps, and the hub says so.
        assert f"the file system of {folder / 'data'} has become read-only: " in text or "then restart the hub" in text
        assert hub.get("/healthz")[0] == 200
        assert "store.failed" in {line["event"] for line in hub.log}
        assert hub.stop() == 0, "\n".join(str(line) for line in hub.log)  # all that was acknowledged is on disk
        assert [line["event"] for line in hub.log][-2:] == ["inboxes.not_counted", "hub.stopped"]
    disk.repair()
    with disk.mounted(), hub:
        assert hub.get("/readyz") == (200, "ready\n")
        acknowledged += [hub.client("events").put_events(Entries=[entry("after")])["Entries"][0]["EventId"]]
        assert set(acknowledged) <= ids(hub, at_least=len(acknowledged))
        assert hub.stop() == 0
        assert verify(folder / "data").problems == []
        assert not [line for line in hub.log if line["event"] == "request.bug"]


def test_a_hub_recovers_by_itself_once_its_file_system_takes_writes_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with HubProcess(tmp_path, settings(), disk.environment) as hub:
        hub.client("events").put_events(Entries=[entry("before")])
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
        disk.fail("read-only")
        assert refused(hub, 5) == {"InternalFailure"}
        assert hub.get("/readyz") == (
            503,
            f"the file system of {tmp_path / 'data'} has become read-only: mdb_txn_commit: Read-only file system\n",
        )
        disk.mend("read-only")
        eventually(lambda: hub.get("/readyz")[0] == 200)  # without any traffic
        hub.client("events").put_events(Entries=[entry("after")])
        hub.kill()
        assert verify(tmp_path / "data").problems == []
        hub.start()
        assert received(hub, 2) == ["before", "after"]
