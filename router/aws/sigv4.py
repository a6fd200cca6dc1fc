"""AWS Signature Version 4: sign requests, and tell who signed one.

`Signer` signs what the hub sends; `Authenticator` finds the caller of what it gets (IAM user guide, "Signature Version
4 for API requests"). Codes and texts of refusals are AWS's. Promises: nothing is read before its size is bounded; a
wrong signature and an unknown key are compared in constant time; no text, repr or log shows a secret or a signature.
Time comes in as an argument; this module does no I/O.

`path` and `query` are as on the request line, still percent-encoded. Header mappings have lower-case names or ignore
case; a value that came in several lines is joined with `,`.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec

from router.aws.service import Caller
from router.errors import (
    AccessDeniedException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
CLOCK_SKEW_S_MAX = 300  # AWS, for these services
PRESIGNED_S_MAX = 604_800  # AWS: seven days
AUTHORIZATION_CHARS_MAX = 4096  # ours
QUERY_CHARS_MAX = 16_384  # ours
SIGNED_HEADERS_MAX = 100  # ours
SIGNING_KEYS_MAX = 4096  # ours: derived keys kept, one for each (key, day, region, service)

# Proxies and HTTP clients change these on the way; no AWS SDK signs them.
NEVER_SIGNED = frozenset(
    {"authorization", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id", "connection"}
)

_OWN_HEADERS = frozenset({"authorization", "host", "x-amz-date", "x-amz-security-token"})

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_REGION = re.compile(r"(?=.{1,32}\Z)[a-z]{2,}(?:-[a-z0-9]+)+-[0-9]{1,2}[a-z]?", re.ASCII)
# The header as AWS's SDKs write it; any other form, and whatever is wrong, is read part by part.
_USUAL_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^/ ,=]+)/([^/ ,=]+)/([^/ ,=]+)/([^/ ,=]+)/{TERMINATOR}, ?"
    r"SignedHeaders=([^ ,=]+), ?Signature=([^ ,=]+)"
)
_BASIC_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_UNRECOGNIZED = "The security token included in the request is invalid."
_NO_TOKEN = "Missing Authentication Token"


class Credentials(msgspec.Struct, frozen=True):
    """What the hub signs with."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id!r})"


class Key(msgspec.Struct, frozen=True):
    """A key that callers sign with: whose it is, and what it may do."""

    secret_access_key: str
    account: str
    admin: bool = False
    session_token: str | None = None
    principal: str | None = None
    """The IAM ARN of whose it is, for resource policies; None for the whole account."""

    def __repr__(self) -> str:
        return f"Key(account={self.account!r}, admin={self.admin!r})"


class Signable(msgspec.Struct, frozen=True, gc=False):
    """What requests have in common that differ in their time and body only, ready to be signed."""

    headers: dict[str, str]
    """All headers to send but X-Amz-Date and Authorization."""
    names: str
    before: bytes
    """Of the canonical request, what is before the time, and what is between that and the body's hash."""
    after: bytes

    def __repr__(self) -> str:
        return f"Signable(names={self.names!r})"


