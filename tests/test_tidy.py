"""Rules about the source itself that no linter has: what the core may import, who may touch the clock, how long a file
may be, which tests a sink must have, what no file may name.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROUTER = ROOT / "router"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROUTER.rglob("*.py"))
CORE = [name for name in MODULES if name.startswith("router/core/")]
FILE_LINES_MAX = 600

# Standard-library modules that do I/O, tell the time, throw dice or run things at the same time.
NOT_PURE = {
    "asyncio", "concurrent", "io", "multiprocessing", "os", "pathlib", "random", "secrets", "selectors", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
# What only `router/world.py` may use: a module's name bans all of it.
OF_THE_WORLD = {
    "time", "random", "secrets", "os.urandom", "uuid.uuid1", "uuid.uuid4",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
}  # fmt: skip


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def imports(module: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, full name and local name of everything imported."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}", alias.asname or alias.name


def uses(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import and of every attribute taken of something imported."""
    local: dict[str, str] = {}
    for line, full, name in imports(module):
        yield line, full
        local[name] = full
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            first, _, rest = dotted.partition(".")
            if first in local:
                yield node.lineno, f"{local[first]}.{rest}"


def within(name: str, banned: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:count]) in banned for count in range(1, len(parts) + 1))


@pytest.mark.parametrize("name", CORE)
def test_core_imports_only_the_standard_library_msgspec_and_itself(name: str) -> None:
    allowed = (set(sys.stdlib_module_names) - NOT_PURE) | {"msgspec"}
    foreign = [
        f"{name}:{line} imports {full}"
        for line, full, _ in imports(tree(name))
        if full.partition(".")[0] not in allowed and not full.startswith("router.core.") and full != "router.core"
    ]
    assert foreign == []


@pytest.mark.parametrize("name", CORE)
def test_core_is_not_async_and_opens_nothing(name: str) -> None:
    found = [
        f"{name}:{node.lineno}"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await)
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("open", "print", "input")
        )
    ]
    assert found == []


@pytest.mark.parametrize("name", [name for name in MODULES if name != "router/world.py"])
def test_clock_and_dice_are_the_worlds(name: str) -> None:
    found = [f"{name}:{line} uses {full}" for line, full in uses(tree(name)) if within(full, OF_THE_WORLD)]
    assert found == []


@pytest.mark.parametrize("name", MODULES)
def test_module_says_what_it_is_and_is_not_too_long(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"{name} has no docstring"
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES_MAX, f"{name} has {lines} lines: split it by noun"


def sink_modules() -> list[str]:
    """The modules of router/sinks with a class that sends, but for the contract itself."""
    return [
        name
        for name in MODULES
        if name.startswith("router/sinks/")
        and name != "router/sinks/base.py"
        and any(
            isinstance(node, ast.ClassDef)
            and any(isinstance(part, ast.AsyncFunctionDef) and part.name == "send" for part in node.body)
            and any(isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == "kind" for part in node.body)
            for node in tree(name).body
        )
    ]


@pytest.mark.parametrize("name", sink_modules())
def test_sink_has_a_test_that_runs_the_shared_suite(name: str) -> None:
    suite = ROOT / "tests" / "sinks" / "suite.py"
    dotted = name.removesuffix(".py").replace("/", ".")
    package, _, module = dotted.rpartition(".")
    tests = {
        path.relative_to(ROOT).as_posix(): {full for _, full, _ in imports(ast.parse(path.read_text(encoding="utf-8")))}
        for path in suite.parent.glob("test_*.py")
    }
    running = [
        path
        for path, imported in tests.items()
        if within(f"{package}.{module}", imported) or any(full.startswith(f"{dotted}.") for full in imported)
        if any(full.startswith("tests.sinks.suite") or full == "tests.sinks.suite" for full in imported)
    ]
    assert running, f"no test in tests/sinks imports both {dotted} and tests.sinks.suite"


# Nothing of the machine that a file was written on, and no package index. Split so as not to find themselves.
NOT_IN_FILES = re.compile(
    "|".join(
        (
            r"(?<![\w.}~-])/(?:root" r"|home/\w+|Users/\w+(?=/(?:work|src|code)))/",
            r"(?<![\w.}])/(?:work/(?:main|shared|scratch)" r"|opt/(?:pypi|wheels))",
            r"file:" r"///(?:opt|srv|mnt)",
            r"https?://[\w.-]*(?:py" r"pi|python" r"hosted|registry\.n" r"pmjs)[\w.-]*",
            r"--(?:extra-)?index-" r"url[ =]\S",
        )
    )
)  # fmt: skip


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr.decode()
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_machine_path_or_a_package_index() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or the like
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match[0]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if (match := NOT_IN_FILES.search(line))
        ]
    assert found == []


def test_no_file_is_empty_but_package_markers() -> None:
    empty = [path.relative_to(ROOT).as_posix() for path in tracked() if path.stat().st_size == 0]
    assert [name for name in empty if not name.endswith(("__init__.py", "py.typed"))] == []
