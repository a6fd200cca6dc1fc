"""Really on disk. SIGKILL leaves the page cache, so it proves nothing about syncing: here the hub's system calls are
traced, and a sync of the transaction that holds an event must be complete before the event's answer leaves. Then syncs
are made to fail, and nothing may be acknowledged.
"""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from tests.e2e.hub import REGION, WORKLOAD, HubProcess, eventually, receive_all
from tests.e2e.test_bad_start import hub_file, serve
from tests.preloaded import compiled

STRACE = shutil.which("strace")
_CALLS = "openat,fsync,fdatasync,msync,sync,syncfs,pwrite64,pwritev,writev,write,sendto,sendmsg,read,recvfrom"
_QUEUE = f"arn:aws:sqs:{REGION}:{WORKLOAD}:orders"


def settings(**store: object) -> dict[str, Any]:
    target = {"Id": "orders", "Arn": _QUEUE}
    rule = {"Name": "orders", "EventPattern": {"source": ["shop"]}, "Targets": [target]}
    resources = {"account": WORKLOAD, "region": REGION, "queues": [{"QueueName": "orders"}], "rules": [rule]}
    return {"store": store, "resources": [resources]}


def entry(marker: str) -> dict[str, str]:
    return {"Source": "shop", "DetailType": "order", "Detail": json.dumps({"marker": marker})}


# tracing


class Call(NamedTuple):
    """A system call; `began` and `ended` are lines of the trace, so that they say what was before what."""

    name: str
    text: str
    began: int
    ended: int

    @property
    def succeeded(self) -> bool:
        result = re.search(r"\) += (-?\d+)", self.text)
        return result is not None and int(result[1]) >= 0

    def on(self, descriptor: str) -> bool:
        """Whether it is a call on `15</data/store/data.mdb>` or the like."""
        return self.text.startswith(descriptor)


def calls(trace: Path) -> list[Call]:
    """All calls of a trace in the order in which they ended."""
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    found = []
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        pid, _, rest = line.partition(" ")
        if match := re.match(r"\s*(\w+)\((.*) <unfinished \.\.\.>$", rest):
            begun[pid, match[1]] = (number, match[2])
        elif match := re.match(r"\s*<\.\.\. (\w+) resumed>(.*)$", rest):
            start, text = begun.pop((pid, match[1]))
            found.append(Call(match[1], text + match[2], start, number))
        elif match := re.match(r"\s*(\w+)\((.*)$", rest):
            found.append(Call(match[1], match[2], number, number))
    return found


class Trace:
    """What a traced hub did with its store and its sockets."""

    def __init__(self, path: Path) -> None:
        eventually(lambda: "+++ exited with 0 +++" in path.read_text(errors="replace")[-2000:])
        self._calls = calls(path)
        opened = [call.text for call in self._calls if call.name == "openat" and "data.mdb" in call.text]
        self.store, self.head = (
            next(found[1] for text in opened if flag in text and (found := re.search(r"= (\d+<.*>)$", text)))
            for flag in ("O_RDWR", "O_DSYNC")
        )

    def after(self, line: int, names: str, descriptor: str = "", text: str = "") -> Iterator[Call]:
        """The calls that began after a line and succeeded."""
        return (
            call
            for call in self._calls
            if call.began > line
            and call.name in names.split()
            and call.on(descriptor)
            and text in call.text
            and call.succeeded
        )

    def syncs(self) -> list[Call]:
        return list(self.after(0, "fsync fdatasync msync sync syncfs"))

    def answer(self, marker: str) -> Call:
        """The first answer on the connection on which the marker's request came."""
        request = next(self.after(0, "read recvfrom", text=marker))
        connection = request.text[: request.text.index(">") + 1]
        return next(self.after(request.ended, "write writev sendto sendmsg", connection, "HTTP/1.1 200 OK"))

    def written(self, marker: str) -> Call:
        """When the page with the marker's event went to the store's file."""
        return next(self.after(0, "pwrite64 pwritev writev write", self.store, marker))