class Signer:
    """Signs requests to one service in one region."""

    def __init__(self, credentials: Credentials, service: str, region: str) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._second = -1
        self._time = ""
        self._day = ""
        self._scope = ""
        self._key = b""
        self._to_sign = b""
        """The text that is signed, but for the request's hash."""

    def headers(
        self,
        *,
        method: str,
        host: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str],
        body: bytes,
        now_ms: int,
    ) -> dict[str, str]:
        """All headers to send: the given ones, Host, X-Amz-Date, Authorization and, if there is one, the session token.

        All but `NEVER_SIGNED` are signed. `host` has its port where that is not the scheme's own.
        """
        signable = self.signable(method=method, host=host, path=path, query=query, headers=headers)
        time, authorization = self.sign(signable, body, now_ms)
        return {**signable.headers, "X-Amz-Date": time, "Authorization": authorization}

    def signable(self, *, method: str, host: str, path: str, query: str = "", headers: Mapping[str, str]) -> Signable:
        """As `headers`, for any number of requests."""
        sent = {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
        sent["Host"] = host
        if self._credentials.session_token is not None:
            sent["X-Amz-Security-Token"] = self._credentials.session_token
        signed = [(name.lower(), value) for name, value in sent.items() if name.lower() not in NEVER_SIGNED]
        signed = sorted([*signed, ("x-amz-date", "\0")])
        names = ";".join([name for name, _ in signed])
        request = _canonical_request(
            method, _canonical_path(path), "&".join(_query_pairs(query)), signed, names=names, payload=""
        )
        before, _, after = request.partition("x-amz-date:\0")
        return Signable(sent, names, _octets(f"{before}x-amz-date:"), _octets(after))

    def sign(self, signable: Signable, body: bytes, now_ms: int) -> tuple[str, str]:
        """The values of X-Amz-Date and Authorization."""
        second = now_ms // 1000
        if second != self._second:
            self._next_second(second)
        payload = hashlib.sha256(body).hexdigest().encode()
        request = b"".join((signable.before, self._time.encode(), signable.after, payload))
        digest = hashlib.sha256(request).hexdigest().encode()
        signature = hmac.digest(self._key, self._to_sign + digest, "sha256").hex()
        return self._time, (
            f"{ALGORITHM} Credential={self._credentials.access_key_id}/{self._scope}, SignedHeaders={signable.names}, "
            f"Signature={signature}"
        )

    def _next_second(self, second: int) -> None:
        self._second = second
        self._time = _basic_time(second)
        if self._time[:8] != self._day:
            self._day = self._time[:8]
            self._scope = f"{self._day}/{self._region}/{self._service}/{TERMINATOR}"
            self._key = _signing_key(self._credentials.secret_access_key, self._day, self._region, self._service)
        self._to_sign = _octets(f"{ALGORITHM}\n{self._time}\n{self._scope}\n")


class _Claim(msgspec.Struct, frozen=True):
    """What a request says about its signature, not yet believed."""

    access_key_id: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    time: str
    token: str | None
    expires_s: int | None = None
    """Set for a presigned URL."""


class Authenticator:
    """Tells who calls.

    `sigv4` verifies every call against `keys` (by access key id). `none` believes the credential: a 12-digit access key
    id is the account, any other the default account; anyone is an admin.
    """

    def __init__(
        self,
        mode: Literal["none", "sigv4"],
        *,
        default_account: str = "000000000000",
        keys: Mapping[str, Key] | None = None,
    ) -> None:
        self._verifies = mode == "sigv4"
        self._default_account = default_account
        self._keys = dict(keys or {})
        self._signing_keys: dict[tuple[str, str, str, str], bytes] = {}

    def authenticate(
        self,
        *,
        method: str,
        path: str,
        raw_query: str,
        headers: Mapping[str, str],
        body: bytes,
        service: str | None,
        now_ms: int,
    ) -> Caller:
        """The caller of `service` (its signing name; None accepts any), from the header or a presigned URL.

        Raises MissingAuthenticationTokenException, IncompleteSignatureException, InvalidSignatureException or
        UnrecognizedClientException.
        """
        claim = _claim(headers, raw_query, verifies=self._verifies)
        if not self._verifies:
            _check_scope(claim, None)
            key_id = claim.access_key_id
            account = key_id if _ACCOUNT.fullmatch(key_id) else self._default_account
            return Caller(account=account, region=claim.region, admin=True, access_key_id=key_id)
        time = _checked_time(claim, now_ms // 1000)
        _check_signed_headers(claim, headers)
        _check_scope(claim, service)
        key = self._keys.get(claim.access_key_id)
        # An unknown key's signature is checked all the same, against no secret, so that it takes the same time.
        signing_key = self._signing_key(claim, key)
        scope = f"{time}\n{claim.day}/{claim.region}/{claim.service}/{TERMINATOR}"
        valid = any(
            hmac.compare_digest(_octets(_signature(signing_key, scope, request)), _octets(claim.signature))
            for request in _possible_requests(claim, method, path, raw_query, headers=headers, body=body)
        )
        expected_token = None if key is None else key.session_token
        valid_token = hmac.compare_digest(_octets(expected_token or ""), _octets(claim.token or ""))
        if key is None or not valid_token:
            raise UnrecognizedClientException(_UNRECOGNIZED)
        if not valid:
            raise InvalidSignatureException(_MISMATCH)
        return Caller(key.account, claim.region, key.admin, claim.access_key_id, key.principal)

    def authenticate_admin(
        self, *, method: str, path: str, raw_query: str, headers: Mapping[str, str], body: bytes, now_ms: int
    ) -> Caller:
        """The caller of the hub's own API: signed for any service, by an admin key.

        In mode `none` no signature is needed; the caller then has the default account and no region. Raises
        AccessDeniedException too.
        """
        if not self._verifies:
            return Caller(account=self._default_account, region="", admin=True)
        caller = self.authenticate(
            method=method, path=path, raw_query=raw_query, headers=headers, body=body, service=None, now_ms=now_ms
        )
        if not caller.admin:
            raise AccessDeniedException(
                f"Access key {caller.access_key_id} is not authorized to use the hub's own API: it is not an admin key"
            )
        return caller

    def _signing_key(self, claim: _Claim, key: Key | None) -> bytes:
        if key is None:
            return _signing_key("", claim.day, claim.region, claim.service)
        name = (claim.access_key_id, claim.day, claim.region, claim.service)
        signing_key = self._signing_keys.get(name)
        if signing_key is None:
            if len(self._signing_keys) >= SIGNING_KEYS_MAX:
                self._signing_keys.clear()
            signing_key = self._signing_keys[name] = _signing_key(key.secret_access_key, *name[1:])
        return signing_key


def _claim(headers: Mapping[str, str], raw_query: str, *, verifies: bool) -> _Claim:
    authorization = headers.get("authorization")
    if len(raw_query) > QUERY_CHARS_MAX:
        raise IncompleteSignatureException(
            f"The query string has {len(raw_query)} characters, at most {QUERY_CHARS_MAX} are read"
        )
    presigned = "X-Amz-Algorithm=" in raw_query
    if authorization is not None and presigned:
        raise InvalidSignatureException(
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
        )
    if presigned:
        return _presigned_claim(_query_parameters(raw_query))
    if authorization is None or not authorization.lstrip().startswith("AWS4-"):
        raise MissingAuthenticationTokenException(_NO_TOKEN)
    return _header_claim(authorization.strip(), headers, verifies=verifies)


def _header_claim(authorization: str, headers: Mapping[str, str], *, verifies: bool) -> _Claim:
    if len(authorization) > AUTHORIZATION_CHARS_MAX:
        raise IncompleteSignatureException(
            f"The Authorization header has {len(authorization)} characters, at most {AUTHORIZATION_CHARS_MAX} are read"
        )
    time = headers.get("x-amz-date") or headers.get("date") or ""
    usual = _USUAL_AUTHORIZATION.fullmatch(authorization)
    if usual is not None and (time or not verifies):
        key_id, day, region, service, signed_headers, signature = usual.groups()
        names = _signed_names(signed_headers)
        return _Claim(key_id, day, region, service, names, signature, time, headers.get("x-amz-security-token"))
    algorithm, _, rest = authorization.partition(" ")
    parameters: dict[str, str] = {}
    for part in re.split(r"[ ,]+", rest.strip(" ,")):
        name, equals, value = part.partition("=")
        if part and not equals:
            raise IncompleteSignatureException(
                f"'{name[:64]}' not a valid key=value pair (missing equal-sign) in Authorization header"
            )
        parameters[name] = value
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parameters.get(name)
    ]
    if not time and verifies:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing:
        # AWS hashes the header too, so that no log of refusals holds a signature.
        digest = base64.b64encode(hashlib.sha256(_octets(authorization)).digest()).decode()
        raise IncompleteSignatureException(
            f"{' '.join(missing)} (Hashed with SHA-256 and encoded with Base64) Authorization={digest}"
        )
    return _scoped_claim(
        algorithm,
        parameters["Credential"],
        signed_headers=parameters["SignedHeaders"],
        signature=parameters["Signature"],
        time=time,
        token=headers.get("x-amz-security-token"),
    )


def _presigned_claim(parameters: Mapping[str, str]) -> _Claim:
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
    missing = [f"AWS query-string parameters must include '{name}'." for name in names if not parameters.get(name)]
    if missing:
        raise IncompleteSignatureException(f"{' '.join(missing)} Re-examine the query-string parameters.")
    expires = parameters.get("X-Amz-Expires", str(CLOCK_SKEW_S_MAX))
    if not re.fullmatch(r"[0-9]{1,6}", expires, re.ASCII) or not 1 <= int(expires) <= PRESIGNED_S_MAX:
        raise IncompleteSignatureException(
            f"X-Amz-Expires must be a number of seconds from 1 to {PRESIGNED_S_MAX}, got '{expires[:32]}'"
        )
    return _scoped_claim(
        parameters["X-Amz-Algorithm"],
        parameters["X-Amz-Credential"],
        signed_headers=parameters["X-Amz-SignedHeaders"],
        signature=parameters["X-Amz-Signature"],
        time=parameters["X-Amz-Date"],
        token=parameters.get("X-Amz-Security-Token"),
        expires_s=int(expires),
    )


def _scoped_claim(
    algorithm: str,
    credential: str,
    *,
    signed_headers: str,
    signature: str,
    time: str,
    token: str | None,
    expires_s: int | None = None,
) -> _Claim:
    if algorithm != ALGORITHM:
        raise IncompleteSignatureException(
            f"Unsupported AWS 'algorithm': '{algorithm[:64]}' (only {ALGORITHM} for now). "
        )
    parts = credential.rstrip("/").split("/")
    if len(parts) != 5:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got "
            f"'{credential[:256]}'"
        )
    key_id, day, region, service, terminator = parts
    if terminator != TERMINATOR:
        raise InvalidSignatureException(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator[:64]}'."
        )
    names = _signed_names(signed_headers)
    return _Claim(key_id, day, region, service, names, signature, time, token, expires_s)


