"""Connections: what they may be, what they show and the life of their states, as pure functions over values.

A connection holds its secrets sealed, member by member; what `Sealing` seals with is no business of this module. An
update, a deauthorization or an outcome of an authorization is a new value here; making it durable is the caller's work.

| state \\ what happens | changed | changed_oauth | authorized | refused | deauthorized |
|---|---|---|---|---|---|
| AUTHORIZED | AUTHORIZED | AUTHORIZING | AUTHORIZED | DEAUTHORIZED | DEAUTHORIZED |
| AUTHORIZING | AUTHORIZED | AUTHORIZING | AUTHORIZED | DEAUTHORIZED | DEAUTHORIZED |
| DEAUTHORIZED | AUTHORIZED | AUTHORIZING | AUTHORIZED | DEAUTHORIZED | DEAUTHORIZED |

A connection without secrets, which only DeauthorizeConnection makes, is neither authorized nor refused by anybody.
DEAUTHORIZING and DELETING are answered by the calls that have just done it, as AWS answers them (recorded).
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from router import limits
from router.catalog.auth_parameters import AuthorizationType, AuthParameters, HttpParameters, joined, split
from router.catalog.model import Thing
from router.core.arn import connection_arn, connection_secret_arn
from router.core.event import Location
from router.errors import ResourceAlreadyExistsException, ResourceNotFoundException, ValidationException

State = Literal["AUTHORIZED", "AUTHORIZING", "DEAUTHORIZED"]
Happening = Literal["changed", "changed_oauth", "authorized", "refused", "deauthorized"]

_AFTER: Mapping[Happening, State] = {
    "changed": "AUTHORIZED",
    "changed_oauth": "AUTHORIZING",
    "authorized": "AUTHORIZED",
    "refused": "DEAUTHORIZED",
    "deauthorized": "DEAUTHORIZED",
}
_MEMBERS: Mapping[AuthorizationType, str] = {
    "BASIC": "BasicAuthParameters",
    "API_KEY": "ApiKeyAuthParameters",
    "OAUTH_CLIENT_CREDENTIALS": "OAuthParameters",
}
_WHOLE = ("InvocationHttpParameters", "OAuthHttpParameters")
_REASON_CHARS_MAX = 512
_DEAUTHORIZED_REASON = "The authorization parameters were removed by a DeauthorizeConnection operation."
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


class Sealing(Protocol):
    """Encrypts secrets for a context, and decrypts them for the same one."""

    def seal(self, secret: str, context: str) -> str: ...

    def open(self, sealed: str, context: str) -> str: ...


class Connection(Thing, frozen=True, kw_only=True, omit_defaults=True):
    """`auth` is what DescribeConnection shows of AuthParameters, `sealed` the rest of it, by the members' paths."""

    kind: ClassVar[str] = "connection"
    authorization_type: AuthorizationType
    auth: dict[str, Any]
    sealed: dict[str, str] = msgspec.field(default_factory=dict)
    state: State
    state_reason: str | None = None
    authorized_ms: int
    secret_arn: str | None = None
    description: str | None = None
    kms_key_identifier: str | None = None
    named: bool = False
    """The hub file names the authorization endpoint: it may be in a private network."""

    def __repr__(self) -> str:
        return f"<connection {self.arn}, {self.state}>"


class New(msgspec.Struct, frozen=True, kw_only=True):
    """What a new connection is made of. `auth` holds secrets in the clear."""

    location: Location
    name: str
    authorization_type: AuthorizationType
    auth: Mapping[str, Any]
    description: str | None = None
    kms_key_identifier: str | None = None

    def __repr__(self) -> str:
        return f"<new connection {self.name}>"


class Fresh(msgspec.Struct, frozen=True):
    """What chance and the clock give: `uuid` ends the connection's ARN, the others its secret's."""

    now_ms: int
    uuid: str
    secret_uuid: str
    secret_suffix: str


