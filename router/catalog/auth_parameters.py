"""What a connection authorizes with, in the API's own words: the same types for the hub file and for requests.

They hold secrets in the clear and exist in memory only: their text form shows nothing, and what is stored or answered
is made by `split`, which takes the secrets out, and undone by `joined`. Nothing here checks rules between values.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

AuthorizationType = Literal["BASIC", "API_KEY", "OAUTH_CLIENT_CREDENTIALS"]


class _Secret(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True
):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Parameter(_Secret, frozen=True, kw_only=True):
    key: str
    value: str
    is_value_secret: bool = False


class HttpParameters(_Secret, frozen=True, kw_only=True):
    """What is added to a request."""

    header_parameters: list[Parameter] = []
    query_string_parameters: list[Parameter] = []
    body_parameters: list[Parameter] = []


class BasicAuth(_Secret, frozen=True, kw_only=True):
    username: str
    password: str


class ApiKeyAuth(_Secret, frozen=True, kw_only=True):
    api_key_name: str
    api_key_value: str


class OAuthClient(_Secret, frozen=True, kw_only=True):
    client_id: str = msgspec.field(name="ClientID")
    client_secret: str


class OAuth(_Secret, frozen=True, kw_only=True):
    """The client credentials grant of RFC 6749, section 4.4."""

    client_parameters: OAuthClient
    authorization_endpoint: str
    http_method: Literal["GET", "POST", "PUT"]
    oauth_http_parameters: HttpParameters = msgspec.field(name="OAuthHttpParameters", default=HttpParameters())


class AuthParameters(_Secret, frozen=True, kw_only=True):
    basic_auth_parameters: BasicAuth | None = None
    api_key_auth_parameters: ApiKeyAuth | None = None
    invocation_http_parameters: HttpParameters = HttpParameters()
    oauth_parameters: OAuth | None = msgspec.field(name="OAuthParameters", default=None)


_ALWAYS_SECRET = ("Password", "ApiKeyValue", "ClientSecret")


def split(parameters: Any, path: str = "") -> tuple[Any, dict[str, str]]:
    """What DescribeConnection shows of AuthParameters, and the secrets that it does not show, by their paths."""
    if isinstance(parameters, list):
        items, secrets = [], {}
        for index, one in enumerate(parameters):
            shown, hidden = split(one, f"{path}[{index}]")
            items.append(shown)
            secrets.update(hidden)
        return items, secrets
    if not isinstance(parameters, Mapping):
        return parameters, {}
    members: dict[str, Any] = {}
    secrets = {}
    for name, value in parameters.items():
        where = f"{path}.{name}".lstrip(".")
        if name in _ALWAYS_SECRET or (name == "Value" and parameters.get("IsValueSecret")):
            secrets[where] = value
        else:
            members[name], hidden = split(value, where)
            secrets.update(hidden)
    return members, secrets


def joined(shown: Any, secrets: Mapping[str, str], path: str = "") -> Any:
    """AuthParameters as they were before `split`."""
    if isinstance(shown, list):
        return [joined(one, secrets, f"{path}[{index}]") for index, one in enumerate(shown)]
    if not isinstance(shown, Mapping):
        return shown
    start = f"{path}." if path else ""
    here = {
        name: secret
        for where, secret in secrets.items()
        if where.startswith(start) and (name := where[len(start) :]).isalnum()
    }
    return {name: joined(value, secrets, start + name) for name, value in shown.items()} | here