def traced(folder: Path, **store: object) -> tuple[HubProcess, Path]:
    """A hub that strace looks at from outside: the process is the hub's own."""
    if STRACE is None:
        pytest.skip("strace is not installed (Debian and Ubuntu: apt-get install strace)")
    trace = folder / "strace.txt"
    probe = subprocess.run([STRACE, "-f", "-o", str(trace), "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()[:200]}")
    trace.unlink()
    options = ["-D", "-f", "-y", "-s", "6000", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(trace)]
    return HubProcess(folder, settings(**store), prefix=[STRACE, *options]), trace


def put_in_threads(hub: HubProcess, threads: int, requests: int) -> list[str]:
    """Requests of two entries each, in several threads at once; the markers of all entries."""
    markers: list[str] = []

    def work(thread: int) -> None:
        events = hub.client("events")
        for number in range(requests):
            marks = [f"marker-{thread}-{number}-{index}." for index in range(2)]
            answer = events.put_events(Entries=[entry(mark) for mark in marks])
            assert answer["FailedEntryCount"] == 0
            markers.extend(marks)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return markers


def test_each_answer_leaves_after_a_complete_sync_of_the_transaction_that_holds_its_events(tmp_path: Path) -> None:
    hub, path = traced(tmp_path)
    with hub:
        markers = put_in_threads(hub, threads=6, requests=10)
        assert hub.stop() == 0
    trace = Trace(path)
    assert len(markers) == 120
    for marker in markers:
        written = trace.written(marker)
        synced = next(trace.after(written.ended, "fdatasync fsync msync", trace.store))
        visible = next(trace.after(synced.ended, "pwrite64", trace.head))
        assert visible.ended < trace.answer(marker).began, marker


def test_the_names_of_the_stores_files_are_synced_before_the_first_answer(tmp_path: Path) -> None:
    hub, path = traced(tmp_path)
    with hub:
        hub.client("events").put_events(Entries=[entry("marker.")])
        assert hub.stop() == 0
    trace = Trace(path)
    answer = trace.answer("marker.")
    folder = hub.folder / "data"
    for named in (folder.parent, folder, folder / "store"):
        assert any(f"<{named}>" in call.text and call.ended < answer.began for call in trace.syncs()), named


def test_without_durability_the_same_writes_are_made_and_none_is_waited_for(tmp_path: Path) -> None:
    hub, path = traced(tmp_path, durability="os")
    with hub:
        ready = len(path.read_text(errors="replace").splitlines())
        assert json.loads(hub.get("/_hub/v1/status")[1])["durability"] == "os"
        assert next(line for line in hub.log if line["event"] == "hub.ready")["durability"] == "os"
        markers = put_in_threads(hub, threads=2, requests=5)
        assert hub.stop() == 0
    trace = Trace(path)
    answered = max(trace.answer(marker).began for marker in markers)
    assert all(trace.written(marker).ended < trace.answer(marker).began for marker in markers)
    assert [call for call in trace.syncs() if ready < call.began < answered] == []
    assert any(call.on(trace.store) and call.began > answered for call in trace.syncs()), "a stop in good order syncs"


# syncs that fail

_BROKEN_DISK = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int broken(const char *what) {
    const char *folder = getenv("BROKEN_DISK");
    char path[4096];
    if (folder == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, what);
    return access(path, F_OK) == 0;
}
static int failed(void) { errno = EIO; return -1; }
static int head(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) && broken("head"); }
static int read_only(int fd) {
    char link[64], path[4096];
    ssize_t size;
    if (!broken("read-only")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    if (strstr(path, "data.mdb") == NULL) return 0;
    errno = EROFS;
    return 1;
}

int fsync(int fd) { return broken("sync") ? failed() : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return broken("sync") ? failed() : (int)syscall(SYS_fdatasync, fd); }
int msync(void *at, size_t size, int flags) {
    return broken("sync") ? failed() : (int)syscall(SYS_msync, at, size, flags);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return read_only(fd) ? -1 : syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return read_only(fd) ? -1 : syscall(SYS_pwritev, fd, parts, count, at, at >> 32);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    if (read_only(fd)) return -1;
    return head(fd) ? failed() : syscall(SYS_pwrite64, fd, from, size, at);
}
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    if (read_only(fd)) return -1;
    return head(fd) ? failed() : syscall(SYS_pwrite64, fd, from, size, at);
}
"""


class Disk:
    """Makes the hub's disk fail while a file is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        self.library = self.folder / "broken.so"
        compiled(self.library, _BROKEN_DISK)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "BROKEN_DISK": str(self.folder)}

    def fail(self, what: str) -> None:
        (self.folder / what).touch()

    def mend(self, what: str) -> None:
        (self.folder / what).unlink()