def _signed_names(signed_headers: str) -> tuple[str, ...]:
    names = tuple(signed_headers.lower().split(";"))
    if len(names) > SIGNED_HEADERS_MAX:
        raise IncompleteSignatureException(f"{len(names)} headers are signed, at most {SIGNED_HEADERS_MAX} may be")
    return names


def _checked_time(claim: _Claim, now_s: int) -> str:
    """The time in the form that was signed, if it is one for now."""
    signed_s, signed = _moment(claim.time)
    oldest_s = now_s - (CLOCK_SKEW_S_MAX if claim.expires_s is None else claim.expires_s)
    if signed_s < oldest_s:
        window = "5 min." if claim.expires_s is None else f"{claim.expires_s} sec."
        raise InvalidSignatureException(
            f"Signature expired: {signed} is now earlier than {_basic_time(oldest_s)} ({_basic_time(now_s)} - {window})"
        )
    if signed_s > now_s + CLOCK_SKEW_S_MAX:
        latest = _basic_time(now_s + CLOCK_SKEW_S_MAX)
        raise InvalidSignatureException(
            f"Signature not yet current: {signed} is still later than {latest} ({_basic_time(now_s)} + 5 min.)"
        )
    if claim.day != signed[:8]:
        raise InvalidSignatureException(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{claim.day[:32]}' != '{signed[:8]}', from '{signed}'."
        )
    return signed