def not_found(name: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Failed to describe the connection(s). Connection '{name}' does not exist.")


def already_exists(name: str) -> ResourceAlreadyExistsException:
    return ResourceAlreadyExistsException(f"Connection {name} already exists.")


def created(new: New, fresh: Fresh, sealing: Sealing) -> Connection:
    """Raises ValidationException."""
    check(new.authorization_type, new.auth)
    arn = connection_arn(new.location, new.name, fresh.uuid)
    auth, sealed = _sealed(arn, new.auth, sealing)
    return Connection(
        name=new.name,
        location=new.location,
        arn=arn,
        created_ms=fresh.now_ms,
        modified_ms=fresh.now_ms,
        authorization_type=new.authorization_type,
        auth=auth,
        sealed=sealed,
        state=_AFTER[_changed(new.authorization_type)],
        authorized_ms=fresh.now_ms,
        secret_arn=connection_secret_arn(new.location, new.name, fresh.secret_uuid, fresh.secret_suffix),
        description=new.description or None,
        kms_key_identifier=new.kms_key_identifier or None,
    )


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an UpdateConnection request. `auth` holds secrets in the clear."""

    authorization_type: AuthorizationType | None = None
    auth: Mapping[str, Any] | None = None
    description: str | None = None
    kms_key_identifier: str | None = None

    def __repr__(self) -> str:
        return "<update of a connection>"


def updated(old: Connection, update: Update, fresh: Fresh, sealing: Sealing) -> Connection:
    """The connection with what is given: a member of the same authorization type that is not given stays.

    Raises ValidationException.
    """
    if update.description is None and update.kms_key_identifier is None and not update.auth:
        raise ValidationException(
            "Failed to update the connection(s). At least one of the following is required: Description, "
            "KmsKeyIdentifier, AuthorizationType with BasicAuthParameters, ApiKeyAuthParameters, or OAuthParameters."
        )
    new = msgspec.structs.replace(
        old,
        modified_ms=fresh.now_ms,
        description=old.description if update.description is None else update.description or None,
        kms_key_identifier=(
            old.kms_key_identifier if update.kms_key_identifier is None else update.kms_key_identifier or None
        ),
    )
    if not update.auth:
        return new
    kind = update.authorization_type or old.authorization_type
    stays = kind == old.authorization_type and old.sealed
    whole = _merged(joined(old.auth, _opened(old, sealing)), update.auth) if stays else update.auth
    check(kind, whole, "update")
    auth, sealed = _sealed(old.arn, whole, sealing)
    secret_arn = old.secret_arn or connection_secret_arn(old.location, old.name, fresh.secret_uuid, fresh.secret_suffix)
    same_endpoint = _endpoint(auth) == _endpoint(old.auth)
    return msgspec.structs.replace(
        new,
        authorization_type=kind,
        auth=auth,
        sealed=sealed,
        secret_arn=secret_arn,
        state=_AFTER[_changed(kind)],
        state_reason=None,
        authorized_ms=fresh.now_ms,
        named=old.named and same_endpoint,
    )


def deauthorized(old: Connection, now_ms: int) -> Connection:
    """The connection without authorization parameters; the same one if it has none already."""
    if not old.sealed:
        return old
    return msgspec.structs.replace(
        old,
        auth={},
        sealed={},
        secret_arn=None,
        state=_AFTER["deauthorized"],
        state_reason=_DEAUTHORIZED_REASON,
        modified_ms=now_ms,
    )


def happened(old: Connection, what: Literal["authorized", "refused"], reason: str | None, now_ms: int) -> Connection:
    """The connection after its credentials were taken or refused; the same one where that changes nothing."""
    if not old.sealed or (old.state == _AFTER[what] and (what == "authorized" or old.state_reason == reason)):
        return old
    return msgspec.structs.replace(
        old,
        state=_AFTER[what],
        state_reason=None if what == "authorized" else (reason or "")[:_REASON_CHARS_MAX],
        authorized_ms=now_ms if what == "authorized" else old.authorized_ms,
    )


def opened(connection: Connection, sealing: Sealing) -> AuthParameters:
    """The connection's parameters in the clear. Raises what `Sealing.open` raises."""
    return msgspec.convert(joined(connection.auth, _opened(connection, sealing)), AuthParameters)


def resealed(connection: Connection, sealing: Sealing) -> Connection:
    """The same connection with its secrets sealed anew."""
    secrets = _opened(connection, sealing)
    return msgspec.structs.replace(connection, sealed=_seal(connection.arn, secrets, sealing))


def has_same(connection: Connection, auth: Mapping[str, Any], sealing: Sealing) -> bool:
    """Whether these are the connection's parameters."""
    return bool(joined(connection.auth, _opened(connection, sealing)) == auth)


def check(kind: AuthorizationType, auth: Mapping[str, Any], action: str = "create") -> None:
    """Whether a connection of this kind may have these AuthParameters. Raises ValidationException."""
    if auth.get("ConnectivityParameters") is not None:
        raise ValidationException(
            "Parameter ConnectivityParameters is not valid. Reason: this hub has no private connectivity (VPC Lattice)."
        )
    wanted = _MEMBERS[kind]
    given = [name for name in _MEMBERS.values() if auth.get(name) is not None]
    if given != [wanted]:
        raise ValidationException(
            f"Parameter AuthParameters is not valid. Reason: expected {wanted} for AuthorizationType {kind}, got "
            f"{', '.join(given) or 'none of the parameters'}."
        )
    try:
        parameters = msgspec.convert(auth, AuthParameters)
    except msgspec.ValidationError as error:
        raise ValidationException(f"Parameter AuthParameters is not valid. Reason: {error}.") from None
    _check_added(parameters.invocation_http_parameters, "InvocationHttpParameters")
    if parameters.api_key_auth_parameters is not None:
        _check_header(parameters.api_key_auth_parameters.api_key_name, parameters.api_key_auth_parameters.api_key_value)
    if parameters.oauth_parameters is not None:
        _check_added(parameters.oauth_parameters.oauth_http_parameters, "OAuthHttpParameters")
        if not is_endpoint(parameters.oauth_parameters.authorization_endpoint):
            raise ValidationException(
                f"Failed to {action} the connection(s). Parameter AuthorizationEndpoint is not valid. Reason: Endpoint "
                f"'{parameters.oauth_parameters.authorization_endpoint}' is invalid, please provide a valid HTTPS "
                "endpoint URL."
            )


def is_endpoint(url: str) -> bool:
    """Whether it is a URL that may be called at all; http is for loopback only, which is checked where it is known
    what loopback is open to."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("https", "http")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and parts.password is None
            and not parts.fragment
            and "*" not in parts.netloc
        )
    except ValueError:
        return False


def authorization_endpoint(connection: Connection) -> str | None:
    return _endpoint(connection.auth)


def _endpoint(auth: Mapping[str, Any]) -> str | None:
    oauth = auth.get("OAuthParameters")
    return oauth["AuthorizationEndpoint"] if oauth else None


def _changed(kind: AuthorizationType) -> Happening:
    return "changed_oauth" if kind == "OAUTH_CLIENT_CREDENTIALS" else "changed"


def _check_added(parameters: HttpParameters, where: str) -> None:
    size = 0
    for field in msgspec.structs.fields(parameters):
        added = getattr(parameters, field.name)
        if len(added) > limits.CONNECTION_PARAMETERS_MAX:
            raise ValidationException(
                f"Parameter {where}.{field.encode_name} is not valid. Reason: expected at most "
                f"{limits.CONNECTION_PARAMETERS_MAX} parameters, got {len(added)}."
            )
        size += sum(len(one.key.encode()) + len(one.value.encode()) for one in added)
    if size > limits.CONNECTION_PAYLOAD_BYTES_MAX:
        raise ValidationException(
            f"Parameter {where} is not valid. Reason: expected at most {limits.CONNECTION_PAYLOAD_BYTES_MAX} bytes of "
            f"keys and values, got {size}."
        )
    for one in parameters.header_parameters:
        _check_header(one.key, one.value)


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
        raise ValidationException(
            "Parameter AuthParameters is not valid. Reason: expected header names and values of visible characters."
        )


def _merged(old: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in given.items():
        before = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(before, Mapping) and name not in _WHOLE
        merged[name] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return merged


def _context(arn: str, path: str) -> str:
    return f"{arn}\0{path}"


def _sealed(arn: str, auth: Mapping[str, Any], sealing: Sealing) -> tuple[dict[str, Any], dict[str, str]]:
    shown, secrets = split(auth)
    return shown, _seal(arn, secrets, sealing)


def _seal(arn: str, secrets: Mapping[str, str], sealing: Sealing) -> dict[str, str]:
    return {path: sealing.seal(secret, _context(arn, path)) for path, secret in secrets.items()}


def _opened(connection: Connection, sealing: Sealing) -> dict[str, str]:
    return {path: sealing.open(value, _context(connection.arn, path)) for path, value in connection.sealed.items()}
