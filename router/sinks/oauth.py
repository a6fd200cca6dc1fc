"""The client credentials grant (RFC 6749, section 4.4): the request to an authorization endpoint, and what its answer
means. Pure functions; who asks, when and how often is `tokens`' matter.

`grant_type`, `client_id` and `client_secret` go as a form in the body, or in the query of a GET; the connection's
OAuthHttpParameters are added and win. AWS publishes no more of it than the parameters' names.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router import limits
from router.catalog.auth_parameters import OAuth, Parameter
from router.sinks.http_client import Response

_TOKEN = re.compile(r"[\x21-\x7e]+")


class TokenRequest(msgspec.Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return "<token request>"


class Granted(msgspec.Struct, frozen=True):
    """`expires_s` is from now; None: the answer does not say."""

    token: str
    expires_s: float | None

    def __repr__(self) -> str:
        return "<granted>"


class Refused(msgspec.Struct, frozen=True):
    """`final`: asking again the same way would not help."""

    reason: str
    final: bool


def request(oauth: OAuth) -> TokenRequest:
    added = oauth.oauth_http_parameters
    client = oauth.client_parameters
    form = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        **_values(added.body_parameters),
    }
    query = _values(added.query_string_parameters)
    headers = {"Accept": "application/json", "User-Agent": "Amazon/EventBridge/ApiDestinations"}
    if oauth.http_method == "GET":
        query, body = form | query, b""
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(form, quote_via=quote).encode()
    return TokenRequest(
        oauth.http_method,
        _url(oauth.authorization_endpoint, query),
        _headers(headers, added.header_parameters),
        body,
    )


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None


def granted(response: Response) -> Granted | Refused:
    """What an answer means. Its body is not told: it may hold a token, or repeat a secret."""
    status = response.status
    if not 200 <= status <= 299:
        final = status < 500 and status not in (408, 425, 429)
        return Refused(f"The authorization endpoint answered with status {status}.", final)
    try:
        answer = msgspec.json.decode(response.body, type=_Answer)
        expires_s = None if answer.expires_in is None else float(answer.expires_in)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return Refused("The authorization endpoint's answer has no access_token in JSON.", True)
    if len(answer.access_token) > limits.OAUTH_TOKEN_CHARS_MAX or not _TOKEN.fullmatch(answer.access_token):
        return Refused("The authorization endpoint's access_token cannot be sent in a header.", True)
    return Granted(answer.access_token, expires_s if expires_s is None or expires_s >= 0 else 0.0)


def _values(parameters: Iterable[Parameter]) -> dict[str, str]:
    return {parameter.key: parameter.value for parameter in parameters}


def _headers(headers: dict[str, str], added: Iterable[Parameter]) -> dict[str, str]:
    merged = {name.lower(): (name, value) for name, value in headers.items()}
    for one in added:
        if one.key.lower() not in ("host", "content-length", "transfer-encoding", "connection"):
            merged[one.key.lower()] = (one.key, one.value)
    return dict(merged.values())


def _url(endpoint: str, query: dict[str, str]) -> str:
    url = urlsplit(endpoint)
    whole = "&".join(text for text in (url.query, urlencode(query, quote_via=quote, safe="")) if text)
    return f"{url.scheme}://{url.netloc}{url.path or '/'}{'?' if whole else ''}{whole}"
