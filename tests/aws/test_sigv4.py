"""Signatures: botocore's signer is the oracle."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.aws import sigv4
from router.aws.service import Caller
from router.aws.sigv4 import Authenticator, Credentials, Key, Signer
from router.core.policy import Principal
from router.errors import (
    AccessDeniedException,
    ApiError,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)

_NOW_MS = 1_795_476_896_789
_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_KEYS = {
    "AKIDEXAMPLE": Key(secret_access_key=_SECRET, account="111111111111"),
    "AKIDADMIN": Key(secret_access_key="another secret", account="333333333333", admin=True),
    "ASIATEMP": Key(secret_access_key="short-lived", account="222222222222", session_token="to+ken=="),
}
_CREDENTIALS = Credentials("AKIDEXAMPLE", _SECRET)
_BODY = b'{"Entries":[]}'
_HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents"}


def _authenticator() -> Authenticator:
    return Authenticator("sigv4", keys=_KEYS)


def _believer() -> Authenticator:
    return Authenticator("none", default_account="999999999999")


def _signed(credentials: Credentials = _CREDENTIALS, *, service: str = "events", **changed: Any) -> dict[str, str]:
    request: dict[str, Any] = {"method": "POST", "host": "hub:4610", "path": "/", "headers": _HEADERS, "body": _BODY}
    signer = Signer(credentials, service, changed.pop("region", "eu-west-1"))
    headers = signer.headers(**{**request, "now_ms": _NOW_MS, **changed})
    return {name.lower(): value for name, value in headers.items()}


def _caller(headers: Mapping[str, str], authenticator: Authenticator | None = None, **changed: Any) -> Caller:
    request: dict[str, Any] = {"method": "POST", "path": "/", "raw_query": "", "body": _BODY, "service": "events"}
    verifier = authenticator or _authenticator()
    return verifier.authenticate(headers=headers, **{**request, "now_ms": _NOW_MS, **changed})


def _botocore(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    token: str | None = None,
    kind: type = botocore.auth.SigV4Auth,
    key_id: str = "AKIDEXAMPLE",
    secret: str = _SECRET,
    now_ms: int = _NOW_MS,
) -> Any:
    request = botocore.awsrequest.AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    with patch("botocore.auth.get_current_datetime", return_value=now):
        kind(botocore.credentials.Credentials(key_id, secret, token), "events", "eu-west-1").add_auth(request)
    return request


_SEGMENTS = st.sampled_from(["", ".", "..", "a", "111111111111", "a b", "é", "~x", "%2F", "a+b", "q:1", "*", "$"])
_PATHS = st.lists(_SEGMENTS, max_size=5).map(lambda parts: quote("/" + "/".join(parts), safe="/~:+*$"))
_WORDS = st.text(alphabet="aB1 ~+/é=&%-_.*", max_size=6)
_QUERIES = st.lists(st.tuples(_WORDS, _WORDS), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
)
_VALUES = st.text(alphabet="aZ09 \t,;=\"'é", max_size=12)
_NAMES = st.sampled_from(["X-Amz-Target", "Content-Type", "x-custom", "X-Amz-Trace", "Accept", "User-Agent"])
_HEADER_SETS = st.dictionaries(_NAMES, _VALUES, max_size=5)
_METHODS = st.sampled_from(["GET", "POST", "DELETE"])


@given(_METHODS, _PATHS, _QUERIES, _HEADER_SETS, st.binary(max_size=30), st.sampled_from([None, "to+ken=="]))
def test_requests_are_signed_as_botocore_signs_them(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, token: str | None
) -> None:
    url = f"http://hub:4610{path}" + (f"?{query}" if query else "")
    theirs = _botocore(method, url, headers, body, token=token)
    ours = Signer(msgspec.structs.replace(_CREDENTIALS, session_token=token), "events", "eu-west-1").headers(
        method=method, host="hub:4610", path=path, query=query, headers=headers, body=body, now_ms=_NOW_MS
    )
    assert (ours["X-Amz-Date"], ours["Authorization"]) == (
        theirs.headers["X-Amz-Date"],
        theirs.headers["Authorization"],
    )


@given(_METHODS, _PATHS, _QUERIES, _HEADER_SETS, st.binary(max_size=30))
def test_what_botocore_signed_is_verified(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    url = f"http://hub:4610{path}" + (f"?{query}" if query else "")
    request = _botocore(method, url, headers, body)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": "hub:4610"}
    caller = _caller(sent, method=method, path=path, raw_query=query, body=body)
    assert caller == Caller("111111111111", "eu-west-1", access_key_id="AKIDEXAMPLE")


@given(_PATHS, st.sampled_from([None, "to+ken=="]))
def test_what_botocore_presigned_is_verified(path: str, token: str | None) -> None:
    key_id = "ASIATEMP" if token else "AKIDEXAMPLE"
    request = _botocore(
        "GET",
        f"http://hub:4610{path}?b=1&a=x%20y",
        {},
        b"",
        token=token,
        kind=botocore.auth.SigV4QueryAuth,
        key_id=key_id,
        secret=_KEYS[key_id].secret_access_key,
    )
    split = urlsplit(request.url)
    caller = _caller({"host": "hub:4610"}, method="GET", path=split.path, raw_query=split.query, body=b"")
    assert caller.account == _KEYS[key_id].account


def test_a_presigned_url_expires() -> None:
    request = _botocore("GET", "http://hub:4610/", {}, b"", kind=botocore.auth.SigV4QueryAuth)
    query = urlsplit(request.url).query
    with pytest.raises(InvalidSignatureException) as refusal:
        _caller({"host": "hub:4610"}, method="GET", raw_query=query, body=b"", now_ms=_NOW_MS + 3_601_000)
    assert refusal.value.message == (
        "Signature expired: 20261123T233456Z is now earlier than 20261123T233457Z (20261124T003457Z - 3600 sec.)"
    )


def test_a_botocore_request_dated_by_the_date_header_is_verified() -> None:
    request = _botocore("POST", "http://hub:4610/", {**_HEADERS, "Date": "now"}, _BODY)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": "hub:4610"}
    assert "x-amz-date" not in sent
    assert _caller(sent).account == "111111111111"


def test_the_canonical_encoding_of_an_odd_query_is_accepted() -> None:
    headers = _signed(query="a=x%2Cy&b=")
    assert _caller(headers, raw_query="b&a=x,y").account == "111111111111"


def test_a_signer_keeps_its_key_for_a_day_and_changes_it_after() -> None:
    signer = Signer(_CREDENTIALS, "events", "eu-west-1")
    for now_ms in (_NOW_MS, _NOW_MS + 1000, _NOW_MS + 86_400_000, _NOW_MS):
        sent = signer.headers(method="POST", host="h", path="/", headers={}, body=b"", now_ms=now_ms)
        lower = {name.lower(): value for name, value in sent.items()}
        assert _caller(lower, body=b"", now_ms=now_ms).account == "111111111111"


_MOMENTS = st.lists(st.tuples(st.integers(-100_000, 200_000), st.binary(max_size=30)), min_size=1, max_size=6)


@given(_PATHS, _QUERIES, _HEADER_SETS, _MOMENTS, st.sampled_from([None, "to+ken=="]))
def test_what_is_signed_again_is_signed_as_botocore_signs_it_then(
    path: str, query: str, headers: dict[str, str], moments: list[tuple[int, bytes]], token: str | None
) -> None:
    url = f"http://hub:4610{path}" + (f"?{query}" if query else "")
    signer = Signer(msgspec.structs.replace(_CREDENTIALS, session_token=token), "events", "eu-west-1")
    signable = signer.signable(method="POST", host="hub:4610", path=path, query=query, headers=headers)
    for offset_s, body in moments:
        now_ms = _NOW_MS + 1000 * offset_s
        theirs = _botocore("POST", url, headers, body, token=token, now_ms=now_ms)
        assert signer.sign(signable, body, now_ms) == (theirs.headers["X-Amz-Date"], theirs.headers["Authorization"])
        assert "secret" not in repr(signable).lower()


def test_a_signer_replaces_headers_that_it_makes() -> None:
    stale = {"x-amz-date": "old", "host": "old", "AUTHORIZATION": "old", "x-amz-security-token": "old"}
    assert set(_signed(headers=stale)) == {"host", "x-amz-date", "authorization"}


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "GET"},
        {"path": "/other"},
        {"raw_query": "a=1"},
        {"body": b"other"},
        {"headers": {"x-amz-target": "AWSEvents.DeleteRule"}},
        {"headers": {"host": "elsewhere"}},
        {"headers": {"x-amz-date": "20261123T233457Z"}},
        {"headers": {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}},
    ],
)
def test_whatever_is_changed_after_signing_spoils_the_signature(changed: dict[str, Any]) -> None:
    signed = _signed(headers={**_HEADERS, **dict.fromkeys(changed.get("headers", {}), "x")})
    headers = signed | changed.pop("headers", {})
    with pytest.raises(InvalidSignatureException, match="The request signature we calculated does not match"):
        _caller(headers, **changed)


def test_an_unsigned_payload_is_refused_though_signed() -> None:
    headers = _signed(headers={**_HEADERS, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(InvalidSignatureException, match="does not match"):
        _caller(headers)


@pytest.mark.parametrize(
    "marker",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "",
        hashlib.sha256(b"another body").hexdigest(),
    ],
)
def test_a_payload_that_is_not_signed_whole_is_refused_however_well_the_rest_is(marker: str) -> None:
    class Marked(botocore.auth.SigV4Auth):  # type: ignore[misc]
        def payload(self, request: Any) -> str:
            return marker

    headers = {**_HEADERS, "X-Amz-Content-SHA256": marker}
    request = _botocore("POST", "http://hub:4610/", headers, _BODY, kind=Marked)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": "hub:4610"}
    with pytest.raises(InvalidSignatureException, match="does not match"):
        _caller(sent)


class _Presigned(botocore.auth.SigV4QueryAuth):  # type: ignore[misc]
    """A presigned POST of `_BODY`; botocore itself would move a body into the query."""

    def payload(self, request: Any) -> str:
        return hashlib.sha256(_BODY).hexdigest()


def test_a_presigned_post_signs_its_body() -> None:
    query = urlsplit(_botocore("POST", "http://hub:4610/", {}, b"", kind=_Presigned).url).query
    assert _caller({"host": "hub:4610"}, raw_query=query).account == "111111111111"
    with pytest.raises(InvalidSignatureException, match="does not match"):
        _caller({"host": "hub:4610"}, raw_query=query, body=b"another")


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"service": "sqs"}, InvalidSignatureException, "scoped to correct service: 'sqs'"),
        ({"now_ms": _NOW_MS - 301_000}, InvalidSignatureException, "not yet current"),
        ({"path": "/other"}, InvalidSignatureException, "does not match"),
        ({"headers": {"host": "elsewhere"}}, InvalidSignatureException, "does not match"),
        (
            {"headers": {"host": "hub:4610", "x-amz-target": "AWSEvents.DeleteRule"}},
            InvalidSignatureException,
            "not signed: x-amz-target",
        ),
        (
            {"headers": {"host": "hub:4610", "x-amz-security-token": "to+ken=="}},
            InvalidSignatureException,
            "not signed: x-amz-security-token",
        ),
    ],
)
def test_a_presigned_url_for_something_else_is_refused(
    changed: dict[str, Any], error: type[ApiError], text: str
) -> None:
    request = _botocore("POST", "http://hub:4610/", {}, b"", kind=_Presigned)
    headers = changed.pop("headers", {"host": "hub:4610"})
    with pytest.raises(error, match=text):
        _caller(headers, raw_query=urlsplit(request.url).query, **changed)


@pytest.mark.parametrize("key_id", ["AKIDEXAMPLE", "AKIDNOBODY", "ASIATEMP"])
def test_signatures_and_tokens_are_compared_in_constant_time_for_every_key(
    monkeypatch: pytest.MonkeyPatch, key_id: str
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    with pytest.raises(UnrecognizedClientException):
        _caller(_signed(Credentials(key_id, "any", "token")))
    (signature, _), tokens = compared
    assert len(signature) == 64
    assert tokens == ((_KEYS[key_id].session_token or "").encode() if key_id in _KEYS else b"", b"token")


def test_a_keys_principal_comes_with_its_caller() -> None:
    arn = "arn:aws:iam::111111111111:role/orders"
    keys = {"AKIDEXAMPLE": msgspec.structs.replace(_KEYS["AKIDEXAMPLE"], principal=arn)}
    caller = _caller(_signed(), Authenticator("sigv4", keys=keys))
    assert (caller.arn, caller.principal) == (arn, Principal("111111111111", arn))
    assert _caller(_signed()).principal == Principal("111111111111")


def test_the_payloads_hash_may_be_given() -> None:
    digest = hashlib.sha256(_BODY).hexdigest()
    assert _caller(_signed(headers={**_HEADERS, "X-Amz-Content-SHA256": digest})).account == "111111111111"


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ({"service": "sqs"}, InvalidSignatureException, "Credential should be scoped to correct service: 'events'."),
        ({"region": "nowhere"}, InvalidSignatureException, "scoped to a valid region, not 'nowhere'."),
        ({"region": "us-" + "a" * 40 + "-1"}, InvalidSignatureException, "scoped to a valid region"),
        (
            {"now_ms": _NOW_MS - 301_000},
            InvalidSignatureException,
            r"^Signature expired: 20261123T232955Z is now earlier than 20261123T232956Z \(20261123T233456Z - 5 min\.\)",
        ),
        (
            {"now_ms": _NOW_MS + 301_000},
            InvalidSignatureException,
            r"^Signature not yet current: 20261123T233957Z is still later than 20261123T233956Z "
            r"\(20261123T233456Z \+ 5 min\.\)$",
        ),
        ({"credentials": Credentials("AKIDNOBODY", _SECRET)}, UnrecognizedClientException, "security token included"),
        ({"credentials": Credentials("AKIDEXAMPLE", "wrong")}, InvalidSignatureException, "does not match"),
        ({"credentials": Credentials("AKIDEXAMPLE", _SECRET, "token")}, UnrecognizedClientException, "security token"),
        ({"credentials": Credentials("ASIATEMP", "short-lived")}, UnrecognizedClientException, "security token"),
        ({"credentials": Credentials("ASIATEMP", "short-lived", "no")}, UnrecognizedClientException, "security token"),
    ],
)
def test_a_signature_for_something_else_is_refused(given_: dict[str, Any], error: type[ApiError], text: str) -> None:
    with pytest.raises(error, match=text):
        _caller(_signed(**given_))


@pytest.mark.parametrize("skew_ms", [-300_000, 300_000])
def test_a_clock_may_be_five_minutes_off(skew_ms: int) -> None:
    assert _caller(_signed(now_ms=_NOW_MS + skew_ms)).account == "111111111111"


def test_a_configured_session_token_is_needed_and_enough() -> None:
    caller = _caller(_signed(Credentials("ASIATEMP", "short-lived", "to+ken==")))
    assert caller == Caller("222222222222", "eu-west-1", access_key_id="ASIATEMP")


def test_an_unsigned_amz_header_is_refused() -> None:
    headers = _signed(headers={})
    with pytest.raises(InvalidSignatureException, match="not signed: x-amz-target"):
        _caller(headers | {"x-amz-target": "AWSEvents.DeleteRule"})


def test_the_host_must_be_signed() -> None:
    headers = _signed()
    headers["authorization"] = headers["authorization"].replace("host;", "")
    with pytest.raises(InvalidSignatureException, match="'Host' or ':authority' must be a 'SignedHeader'"):
        _caller(headers)


_SCOPE = "AKIDEXAMPLE/20261123/eu-west-1/events/aws4_request"


@pytest.mark.parametrize(
    ("authorization", "error", "text"),
    [
        (None, MissingAuthenticationTokenException, "^Missing Authentication Token$"),
        ("", MissingAuthenticationTokenException, "^Missing Authentication Token$"),
        ("Bearer abc", MissingAuthenticationTokenException, "^Missing Authentication Token$"),
        ("AWS4-HMAC-SHA256", IncompleteSignatureException, "requires 'Credential' parameter. Authorization header req"),
        ("AWS4-HMAC-SHA256 Credential", IncompleteSignatureException, "'Credential' not a valid key=value pair"),
        (f"AWS4-HMAC-SHA256 Credential={_SCOPE}, Signature=a", IncompleteSignatureException, "'SignedHeaders' param"),
        (
            f"AWS4-ECDSA-P256-SHA256 Credential={_SCOPE}, SignedHeaders=host, Signature=a",
            IncompleteSignatureException,
            "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=a",
            IncompleteSignatureException,
            "exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d'",
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={_SCOPE[:-1]}, SignedHeaders=host, Signature=a",
            InvalidSignatureException,
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4_reques'",
        ),
        (
            f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders={'a;' * 200}, Signature=a",
            IncompleteSignatureException,
            "201 headers are signed, at most 100 may be",
        ),
        ("AWS4-HMAC-SHA256 " + "x" * 5000, IncompleteSignatureException, "5017 characters, at most 4096 are read"),
    ],
)
@pytest.mark.parametrize("mode", ["none", "sigv4"])
def test_a_malformed_authorization_is_refused_in_both_modes(
    mode: Literal["none", "sigv4"], authorization: str | None, error: type[ApiError], text: str
) -> None:
    headers = {"host": "h", "x-amz-date": "20261123T233456Z"}
    if authorization is not None:
        headers["authorization"] = authorization
    with pytest.raises(error, match=text) as refusal:
        _caller(headers, Authenticator(mode))
    assert len(refusal.value.message) < 1000


@pytest.mark.parametrize("date", ["", "yesterday", "20261323T000000Z", "2026-11-23T23:34:56Z", "x" * 100])
def test_a_date_that_cannot_be_read_is_refused(date: str) -> None:
    with pytest.raises(
        IncompleteSignatureException, match=r"Date must be in ISO-8601|existence of either a 'X-Amz-Date'"
    ):
        _caller(_signed() | {"x-amz-date": date})


def test_the_scopes_day_must_be_the_dates() -> None:
    headers = _signed()
    headers["authorization"] = headers["authorization"].replace("/20261123/", "/20261122/")
    with pytest.raises(InvalidSignatureException, match="'20261122' != '20261123', from '20261123T233456Z'"):
        _caller(headers)


@pytest.mark.parametrize(
    ("query", "headers", "error", "text"),
    [
        ("X-Amz-Algorithm=x", {"authorization": "AWS4-x"}, InvalidSignatureException, "Found both 'X-Amz-Algorithm'"),
        ("X-Amz-Algorithm=x", {}, IncompleteSignatureException, "must include 'X-Amz-Credential'"),
        ("a" * 20_000, {}, IncompleteSignatureException, "20000 characters, at most 16384"),
    ],
)
def test_a_malformed_presigned_query_is_refused(
    query: str, headers: dict[str, str], error: type[ApiError], text: str
) -> None:
    with pytest.raises(error, match=text):
        _caller(headers, raw_query=query)


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1e3", "", "9" * 50])
def test_a_presigned_url_lives_seven_days_at_most(expires: str) -> None:
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(_SCOPE, safe='')}&X-Amz-Date=20261123T233456Z"
        f"&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=a"
    )
    with pytest.raises(IncompleteSignatureException, match="number of seconds from 1 to 604800"):
        _caller({"host": "h"}, raw_query=query)


@pytest.mark.parametrize(
    ("key_id", "account"), [("123456789012", "123456789012"), ("AKIDEXAMPLE", "999999999999"), ("1" * 13, "9" * 12)]
)
def test_without_verification_a_twelve_digit_key_is_the_account(key_id: str, account: str) -> None:
    headers = _signed(Credentials(key_id, "any"), region="ap-southeast-2")
    caller = _caller(headers, _believer(), body=b"not what was signed", now_ms=0)
    assert caller == Caller(account, "ap-southeast-2", admin=True, access_key_id=key_id)


def test_without_verification_the_region_is_still_checked() -> None:
    with pytest.raises(InvalidSignatureException, match="valid region"):
        _caller(_signed(region="etc..passwd"), _believer())


def _admin(authenticator: Authenticator, headers: Mapping[str, str]) -> Caller:
    return authenticator.authenticate_admin(
        method="POST", path="/", raw_query="", headers=headers, body=_BODY, now_ms=_NOW_MS
    )


@pytest.mark.parametrize("service", ["events", "execute-api", "crossbus"])
def test_an_admin_key_opens_the_hubs_own_api_for_any_service(service: str) -> None:
    headers = _signed(Credentials("AKIDADMIN", "another secret"), service=service)
    assert _admin(_authenticator(), headers) == Caller("333333333333", "eu-west-1", True, "AKIDADMIN")


def test_another_key_does_not_open_the_hubs_own_api() -> None:
    with pytest.raises(AccessDeniedException, match="AKIDEXAMPLE is not authorized"):
        _admin(_authenticator(), _signed())


def test_the_hubs_own_api_needs_a_signature_only_where_they_are_verified() -> None:
    assert _admin(_believer(), {}) == Caller("999999999999", "", admin=True)
    with pytest.raises(MissingAuthenticationTokenException):
        _admin(_authenticator(), {})


def test_no_text_shows_a_secret() -> None:
    shown = f"{_CREDENTIALS!r} {_CREDENTIALS} {_KEYS!r} {Credentials('a', 'hush', 'hush')!r}"
    assert _SECRET not in shown
    assert "hush" not in shown
    assert "to+ken" not in shown


def test_signing_keys_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sigv4, "SIGNING_KEYS_MAX", 3)
    authenticator = _authenticator()
    for number in range(10):
        assert _caller(_signed(region=f"eu-west-{number}"), authenticator).region == f"eu-west-{number}"
        assert len(authenticator._signing_keys) <= 3


@given(
    st.dictionaries(st.sampled_from(["authorization", "x-amz-date", "host", "x-amz-security-token"]), st.text()),
    st.sampled_from(["", "AWS4-HMAC-SHA256 ", f"AWS4-HMAC-SHA256 Credential={_SCOPE}, SignedHeaders=host, Signature="]),
    st.text(),
    st.sampled_from(["none", "sigv4"]),
)
def test_any_header_is_accepted_or_refused(
    headers: dict[str, str], prefix: str, query: str, mode: Literal["none", "sigv4"]
) -> None:
    headers["authorization"] = prefix + headers.get("authorization", "")
    try:
        caller = _caller(headers, Authenticator(mode, keys=_KEYS), raw_query=query)
    except ApiError:
        return
    assert mode == "none"
    assert caller.region == "eu-west-1"


_PIECE = st.sampled_from(
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA1",
        "Credential=",
        "AKIDEXAMPLE/20261123/eu-west-1/events/aws4_request",
        "a/b/c/d/e",
        "SignedHeaders=",
        "host;X-Amz-Date",
        "Signature=",
        "00ff",
        ", ",
        ",",
        " ",
        "=",
        "/",
        "aws4_request",
        ";",
        "\t",
        "é",
    ]
)
_USUAL = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/eu-west-1/events/aws4_request, SignedHeaders=host;X-Amz-Date, "
    "Signature=00ff"
)


@given(
    pieces=st.one_of(st.lists(_PIECE, max_size=12).map("".join), st.just(_USUAL)),
    place=st.integers(0, 150),
    put=_PIECE | st.just(""),
    instead=st.integers(0, 3),
)
def test_the_usual_header_is_read_as_its_parts_are(pieces: str, place: int, put: str, instead: int) -> None:
    authorization = pieces[:place] + put + pieces[place + instead :]

    def read() -> object:
        try:
            return sigv4._header_claim(authorization, {"x-amz-date": "20261123T100000Z"}, verifies=True)
        except ApiError as error:
            return type(error), error.message

    usual = read()
    with patch.object(sigv4, "_USUAL_AUTHORIZATION", sigv4._ACCOUNT):
        assert read() == usual


def test_the_usual_header_is_the_one_that_sdks_write() -> None:
    assert sigv4._USUAL_AUTHORIZATION.fullmatch(_USUAL)
    assert sigv4._USUAL_AUTHORIZATION.fullmatch(_signed()["authorization"])
