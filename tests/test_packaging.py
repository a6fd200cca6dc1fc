"""The project as it is handed out: the container image's recipe, the locks, the Makefile, the versions."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import router
from router.config import ConfigError, load

ROOT = Path(__file__).resolve().parents[1]
DOCKER_FILE = ROOT / "Dockerfile"
KEYS = {"CROSSBUS_ACCESS_KEY_ID": "AKIDEXAMPLE", "CROSSBUS_SECRET_ACCESS_KEY": "a-long-enough-secret"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (name, arguments), continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKER_FILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest[0].split())) for name, *rest in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def final(name: str) -> list[str]:
    """The arguments of the last stage's instructions of this name."""
    return [arguments for instruction, arguments in stages()[-1] if instruction == name]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# --- The container image. No engine runs here: the recipe is checked as text.


def test_image_has_a_build_stage_and_a_stage_that_runs() -> None:
    build, run = stages()
    assert build[0][1].endswith(" AS build")
    assert any(arguments.startswith("--from=build ") for name, arguments in run if name == "COPY")
    assert not any("pip" in arguments for name, arguments in run if name == "RUN")


def test_base_images_are_pinned_and_the_same() -> None:
    bases = {stage[0][1].split()[0] for stage in stages()}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases.pop())


def test_image_installs_from_the_hashed_lock() -> None:
    commands = [arguments for name, arguments in stages()[0] if name == "RUN"]
    assert any("--require-hashes -r requirements.lock" in command for command in commands)
    assert all("--no-deps" in command for command in commands if "wheel" in command)


def test_image_runs_as_a_user_without_rights() -> None:
    names = [name for name, _ in stages()[-1]]
    (user,) = final("USER")
    assert user not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert f"--uid {user} " in " ".join(final("RUN"))


def test_image_says_how_it_is_run_checked_and_stopped() -> None:
    assert final("ENTRYPOINT") == ['["crossbus", "serve", "/etc/crossbus/hub.yaml"]']
    assert final("STOPSIGNAL") == ["SIGTERM"]
    assert final("EXPOSE") == ["4610"]
    (health,) = final("HEALTHCHECK")
    assert re.search(r"--timeout=\d+s .*CMD \[\"python\", .*/healthz", health)
    assert final("CMD") == []


def test_image_keeps_its_data_in_a_volume_that_the_user_owns() -> None:
    hub = load(ROOT / "config" / "docker.yaml", KEYS)
    assert final("VOLUME") == [hub.data_folder]
    (made,) = final("RUN")
    assert f"install --directory --owner=crossbus --group=crossbus --mode=0750 {hub.data_folder}" in made


def test_image_copies_what_is_there_and_not_ignored() -> None:
    admitted = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for name, arguments in instructions()
        if name == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert copied == admitted
    assert all((ROOT / source).exists() for source in copied)


def test_image_listens_where_it_is_exposed_and_asked_for_its_health() -> None:
    hub = load(ROOT / "config" / "docker.yaml", KEYS)
    assert (hub.listen.host, str(hub.listen.port)) == ("0.0.0.0", final("EXPOSE")[0])
    assert f"127.0.0.1:{hub.listen.port}/healthz" in final("HEALTHCHECK")[0]


def test_docker_hub_file_takes_its_key_from_the_environment() -> None:
    hub = load(ROOT / "config" / "docker.yaml", KEYS)
    assert hub.auth.mode == "sigv4"
    (key,) = hub.auth.keys
    assert (key.access_key_id, key.secret_access_key, key.account, key.admin) == (
        *KEYS.values(),
        "111111111111",
        True,
    )
    assert [account.id for account in hub.accounts] == ["111111111111"]
    assert hub.regions == ["us-east-1"]


