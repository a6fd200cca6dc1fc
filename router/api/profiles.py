"""`/_hub/v1/profiles`: the fault profiles that are there, and their change at run time.

A profile is written as in the hub file. A body that has nothing but a name and `enabled` switches the profile that
there is. Every answer has all profiles, and says how long changes last.
"""

from typing import Any

import msgspec

from router.config_profiles import Profile
from router.errors import ValidationException
from router.simulator.profiles import Profiles

_LASTS = "until the hub restarts; the hub file's profiles hold again then"
_decode = msgspec.json.Decoder(Profile).decode


class _Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    enabled: bool


_decode_switch = msgspec.json.Decoder(_Switch).decode


class ProfilesApi:
    """One short method an action; each raises ApiError for what cannot be done."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def shown(self) -> dict[str, Any]:
        return {"profiles": self._profiles.shown(), "changes_last": _LASTS}

    def put(self, body: bytes) -> dict[str, Any]:
        try:
            switch = _decode_switch(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._profiles.put(_profile(body))
        else:
            self._profiles.switch(switch.name, enabled=switch.enabled)
        return self.shown()

    def delete(self, name: str | None) -> dict[str, Any]:
        """Without a name: back to the hub file's."""
        if name is None:
            self._profiles.reset()
        else:
            self._profiles.remove(name)
        return self.shown()


def _profile(body: bytes) -> Profile:
    try:
        profile = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationException(
            f'expected a fault profile, or {{"name": "…", "enabled": true}} to switch one: {error}'
        ) from error
    found = profile.problem()
    if found is not None:
        said, where = found
        raise ValidationException(f"{said} - at `${where}`")
    return profile
