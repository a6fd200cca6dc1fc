"""The catalog's rows in the store: key and value of every configured thing. Table CATALOG, values are JSON.

A key is the kind, the account, the region and the names, joined by NUL, which none of them can hold.
"""

from collections.abc import Iterator, Sequence

import msgspec

from router.catalog.api_destinations import ApiDestination
from router.catalog.archives import Archive
from router.catalog.connections import Connection
from router.catalog.endpoints import Endpoint
from router.catalog.model import Bus, Rule, Thing
from router.catalog.partners import EventSource, PartnerSource
from router.catalog.replays import Replay
from router.store.base import Store, StoreError, Table, successor

_SEPARATOR = "\0"
_PAGE_ROWS = 1000
BORN = b"hub\0born"
"""When the hub first started, in ms: the creation time of default buses."""

KINDS: Sequence[type[Thing]] = (ApiDestination, Archive, Connection, Endpoint, EventSource, PartnerSource, Replay)
"""Every kind of thing beside buses and rules; one more is one more line."""


class Fired(msgspec.Struct, frozen=True):
    """How far a rule's schedule has come, with the anchor that it then had: under another one it means nothing."""

    rule_arn: str
    anchor_ms: int
    fired_ms: int


_encode = msgspec.json.Encoder().encode
_decode_bus = msgspec.json.Decoder(Bus).decode
_decode_rule = msgspec.json.Decoder(Rule).decode
_decode_fired = msgspec.json.Decoder(Fired).decode


def bus_key(bus: Bus) -> bytes:
    return _key("bus", bus.location.account, bus.location.region, bus.name)


def rule_key(rule: Rule) -> bytes:
    return _key("rule", rule.location.account, rule.location.region, rule.bus, rule.name)


def kind(name: str) -> type[Thing] | None:
    return next((one for one in KINDS if one.kind == name), None)


def thing_key(thing: Thing) -> bytes:
    return _key(thing.kind, thing.location.account, thing.location.region, thing.name)


def fired_key(rule: Rule) -> bytes:
    """Scheduled rules are on default buses only."""
    return _key("fired", rule.location.account, rule.location.region, rule.name)


def value(thing: Bus | Rule | Thing | Fired) -> bytes:
    return _encode(thing)


def born(store: Store) -> int | None:
    row = store.get(Table.CATALOG, BORN)
    return int(row) if row else None


def buses(store: Store) -> Iterator[Bus]:
    """Every stored bus. Raises StoreError for a row that this version cannot read."""
    for key, row in _rows(store, "bus"):
        try:
            yield _decode_bus(row)
        except msgspec.DecodeError as error:
            raise _unreadable(key, error) from error


def rules(store: Store) -> Iterator[Rule]:
    """Every stored rule. Raises StoreError for a row that this version cannot read."""
    for key, row in _rows(store, "rule"):
        try:
            yield _decode_rule(row)
        except msgspec.DecodeError as error:
            raise _unreadable(key, error) from error


def things(store: Store) -> Iterator[Thing]:
    """Every stored thing of every kind. Raises StoreError for a row that this version cannot read."""
    for kind in KINDS:
        decode = msgspec.json.Decoder(kind).decode
        for key, row in _rows(store, kind.kind):
            try:
                yield decode(row)
            except msgspec.DecodeError as error:
                raise _unreadable(key, error) from error


def fired(store: Store) -> Iterator[Fired]:
    """How far each schedule has come that ever fired. Raises StoreError for a row that this version cannot read."""
    for key, row in _rows(store, "fired"):
        try:
            yield _decode_fired(row)
        except msgspec.DecodeError as error:
            raise _unreadable(key, error) from error


def _unreadable(key: bytes, error: msgspec.DecodeError) -> StoreError:
    return StoreError(f"the catalog's row {key.decode(errors='replace')!r} cannot be read: {error}")


def _rows(store: Store, kind: str) -> Iterator[tuple[bytes, bytes]]:
    start = _key(kind, "")
    stop = successor(start)
    while True:
        rows = store.scan(Table.CATALOG, start, stop, limit=_PAGE_ROWS)
        yield from rows
        if len(rows) < _PAGE_ROWS:
            return
        start = rows[-1][0] + b"\0"


def _key(*parts: str) -> bytes:
    return _SEPARATOR.join(parts).encode()
