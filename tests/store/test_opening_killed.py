"""A store killed at each of the system calls with which it is made, opened and migrated: the next one opens it, and
what was there is there. Writes of several pages are cut between two of them, as a kill can do.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.preloaded import compiled

_KILLER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long left = -1;
void kill_at(long calls) { left = calls; }
static int now(void) { return left > 0 && --left == 0; }
static void die(void) { kill(getpid(), SIGKILL); pause(); }
static void begin(void) { if (now()) die(); }

int mkdir(const char *path, mode_t mode) { begin(); return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode); }
int unlink(const char *path) { begin(); return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
int ftruncate(int fd, off_t size) { begin(); return (int)syscall(SYS_ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { begin(); return (int)syscall(SYS_ftruncate, fd, size); }
int fsync(int fd) { begin(); return (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { begin(); return (int)syscall(SYS_fdatasync, fd); }
int msync(void *at, size_t size, int flags) { begin(); return (int)syscall(SYS_msync, at, size, flags); }
static int opened(const char *path, int flags, mode_t mode) {
    if (flags & O_CREAT) begin();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0; va_end(more); \
    return opened(path, flags, mode); }
OPEN(open)
OPEN(open64)
static ssize_t written(int fd, const void *from, size_t size, off_t at) {
    if (now()) {
        if (size > 4096) syscall(SYS_pwrite64, fd, from, size / 2 & ~4095UL, at);
        die();
    }
    return syscall(SYS_pwrite64, fd, from, size, at);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return written(fd, from, size, at); }
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) { return written(fd, from, size, at); }
ssize_t write(int fd, const void *from, size_t size) { begin(); return syscall(SYS_write, fd, from, size); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (now()) {
        syscall(SYS_writev, fd, parts, count / 2);
        die();
    }
    return syscall(SYS_writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    if (now()) {
        syscall(SYS_pwritev, fd, parts, count / 2, at, 0);
        die();
    }
    return syscall(SYS_pwritev, fd, parts, count, at, 0);
}
"""

# What is done is done in a process of its own, forked from one that has everything loaded: some milliseconds a kill.
_PROGRAM = r"""
import asyncio, ctypes, os, shutil, signal, sys, time
from pathlib import Path
from router.store import format
from router.store.base import Batch, Table, key64
from router.store.lmdb import LmdbStore
from router.verify import verify

killer, root, what = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
folder, before = root / "new" / "data", root / "before"

def opened():
    return LmdbStore(folder, map_bytes_max=1 << 26, reserve_bytes=1 << 20, monotonic=time.monotonic)

async def use():
    store = opened()
    batch = Batch()
    batch.put(Table.META, b"kept", b"x" * 20_000)
    await store.commit(batch)
    await store.close()

def migrate(get, put):
    assert get(Table.META, b"kept") == b"x" * 20_000
    for number in range(100):
        put(Table.META, b"migrated-%d" % number, b"y" * 1000)

async def check():
    store = opened()
    if what == "migrate":
        assert store.get(Table.META, b"kept") == b"x" * 20_000, "what was there is there"
        rows = len(store.scan(Table.META, b"migrated-", b"migrated."))
        assert store.get(Table.META, b"format") == b"crossbus-store-3"
        assert rows == 100, rows
    elif what == "open":
        assert store.get(Table.META, b"kept") == b"x" * 20_000
    batch = Batch()
    batch.put(Table.META, b"after", b"1")
    await store.commit(batch)
    assert store.get(Table.META, b"after") == b"1"
    await store.close()

def child(work, calls):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            killer.kill_at(ctypes.c_long(calls))
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def first():
    asyncio.run(use())

if what != "make":
    assert child(first, 0) == 0
    shutil.copytree(folder.parent, before)
calls, ended = 0, -signal.SIGKILL
while ended == -signal.SIGKILL:
    calls += 1
    shutil.rmtree(folder.parent, ignore_errors=True)
    if what != "make":
        shutil.copytree(before, folder.parent)
    def work():
        if what == "migrate":
            format.FORMAT, format.MIGRATIONS[2] = 3, migrate
        first()
    ended = child(work, calls)
    assert ended in (0, -signal.SIGKILL), (calls, ended)
    if what == "migrate":
        format.FORMAT, format.MIGRATIONS[2] = 3, migrate
    assert child(lambda: asyncio.run(check()), 0) == 0, f"killed at call {calls}, it cannot be opened any more"
    assert verify(folder).problems == []
print(calls - 1)
"""


@pytest.mark.parametrize(("what", "calls_min"), [("make", 15), ("open", 5), ("migrate", 8)])
def test_a_store_killed_at_any_system_call_of_its_start_opens_again(tmp_path: Path, what: str, calls_min: int) -> None:
    library = tmp_path / "killer.so"
    compiled(library, _KILLER)
    run = [sys.executable, "-c", _PROGRAM, str(library), str(tmp_path), what]
    environment = {"LD_PRELOAD": str(library), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= calls_min