def test_docker_hub_file_takes_account_and_region_from_the_environment() -> None:
    hub = load(
        ROOT / "config" / "docker.yaml", {**KEYS, "CROSSBUS_ACCOUNT": "222222222222", "CROSSBUS_REGION": "eu-west-1"}
    )
    assert [str(location) for location in hub.locations()] == ["222222222222/eu-west-1"]
    assert hub.auth.keys[0].account == "222222222222"


@pytest.mark.parametrize("missing", KEYS)
def test_docker_hub_file_is_refused_without_its_keys(missing: str) -> None:
    environment = {name: value for name, value in KEYS.items() if name != missing}
    with pytest.raises(ConfigError, match=f"the environment variable {missing} is not set"):
        load(ROOT / "config" / "docker.yaml", environment)


# --- The locks


def pins(name: str) -> dict[str, str]:
    """Package and version of every pin, each of which must have hashes."""
    found: dict[str, str] = {}
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.split(r"\n(?=[a-z0-9])", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)):
        pin = re.match(r"([a-z0-9-]+)(?:\[[a-z,-]+\])?==(\S+)", block)
        assert pin is not None, block
        assert "--hash=sha256:" in block, f"{pin[0]} has no hash"
        found[pin[1]] = pin[2]
    return found


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[><=;! ]", requirement)[0].replace("_", "-").lower() for requirement in requirements}


def test_developers_lock_has_the_same_pins_as_the_hubs_own() -> None:
    developer = pins("requirements-dev.lock")
    assert {name: developer.get(name) for name in pins("requirements.lock")} == pins("requirements.lock")


def test_lock_for_load_has_the_same_pins_as_the_others() -> None:
    load = pins("requirements-load.lock")
    assert {name: load.get(name) for name in pins("requirements.lock")} == pins("requirements.lock")
    developer = pins("requirements-dev.lock")
    both = load.keys() & developer.keys()
    assert {name: load[name] for name in both} == {name: developer[name] for name in both}


def test_locks_have_what_the_project_asks_for() -> None:
    groups = project()["dependency-groups"]
    assert packages([*project()["project"]["dependencies"], *groups["build"]]) <= pins("requirements.lock").keys()
    assert packages(groups["dev"]) <= pins("requirements-dev.lock").keys()
    assert packages(groups["load"]) <= pins("requirements-load.lock").keys()


def test_hubs_own_lock_has_no_test_tools() -> None:
    assert not packages(project()["dependency-groups"]["dev"]) & pins("requirements.lock").keys()


def test_build_back_end_is_in_the_lock() -> None:
    assert packages(project()["build-system"]["requires"]) <= pins("requirements.lock").keys()


def test_aws_packages_are_of_one_release() -> None:
    locked = pins("requirements-dev.lock")
    assert locked["boto3"] == locked["botocore"]


# --- Versions and commands


def test_version_is_the_same_everywhere() -> None:
    version = project()["project"]["version"]
    assert router.__version__ == version
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_license_is_the_text_that_the_project_names() -> None:
    assert project()["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0" in text
    assert "END OF TERMS AND CONDITIONS" in text


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_make_alone_shows_every_target() -> None:
    said = make().stdout
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    targets = re.search(r"^\.PHONY: (.*) FORCE$", text, re.MULTILINE)
    assert targets is not None
    assert [target for target in targets[1].split() if f"make {target} " not in said] == []


def test_make_serve_runs_the_sample_hub() -> None:
    assert "crossbus serve config/hub.yaml" in make("--dry-run", "serve").stdout


def test_make_test_checks_format_lint_types_and_tests() -> None:
    said = make("--dry-run", "test").stdout
    commands = ["ruff format --check", "ruff check", "mypy", "pytest"]
    assert [command for command in commands if f".venv/bin/{command}" not in said] == []


def test_make_says_what_to_do_where_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    said = make("-C", str(tmp_path), "serve", f"PYTHON={old}")
    assert said.returncode != 0
    assert "crossbus needs Python 3.11 or later" in said.stderr
    assert "Python 3.9.2" in said.stderr
