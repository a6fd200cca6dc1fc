"""Secrets at rest: AES-256-GCM under the hub's own keys, which are no part of the store.

Promises: a sealed value tells nothing of its secret but the length, is bound to the context it was sealed for (a
connection's ARN and a member's path), so that it cannot be moved to another place, and names the key that opens it.
Several keys may be given: the first one seals, all of them open. No text of an error holds a key or a secret. It knows
no connection and no store; where the keys come from is `load`'s matter.

A sealed value is `v1:KEY:DATA`: KEY the first 8 hexadecimal digits of a hash of the key, DATA nonce, ciphertext and tag
in base64.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from anyio import to_thread
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.world import World

ENVIRONMENT_VARIABLE = "CROSSBUS_SECRETS_KEY"
KEY_FILE = "secrets.key"
"""In the data folder: made when a secret is first sealed and no other key was given."""

_KEY_BYTES = 32
_NONCE_BYTES = 12
_HOW = f"a key is {_KEY_BYTES} random bytes in base64: `openssl rand -base64 {_KEY_BYTES}` makes one"


class SecretsError(Exception):
    """A key or a sealed value cannot be used; the text says which, where, and what to do."""


class Secrets:
    """See the module. Without `keys`, the first `ready` makes one in `key_file`."""

    def __init__(self, keys: Sequence[bytes], world: World, *, key_file: Path | None = None) -> None:
        self._world = world
        self._key_file = key_file
        self._ciphers: dict[str, AESGCM] = {}
        self._current: str | None = None
        self._making = anyio.Lock()
        for key in keys:
            self._add(key)

    def __repr__(self) -> str:
        return f"<Secrets with {len(self._ciphers)} keys>"

    def _add(self, key: bytes) -> None:
        name = _key_id(key)
        self._current = self._current or name
        self._ciphers[name] = AESGCM(key)

    async def ready(self) -> None:
        """Must be called before `seal`: there is a key, on disk if the hub made it. Raises SecretsError."""
        async with self._making:
            if self._current is None:
                assert self._key_file is not None, "without a key there is a place for one"
                self._add(await to_thread.run_sync(_make_key_file, self._key_file, self._world.token(_KEY_BYTES)))

    def seal(self, secret: str, context: str) -> str:
        assert self._current is not None, "`ready` was called"
        nonce = self._world.token(_NONCE_BYTES)
        data = nonce + self._ciphers[self._current].encrypt(nonce, secret.encode(), context.encode())
        return f"v1:{self._current}:{base64.b64encode(data).decode()}"

    def open(self, sealed: str, context: str) -> str:
        """Raises SecretsError."""
        version, key, data = _parts(sealed)
        cipher = self._ciphers.get(key)
        if version != "v1" or cipher is None:
            known = ", ".join(self._ciphers) or "none"
            raise SecretsError(
                f"it was sealed with key {key}, and the keys at hand are: {known}. Give the key in the variable "
                f"{ENVIRONMENT_VARIABLE}, in the file of `secrets.key_file`, or in {KEY_FILE} of the data folder"
            )
        try:
            raw = base64.b64decode(data, validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SecretsError(f"it was changed, or is another one's, since it was sealed with key {key}") from None

    def is_current(self, sealed: str) -> bool:
        """Whether it is sealed with the key that seals now."""
        return _parts(sealed)[1] == self._current


def load(environment: Mapping[str, str], key_file: str | None, data_folder: Path, world: World) -> Secrets:
    """The keys of the environment, then those of the hub file's key file, then the one in the data folder.

    Raises SecretsError.
    """
    keys = _keys(environment.get(ENVIRONMENT_VARIABLE, ""), f"the environment variable {ENVIRONMENT_VARIABLE}")
    if key_file is not None:
        found = _keys_of_file(Path(key_file))
        if not found:
            raise SecretsError(f"the key file {key_file} has no key: {_HOW}")
        keys += found
    own = data_folder / KEY_FILE
    if own.exists():
        keys += _keys_of_file(own)
    return Secrets(keys, world, key_file=own)


def _keys_of_file(path: Path) -> list[bytes]:
    try:
        return _keys(path.read_text(encoding="ascii"), f"the key file {path}")
    except OSError as error:
        raise SecretsError(f"cannot read the key file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SecretsError(f"the key file {path} is not ASCII text: {_HOW}") from None


def _keys(text: str, where: str) -> list[bytes]:
    keys = []
    for number, part in enumerate(re.split(r"[\s,]+", text.strip()) if text.strip() else [], start=1):
        try:
            key = base64.b64decode(part.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise SecretsError(f"key {number} of {where} cannot be used: {_HOW}")
        keys.append(key)
    return keys


def _make_key_file(path: Path, key: bytes) -> bytes:
    """The key that is in the file from now on, durably: what it seals must not outlive it."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SecretsError(f"cannot write the key file {path}: {error.strerror}") from error
    return key


def _key_id(key: bytes) -> str:
    return hashlib.blake2b(key, digest_size=4, person=b"crossbus-key").hexdigest()


def _parts(sealed: str) -> tuple[str, str, str]:
    version, _, rest = sealed.partition(":")
    key, _, data = rest.partition(":")
    return version, key, data