def refused(hub: HubProcess, count: int) -> set[str]:
    """The codes with which entries are refused, none of which is acknowledged."""
    events = hub.client("events")
    codes = set()
    for number in range(count):
        answer = events.put_events(Entries=[entry(f"refused-{number}-{index}") for index in range(2)])
        assert answer["FailedEntryCount"] == 2
        assert not any("EventId" in outcome for outcome in answer["Entries"])
        codes |= {outcome["ErrorCode"] for outcome in answer["Entries"]}
    return codes


def received(hub: HubProcess, expected: int) -> list[str]:
    """The markers of what arrived in the queue."""
    sqs = hub.client("sqs")
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    bodies = [json.loads(message["Body"]) for message in receive_all(sqs, url, expected=expected)]
    return [body["detail"]["marker"] for body in bodies]


def test_nothing_is_acknowledged_while_syncs_fail_and_the_hub_recovers_by_itself(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with HubProcess(tmp_path, settings(), disk.environment) as hub:
        hub.client("events").put_events(Entries=[entry("before")])
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
        disk.fail("sync")
        assert refused(hub, 5) == {"InternalFailure"}
        with pytest.raises(ClientError) as error:
            hub.client("events").put_rule(Name="new", EventPattern='{"source":["shop"]}')
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        status, text = hub.get("/readyz")
        assert (status, text) == (503, "a commit failed: mdb_txn_commit: Input/output error\n")
        assert hub.get("/healthz")[0] == 200
        assert "store.failed" in {line["event"] for line in hub.log}
        disk.mend("sync")
        eventually(lambda: hub.get("/readyz")[0] == 200)  # without any traffic
        hub.client("events").put_events(Entries=[entry("after")])
        hub.kill()
        hub.start()
        assert received(hub, 2) == ["before", "after"]
        assert hub.client("events").list_rules()["Rules"][0]["Name"] == "orders"


def test_nothing_is_acknowledged_after_the_head_could_not_be_written_until_the_hub_is_restarted(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path)
    with HubProcess(tmp_path, settings(), disk.environment) as hub:
        answer = hub.client("events").put_events(Entries=[entry("before")])
        eventually(lambda: hub.metric("crossbus_deliveries_pending") == 0)
        disk.fail("head")
        assert refused(hub, 2) == {"InternalFailure"}
        disk.mend("head")
        assert refused(hub, 2) == {"InternalFailure"}
        time.sleep(1.2)  # whatever looks at the store once a second has done so
        reason = "the disk failed under the store (mdb_txn_commit: Input/output error): mend it, then restart the hub"
        assert hub.get("/readyz") == (503, f"{reason}\n")
        status, text = hub.get(f"/_hub/v1/trace?event_id={answer['Entries'][0]['EventId']}")
        assert (status, "delivered" in text) == (200, True), "what is there can still be read"
        assert hub.stop() == 0
        hub.start()
        assert hub.get("/readyz")[0] == 200
        hub.client("events").put_events(Entries=[entry("after")])
        assert received(hub, 2) == ["before", "after"]


def test_a_hub_does_not_start_where_the_first_sync_fails(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.fail("sync")
    done = serve(tmp_path, hub_file(tmp_path), **disk.environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.search(r"crossbus: cannot open the store in .*: mdb_txn_commit: Input/output error", line), line
