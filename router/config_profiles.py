"""A fault profile as the hub file and `/_hub/v1/profiles` write it, what types cannot say about it, and what it means.

A profile names the calls that it is for, by where they come from and go to, and at least one thing that it does to
them. Nothing is opened here and nothing is thrown.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from router import limits
from router.core import profiles
from router.core.profiles import Ending, Faults, Selector

ProfileName = Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]{1,64}$")]
LocationPattern = Annotated[str, msgspec.Meta(pattern=r"^(\*|[0-9*?]{1,12}/[a-z0-9*?-]{1,32})$")]
_Ms = Annotated[float, msgspec.Meta(ge=0, le=limits.FAULT_LATENCY_MS_MAX)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=limits.FAULT_S_MAX)]
_Length = Annotated[float, msgspec.Meta(ge=0.001, le=limits.FAULT_S_MAX)]
_Status = Annotated[int, msgspec.Meta(ge=400, le=599)]
_Outcome = Literal["timeout", "reset"] | _Status


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class LognormalLatency(_Strict, frozen=True, kw_only=True):
    median_ms: _Ms
    sigma: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.5


class ProfileLatency(_Strict, frozen=True, kw_only=True):
    """Exactly one of them."""

    fixed_ms: _Ms | None = None
    uniform_ms: tuple[_Ms, _Ms] | None = None
    lognormal_ms: LognormalLatency | None = None

    def problem(self) -> str | None:
        given = [name for name in ("fixed_ms", "uniform_ms", "lognormal_ms") if getattr(self, name) is not None]
        if len(given) != 1:
            return f"expected one of fixed_ms, uniform_ms and lognormal_ms, got {' and '.join(given) or 'none'}"
        if self.uniform_ms is not None and self.uniform_ms[0] > self.uniform_ms[1]:
            return f"expected uniform_ms with the lower number first, got {list(self.uniform_ms)}"
        return None

    def meaning(self) -> profiles.Latency:
        if self.uniform_ms is not None:
            return profiles.Uniform(*self.uniform_ms)
        if self.lognormal_ms is not None:
            return profiles.Lognormal(self.lognormal_ms.median_ms, self.lognormal_ms.sigma)
        assert self.fixed_ms is not None, "profiles are checked to have one"
        return profiles.Fixed(self.fixed_ms)


class ProfileErrors(_Strict, frozen=True, kw_only=True):
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)]
    outcome: _Outcome = 503


class ProfileOutage(_Strict, frozen=True, kw_only=True):
    start_s: _Seconds = 0.0
    length_s: _Length
    repeat_s: _Length | None = None
    outcome: _Outcome = "reset"


class Profile(_Strict, frozen=True, kw_only=True):
    """One fault profile; `problem` is asked before anything else."""

    name: ProfileName
    from_location: LocationPattern = msgspec.field(default="*", name="from")
    to_location: LocationPattern = msgspec.field(default="*", name="to")
    sink: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "*"
    target: Annotated[str, msgspec.Meta(min_length=1, max_length=1600)] = "*"
    latency: ProfileLatency | None = None
    errors: ProfileErrors | None = None
    throttle_per_s: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None = None
    outage: ProfileOutage | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    enabled: bool = True

    def does_nothing(self) -> bool:
        return self.latency is None and self.errors is None and self.throttle_per_s is None and self.outage is None

    def problem(self) -> tuple[str, str] | None:
        """What is wrong and at which key of it, or None."""
        if self.does_nothing():
            return "expected at least one of latency, errors, throttle_per_s and outage, got none", ""
        if self.latency is not None and (said := self.latency.problem()):
            return said, ".latency"
        outage = self.outage
        if outage is not None and outage.repeat_s is not None and outage.repeat_s <= outage.length_s:
            return (
                f"expected repeat_s to be more than length_s, got {outage.repeat_s:g} and {outage.length_s:g}",
                ".outage",
            )
        return None

    def selector(self) -> Selector:
        return Selector(self.from_location, self.to_location, self.sink, self.target)

    def faults(self) -> Faults:
        outage = self.outage
        return Faults(
            self.latency.meaning() if self.latency else None,
            profiles.Errors(self.errors.rate, _ending(self.errors.outcome)) if self.errors else None,
            self.throttle_per_s,
            profiles.Outage(outage.start_s, outage.length_s, outage.repeat_s, _ending(outage.outcome))
            if outage
            else None,
        )


def _ending(outcome: Literal["timeout", "reset"] | int) -> Ending:
    return Ending("status", outcome) if isinstance(outcome, int) else Ending(outcome)


def problems(configured: list[Profile], path: str) -> Iterator[str]:
    """What types cannot say about the profiles of a hub file, the first thing first."""
    if len(configured) > limits.PROFILES_MAX:
        yield f"expected at most {limits.PROFILES_MAX} profiles, got {len(configured)} - at `{path}`"
    seen: set[str] = set()
    for index, profile in enumerate(configured):
        if (found := profile.problem()) is not None:
            yield f"{found[0]} - at `{path}[{index}]{found[1]}`"
        if profile.name in seen:
            yield f"expected each name once, got {profile.name!r} again - at `{path}[{index}]`"
        seen.add(profile.name)