def _check_signed_headers(claim: _Claim, headers: Mapping[str, str]) -> None:
    if "host" not in claim.signed_headers:
        raise InvalidSignatureException("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    unsigned = {name.lower() for name in headers if name.lower().startswith("x-amz-")}.difference(claim.signed_headers)
    if unsigned:
        raise InvalidSignatureException(
            f"There were headers present in the request which were not signed: {', '.join(sorted(unsigned))[:256]}"
        )


def _check_scope(claim: _Claim, service: str | None) -> None:
    wrong = []
    if not _REGION.fullmatch(claim.region):
        wrong.append(f"Credential should be scoped to a valid region, not '{claim.region[:64]}'.")
    if service is not None and claim.service != service:
        wrong.append(f"Credential should be scoped to correct service: '{service}'.")
    if wrong:
        raise InvalidSignatureException(" ".join(wrong))


def _possible_requests(
    claim: _Claim, method: str, path: str, raw_query: str, *, headers: Mapping[str, str], body: bytes
) -> list[str]:
    """What the caller may have signed; nothing, if it was not the body's hash.

    Some clients sign the query as they send it, others its canonical encoding: two requests where those differ.
    """
    payload = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", payload) != payload:
        return []  # also UNSIGNED-PAYLOAD and STREAMING-…, which these services do not take
    pairs = [pair for pair in _query_pairs(raw_query) if not pair.startswith("X-Amz-Signature=")]
    queries = dict.fromkeys(("&".join(pairs), _encoded_query(pairs))) if pairs else [""]
    signed = [(name, headers.get(name, "")) for name in claim.signed_headers]
    names = ";".join(claim.signed_headers)
    return [
        _canonical_request(method, _canonical_path(path), query, signed, names=names, payload=payload)
        for query in queries
    ]


def _canonical_request(
    method: str, path: str, query: str, signed: list[tuple[str, str]], *, names: str, payload: str
) -> str:
    lines = "".join([f"{name}:{' '.join(value.split())}\n" for name, value in signed])
    return f"{method.upper()}\n{path}\n{query}\n{lines}\n{names}\n{payload}"


def _canonical_path(path: str) -> str:
    """The path without `.`, `..` and doubled slashes, encoded once more."""
    if path in ("", "/"):
        return "/"
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    joined = ("/" if path.startswith("/") else "") + "/".join(kept) + ("/" if path.endswith("/") and kept else "")
    return quote(_octets(joined), safe="/~")


def _query_pairs(query: str) -> list[str]:
    """`name=value` texts in canonical order, encoded as they came."""
    if not query:
        return []
    return [f"{name}={value}" for name, value in sorted(pair.partition("=")[::2] for pair in query.split("&"))]


def _encoded_query(pairs: list[str]) -> str:
    split = (pair.partition("=")[::2] for pair in pairs)
    return "&".join(
        [f"{name}={value}" for name, value in sorted((_recoded(name), _recoded(value)) for name, value in split)]
    )


def _recoded(text: str) -> str:
    return quote(unquote_to_bytes(_octets(text)), safe="-_.~")


def _query_parameters(raw_query: str) -> dict[str, str]:
    split = (pair.partition("=")[::2] for pair in raw_query.split("&"))
    return {name: unquote_to_bytes(value).decode("utf-8", "surrogateescape") for name, value in split}


def _signature(signing_key: bytes, time_and_scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(_octets(canonical_request)).hexdigest()
    return hmac.digest(signing_key, _octets(f"{ALGORITHM}\n{time_and_scope}\n{digest}"), "sha256").hex()


def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, TERMINATOR):
        key = hmac.digest(key, _octets(part), "sha256")
    return key


def _octets(text: str) -> bytes:
    """A header's or path's own bytes; HTTP parsers keep bytes that are not UTF-8 as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def _basic_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=256)
def _moment(time: str) -> tuple[int, str]:
    """A request's time in seconds and in the form that is signed; requests of one second share it."""
    seconds = _seconds(time)
    return seconds, _basic_time(seconds)


def _seconds(time: str) -> int:
    """Seconds since 1970 of `20261123T100000Z` or, in a Date header, `Mon, 23 Nov 2026 10:00:00 GMT`."""
    if len(time) <= 64:
        try:
            if _BASIC_TIME.fullmatch(time):
                day = (int(time[:4]), int(time[4:6]), int(time[6:8]))
                return int(datetime(*day, int(time[9:11]), int(time[11:13]), int(time[13:15]), tzinfo=UTC).timestamp())
            # "-0000", which botocore writes, comes without a time zone.
            date = parsedate_to_datetime(time)
            return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            pass
    raise IncompleteSignatureException(
        f"Date must be in ISO-8601 'basic format'. Got '{time[:64]}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )
