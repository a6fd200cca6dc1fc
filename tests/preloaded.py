"""Libraries in C that are preloaded into a process, to make its disk fail or to kill it where a test says so."""

import shutil
import subprocess
from pathlib import Path

import pytest

GCC = shutil.which("gcc")


def compiled(library: Path, text: str) -> None:
    """Compile `text` to `library`. Skips the test where nothing can be compiled; fails it where only this cannot."""
    if GCC is None:
        pytest.skip("gcc is not installed: there is nothing to preload")
    probe = _problems(library.with_name("probe.so"), "#include <unistd.h>\n")
    if probe:
        pytest.skip(f"gcc cannot compile here (are the C library's headers installed?): {probe[:200]}")
    assert _problems(library, text) == ""


def _problems(library: Path, text: str) -> str:
    """What gcc has to say; nothing when the library is there."""
    assert GCC is not None
    source = library.with_suffix(".c")
    source.write_text(text)
    command = [GCC, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"gcc ended with {done.returncode}"
