"""Secrets at rest: sealed for one place, opened by any key at hand, never shown."""

import base64
import stat
from pathlib import Path

import anyio
import pytest

from router.secrets import ENVIRONMENT_VARIABLE, KEY_FILE, Secrets, SecretsError, load
from router.world import RealWorld

WORLD = RealWorld()
ONE, TWO = bytes(range(32)), bytes(range(1, 33))


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_sealed_value_opens_in_its_own_place_only() -> None:
    secrets = Secrets([ONE], WORLD)
    sealed = secrets.seal("geheim", "arn:a\0Password")
    assert secrets.open(sealed, "arn:a\0Password") == "geheim"
    with pytest.raises(SecretsError, match="it was changed, or is another one's"):
        secrets.open(sealed, "arn:b\0Password")


def test_same_secret_is_sealed_differently_each_time() -> None:
    secrets = Secrets([ONE], WORLD)
    assert secrets.seal("geheim", "c") != secrets.seal("geheim", "c")


@pytest.mark.parametrize("change", [lambda s: s[:-6] + "AAAAA=", lambda s: s[:-8], lambda s: s + "?", lambda s: s[:12]])
def test_changed_value_does_not_open(change: object) -> None:
    secrets = Secrets([ONE], WORLD)
    assert callable(change)
    with pytest.raises(SecretsError, match="it was changed"):
        secrets.open(change(secrets.seal("geheim", "c")), "c")


def test_first_key_seals_and_all_of_them_open() -> None:
    old = Secrets([ONE], WORLD).seal("geheim", "c")
    both = Secrets([TWO, ONE], WORLD)
    assert both.open(old, "c") == "geheim"
    assert not both.is_current(old)
    new = both.seal("geheim", "c")
    assert both.is_current(new)
    assert Secrets([TWO], WORLD).open(new, "c") == "geheim"


@pytest.mark.parametrize("sealed", ["", "v1", "v2:00000000:AAAA", "geheim"])
def test_what_no_key_sealed_is_told_with_the_keys_at_hand(sealed: str) -> None:
    with pytest.raises(SecretsError, match=r"it was sealed with key .*, and the keys at hand are: [0-9a-f]{8}\. Give"):
        Secrets([ONE], WORLD).open(sealed, "c")


def test_missing_key_is_told_by_its_name_and_not_by_itself() -> None:
    sealed = Secrets([ONE], WORLD).seal("geheim", "c")
    with pytest.raises(SecretsError) as refused:
        Secrets([TWO], WORLD).open(sealed, "c")
    said = str(refused.value)
    assert sealed.split(":")[1] in said
    assert ENVIRONMENT_VARIABLE in said
    assert text(ONE) not in said
    assert text(TWO) not in said


def test_keys_are_shown_by_nothing() -> None:
    assert repr(Secrets([ONE], WORLD)) == "<Secrets with 1 keys>"


async def test_key_file_is_made_once_when_it_is_first_needed_and_is_the_owners_only(tmp_path: Path) -> None:
    secrets = load({}, None, tmp_path, WORLD)
    assert not (tmp_path / KEY_FILE).exists()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(secrets.ready)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert load({}, None, tmp_path, WORLD).open(secrets.seal("geheim", "c"), "c") == "geheim"


async def test_given_key_makes_no_file(tmp_path: Path) -> None:
    await load({ENVIRONMENT_VARIABLE: text(ONE)}, None, tmp_path, WORLD).ready()
    assert list(tmp_path.iterdir()) == []


async def test_keys_come_from_the_environment_then_the_file_then_the_folder(tmp_path: Path) -> None:
    await load({}, None, tmp_path, WORLD).ready()
    in_folder = load({}, None, tmp_path, WORLD).seal("geheim", "c")
    file = tmp_path / "keys"
    file.write_text(f"{text(ONE)}\n")
    in_file = load({}, str(file), tmp_path, WORLD).seal("geheim", "c")
    assert in_file.split(":")[1] == Secrets([ONE], WORLD).seal("", "c").split(":")[1]
    secrets = load({ENVIRONMENT_VARIABLE: text(TWO)}, str(file), tmp_path, WORLD)
    assert [secrets.open(sealed, "c") for sealed in (in_folder, in_file)] == ["geheim", "geheim"]
    assert not secrets.is_current(in_file)


def test_several_keys_and_url_safe_base64_are_taken(tmp_path: Path) -> None:
    odd = bytes([251, 255]) * 16
    given = f" {base64.urlsafe_b64encode(odd).decode()}, {text(ONE)}\n"
    secrets = load({ENVIRONMENT_VARIABLE: given}, None, tmp_path, WORLD)
    assert secrets.open(Secrets([ONE], WORLD).seal("geheim", "c"), "c") == "geheim"
    assert secrets.is_current(Secrets([odd], WORLD).seal("geheim", "c"))


@pytest.mark.parametrize("bad", ["geheim", text(ONE)[:-8], "=", text(ONE + TWO), f"{text(ONE)} short"])
def test_bad_key_is_refused_and_not_shown(tmp_path: Path, bad: str) -> None:
    with pytest.raises(SecretsError, match=r"key [12] of the environment variable CROSSBUS_SECRETS_KEY") as refused:
        load({ENVIRONMENT_VARIABLE: bad}, None, tmp_path, WORLD)
    assert bad not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the key file .*: No such file"),
        (b"\n", "has no key: a key is 32 random bytes"),
        (b"geheim", "key 1 of the key file"),
        (b"\xff", "is not ASCII text"),
    ],
)
def test_bad_key_file_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretsError, match=said):
        load({}, str(file), tmp_path, WORLD)


async def test_key_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="cannot write the key file"):
        await load({}, None, tmp_path / "nowhere", WORLD).ready()
