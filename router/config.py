"""The hub file as types: load it, check it, say what is wrong and where.

Keys are this hub's own words in snake_case; what is declared under `resources` is in the API's own words. Unknown keys
are refused with their path. Text values may name environment variables as `${NAME}` or `${NAME:-default}`; a variable
that is not set is an error, so that a secret never silently becomes empty; `$${NAME}` stands for the text `${NAME}`.
Nothing here opens a file but the hub file.
"""

import ipaddress
import json
import os
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec
import yaml

from router import addresses, limits
from router.catalog.api_destinations import HttpMethod
from router.catalog.auth_parameters import AuthorizationType, AuthParameters
from router.catalog.model import DeadLetterConfig, LogConfig, RuleState, Target
from router.config_profiles import Profile
from router.config_profiles import problems as profile_problems
from router.core.cloudtrail import DataSelector, Trail
from router.core.event import Location
from router.core.pace import PaceSettings, Probing, TargetLimits
from router.core.policy import InvalidPrincipal, principal_of
from router.importers.record import STACK_NAME

AccountId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12}$")]
AnyAccount = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{12}|\*)$")]
AnyRegion = Annotated[str, msgspec.Meta(pattern=r"^([a-z]{2,}(-[a-z0-9]+)+-[0-9]{1,2}[a-z]?|\*)$", max_length=32)]
RegionName = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+-[0-9]{1,2}[a-z]?$", max_length=32)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]+$", max_length=256)]
ThingName = Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]{1,64}$")]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class ConfigError(Exception):
    """The hub file cannot be used; the text says where, what was expected and what was there."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class _Secret(_Strict, frozen=True, kw_only=True):
    """Holds a secret: its text form shows nothing of it, so that no log and no error can."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Listen(_Strict, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 4610


class AuthKey(_Secret, frozen=True, kw_only=True):
    access_key_id: Annotated[str, msgspec.Meta(min_length=8, max_length=128)]
    secret_access_key: Annotated[str, msgspec.Meta(min_length=8, max_length=256)]
    account: AccountId
    session_token: str | None = None
    principal: str | None = None
    """The IAM ARN of the user, role or session whose key it is; without one, policies take it for the whole account."""
    admin: bool = False
    """May use `/aws-events`, the hub's own API and the fault switches."""


class Auth(_Strict, frozen=True, kw_only=True):
    mode: Literal["none", "sigv4"] = "none"
    default_account: AccountId = "000000000000"
    """The account of callers whose access key is not itself an account id (`none` only)."""
    keys: list[AuthKey] = []


class Account(_Strict, frozen=True, kw_only=True):
    id: AccountId
    name: str = ""
    organization: str | None = None


class ManagementEvents(_Strict, frozen=True, kw_only=True):
    read_write_type: Literal["All", "ReadOnly", "WriteOnly"] = "All"
    exclude_sources: list[str] = []


class DataEvents(_Strict, frozen=True, kw_only=True):
    type: str
    values: list[str]
    read_write_type: Literal["All", "ReadOnly", "WriteOnly"] = "All"


class TrailConfig(_Strict, frozen=True, kw_only=True):
    account: AnyAccount = "*"
    region: AnyRegion = "*"
    management_events: ManagementEvents | None = ManagementEvents()
    data_events: list[DataEvents] = []
    network_activity_sources: list[str] = []
    """Event sources whose network activity events are logged."""
    insights: bool = False

    def trails(self) -> Iterator[Trail]:
        """As CloudTrail's selectors: each has a read-write type of its own."""
        if self.management_events is not None:
            yield Trail(
                read_write_type=self.management_events.read_write_type,
                exclude_management_event_sources=tuple(self.management_events.exclude_sources),
            )
        for events in self.data_events:
            yield Trail(
                read_write_type=events.read_write_type,
                include_management_events=False,
                data_event_selectors=(DataSelector(events.type, tuple(events.values)),),
            )
        if self.network_activity_sources or self.insights:
            yield Trail(
                include_management_events=False,
                network_activity_event_sources=tuple(self.network_activity_sources),
                insights=self.insights,
            )


class Keys(_Secret, frozen=True, kw_only=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class Endpoint(_Strict, frozen=True, kw_only=True):
    """Where real calls for a service go, for all or some of the locations."""

    service: Literal["sqs", "sns", "lambda", "logs"]
    url: str
    account: AnyAccount = "*"
    region: AnyRegion = "*"
    credentials: Keys


class SqsSource(_Strict, frozen=True, kw_only=True):
    """A queue that events are taken from."""

    queue_url: str
    endpoint: str
    """The base URL that SQS calls are sent to."""
    queue_region: RegionName
    credentials: Keys
    account: AccountId
    region: RegionName
    bus: Name = "default"
    trusted: bool = False
    """True: messages are EventBridge's envelopes, their account, region, id and time are kept."""
    pollers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    wait_s: Annotated[int, msgspec.Meta(ge=0, le=20)] = 20


class DeclaredConnection(_Strict, frozen=True, kw_only=True, rename="pascal"):
    name: ThingName
    authorization_type: AuthorizationType
    auth_parameters: AuthParameters
    description: Annotated[str, msgspec.Meta(max_length=512)] | None = None


class DeclaredApiDestination(_Strict, frozen=True, kw_only=True, rename="pascal"):
    name: ThingName
    connection_name: ThingName
    invocation_endpoint: Annotated[str, msgspec.Meta(max_length=2048)]
    http_method: HttpMethod
    invocation_rate_limit_per_second: _Positive = limits.INVOCATIONS_PER_S_DEFAULT
    description: Annotated[str, msgspec.Meta(max_length=512)] | None = None


class DeclaredQueue(_Strict, frozen=True, kw_only=True, rename="pascal"):
    queue_name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,80}$|^[A-Za-z0-9_-]{1,75}\.fifo$")]
    attributes: dict[str, str] = {}


class DeclaredBus(_Strict, frozen=True, kw_only=True, rename="pascal"):
    name: Name
    description: str | None = None
    policy: dict[str, Any] | str | None = None
    kms_key_identifier: Annotated[str, msgspec.Meta(max_length=2048)] | None = None
    dead_letter_config: DeadLetterConfig | None = None
    log_config: LogConfig | None = None
    tags: dict[str, str] = {}


class DeclaredRule(_Strict, frozen=True, kw_only=True, rename="pascal"):
    name: Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]{1,64}$")]
    event_bus_name: Name = "default"
    event_pattern: dict[str, Any] | str | None = None
    schedule_expression: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    state: RuleState = "ENABLED"
    description: Annotated[str, msgspec.Meta(max_length=512)] | None = None
    role_arn: str | None = None
    tags: dict[str, str] = {}
    targets: list[Target] = []


class DeclaredArchive(_Strict, frozen=True, kw_only=True, rename="pascal"):
    archive_name: Annotated[str, msgspec.Meta(pattern=r"^[.\-_A-Za-z0-9]{1,48}$")]
    event_bus_name: Name = "default"
    event_pattern: dict[str, Any] | str | None = None
    retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    description: Annotated[str, msgspec.Meta(max_length=512)] | None = None


class Resources(_Strict, frozen=True, kw_only=True):
    """What one location has from the start, in the API's own words."""

    account: AccountId
    region: RegionName
    buses: list[DeclaredBus] = []
    queues: list[DeclaredQueue] = []
    connections: list[DeclaredConnection] = []
    api_destinations: list[DeclaredApiDestination] = []
    rules: list[DeclaredRule] = []
    archives: list[DeclaredArchive] = []


class DeclaredTemplate(_Secret, frozen=True, kw_only=True):
    """A CloudFormation template that is deployed at every start."""

    file: str
    """Taken from the hub file's folder."""
    account: AccountId
    region: RegionName
    stack: Annotated[str, msgspec.Meta(pattern=f"^{STACK_NAME.pattern}$")]
    parameters: dict[str, str] = {}


class StoreSettings(_Strict, frozen=True, kw_only=True):
    bytes_max: Annotated[int, msgspec.Meta(ge=16 * 1024**2)] = limits.STORE_BYTES_MAX
    durability: Literal["fsync", "os"] = "fsync"
    """What an answer promises: on the disk, or handed to the operating system. See `store/base.py`."""


class InboxSettings(_Strict, frozen=True, kw_only=True):
    messages_max: _Positive = limits.INBOX_MESSAGES_MAX


class TargetLimit(_Strict, frozen=True, kw_only=True):
    arn: Annotated[str, msgspec.Meta(min_length=1, max_length=1600)]
    """`*` stands for any run of characters, `?` for any one."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=limits.TARGET_CALLS_MAX)] | None = None
    rate_per_s: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None = None


class ProbingSettings(_Strict, frozen=True, kw_only=True):
    after_failures: Annotated[int, msgspec.Meta(ge=0)] = limits.PROBED_AFTER_FAILURES
    pause_s_max: Annotated[float, msgspec.Meta(ge=0.1, le=900)] = limits.PROBE_PAUSE_S_MAX


class DeadLetterSettings(_Strict, frozen=True, kw_only=True):
    age_s_max: _Positive = limits.DEAD_LETTER_AGE_S_MAX
    count_max: _Positive = limits.DEAD_LETTERS_MAX


class ReplaySettings(_Strict, frozen=True, kw_only=True):
    pending_max: _Positive = limits.REPLAY_PENDING_MAX


class TraceSettings(_Strict, frozen=True, kw_only=True):
    age_s_max: Annotated[int, msgspec.Meta(ge=0)] = limits.TRACE_AGE_S_MAX
    bytes_max: Annotated[int, msgspec.Meta(ge=1024**2)] = limits.TRACE_BYTES_MAX


class ScheduleSettings(_Strict, frozen=True, kw_only=True):
    late_s_max: Annotated[int, msgspec.Meta(ge=60)] = limits.SCHEDULE_LATE_S_MAX


class SecretsSettings(_Strict, frozen=True, kw_only=True):
    key_file: str | None = None


class TlsSettings(_Strict, frozen=True, kw_only=True):
    ca_file: str | None = None


class DestinationSettings(_Strict, frozen=True, kw_only=True):
    allow: list[str] = []
    """Networks, as CIDRs, that destinations made by the API may be in although they are not public."""

    def networks(self) -> list[addresses.Network]:
        return [ipaddress.ip_network(text) for text in self.allow]


class Hub(_Strict, frozen=True, kw_only=True):
    """The hub file."""

    listen: Listen = Listen()
    data_folder: str = "data"
    auth: Auth = Auth()
    accounts: Annotated[list[Account], msgspec.Meta(min_length=1)]
    regions: Annotated[list[RegionName], msgspec.Meta(min_length=1)]
    aws_events: bool = False
    """Whether `POST /aws-events/{account}/{region}` takes service events."""
    trails: list[TrailConfig] = []
    endpoints: list[Endpoint] = []
    sqs_sources: list[SqsSource] = []
    quotas: Literal["aws", "raised"] = "aws"
    unknown_bus: Literal["drop", "refuse"] = "drop"
    cross_region_targets: Literal["refuse", "allow"] = "refuse"
    read_only_management_events: Literal["name", "flag"] = "name"
    """How an ENABLED rule recognizes what it must not see: by the event's name, or by CloudTrail's `readOnly`."""
    put_events_bytes_max: _Positive = limits.REQUEST_ENTRIES_BYTES_MAX
    store: StoreSettings = StoreSettings()
    inboxes: InboxSettings = InboxSettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    trace: TraceSettings = TraceSettings()
    replays: ReplaySettings = ReplaySettings()
    target_limits: list[TargetLimit] = []
    """The first whose `arn` fits a target counts."""
    probing: ProbingSettings = ProbingSettings()
    profiles: list[Profile] = []
    schedules: ScheduleSettings = ScheduleSettings()
    secrets: SecretsSettings = SecretsSettings()
    tls: TlsSettings = TlsSettings()
    destinations: DestinationSettings = DestinationSettings()
    drain_s_max: Annotated[float, msgspec.Meta(ge=0)] = limits.DRAIN_S_MAX
    resources: list[Resources] = []
    templates: list[DeclaredTemplate] = []

    def locations(self) -> Iterator[Location]:
        for account in self.accounts:
            for region in self.regions:
                yield Location(account.id, region)

    def organization(self, account: str) -> str | None:
        return next((known.organization for known in self.accounts if known.id == account), None)

    def paces(self) -> PaceSettings:
        probing = self.probing
        return PaceSettings(
            Probing(probing.after_failures, probing.pause_s_max),
            [(limit.arn, TargetLimits(limit.concurrency, limit.rate_per_s)) for limit in self.target_limits],
        )

    def trails_of(self, location: Location) -> list[Trail]:
        return [
            selected
            for trail in self.trails
            if trail.account in ("*", location.account) and trail.region in ("*", location.region)
            for selected in trail.trails()
        ]


def load(path: Path, environment: Mapping[str, str] | None = None) -> Hub:
    """Read and check a hub file. Raises ConfigError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the hub file {path}: {error.strerror}") from error
    hub = parse(raw, str(path), os.environ if environment is None else environment)
    templates = [msgspec.structs.replace(template, file=str(path.parent / template.file)) for template in hub.templates]
    return msgspec.structs.replace(hub, templates=templates)


def parse(raw: bytes, name: str, environment: Mapping[str, str]) -> Hub:
    """A hub file's text as a Hub. Raises ConfigError with `name` in its text."""
    try:
        value = yaml_value(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not YAML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    try:
        hub = msgspec.convert(_expanded(value, environment, "$"), Hub)
    except msgspec.ValidationError as error:
        text = str(error)
        hint = " (put quotes around it)" if "Expected `str`, got `int`" in text else ""
        raise ConfigError(f"{name}: {text}{hint}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: an alias refers to what it is part of") from error
    for problem in _problems(hub):
        raise ConfigError(f"{name}: {problem}")
    return hub


def yaml_value(raw: bytes) -> Any:
    """YAML as hub files are read. Raises YAMLError, UnicodeDecodeError, and ConfigError for a key that stands twice.

    A file that is all JSON, which is YAML too, is read by the JSON decoder: with ten thousand rules in a tenth of a
    second, where YAML's takes eight.
    """
    if raw.lstrip()[:1] == b"{":
        with suppress(ValueError, RecursionError):  # not all of it is JSON, or a key stands twice: YAML's to tell
            return json.loads(raw, object_pairs_hook=_each_key_once, parse_constant=_refuse)
    return yaml.load(raw, _Loader)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError


class _Loader(yaml.SafeLoader):
    """YAML as it is meant here: a key that stands twice is an error and not half ignored; dates stay text, so that a
    policy's `Version: 2012-10-17` needs no quotes.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise ConfigError(
                        f"expected each key once, got {key.value!r} again - at line {key.start_mark.line + 1}"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_VARIABLE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expanded(value: Any, environment: Mapping[str, str], path: str) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(item, environment, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, environment, f"{path}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        found = environment.get(match[2]) or match[3]
        if found is None:
            raise ConfigError(f"the environment variable {match[2]} is not set - at `{path}`")
        return found

    return _VARIABLE.sub(substitute, value)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _problems(hub: Hub) -> Iterator[str]:
    """What types cannot say, the first thing first."""
    if hub.auth.mode == "none" and not is_loopback(hub.listen.host):
        yield (
            f"expected a loopback address, got {hub.listen.host!r}: with `auth: {{mode: none}}` anybody who reaches "
            "the hub may do anything; set `auth.mode: sigv4` with keys, or listen on 127.0.0.1 - at `$.listen.host`"
        )
    if hub.auth.mode == "sigv4" and not hub.auth.keys:
        yield "expected at least one key with `auth.mode: sigv4`, got none - at `$.auth.keys`"
    yield from _repeated("$.accounts", "id", [account.id for account in hub.accounts])
    yield from _repeated("$.regions", "region", hub.regions)
    yield from _repeated("$.auth.keys", "access_key_id", [key.access_key_id for key in hub.auth.keys])
    yield from _principal_problems(hub.auth.keys)
    known = {str(location) for location in hub.locations()}
    for index, resources in enumerate(hub.resources):
        path = f"$.resources[{index}]"
        if f"{resources.account}/{resources.region}" not in known:
            yield f"expected a declared account and region, got {resources.account}/{resources.region} - at `{path}`"
        yield from _resource_problems(resources, path)
    yield from _template_problems(hub, known)
    for index, source in enumerate(hub.sqs_sources):
        if f"{source.account}/{source.region}" not in known:
            yield (
                f"expected a declared account and region, got {source.account}/{source.region} - "
                f"at `$.sqs_sources[{index}]`"
            )
        yield from _url_problems(source.endpoint, f"$.sqs_sources[{index}].endpoint")
        yield from _url_problems(source.queue_url, f"$.sqs_sources[{index}].queue_url")
    for index, endpoint in enumerate(hub.endpoints):
        yield from _url_problems(endpoint.url, f"$.endpoints[{index}].url")
    yield from profile_problems(hub.profiles, "$.profiles")
    for index, text in enumerate(hub.destinations.allow):
        yield from _network_problems(text, f"$.destinations.allow[{index}]")


def _network_problems(text: str, path: str) -> Iterator[str]:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        yield f"expected a network such as 10.0.0.0/8, got {text!r} - at `{path}`"
        return
    kind = addresses.kind_of(str(network.network_address))
    if kind in ("link-local", "loopback") and addresses.kind_of(str(network.broadcast_address)) == kind:
        why = "is never allowed" if kind == "link-local" else "is allowed by `auth.mode: none` and by nothing else"
        yield f"expected a network that can be allowed, got {text!r}, which is {kind} and {why} - at `{path}`"


def _template_problems(hub: Hub, known: set[str]) -> Iterator[str]:
    for index, template in enumerate(hub.templates):
        if f"{template.account}/{template.region}" not in known:
            yield (
                f"expected a declared account and region, got {template.account}/{template.region} - "
                f"at `$.templates[{index}]`"
            )
    names = [f"{template.account}/{template.region}/{template.stack}" for template in hub.templates]
    yield from _repeated("$.templates", "stack of a location", names)


def _principal_problems(keys: list[AuthKey]) -> Iterator[str]:
    for index, key in enumerate(keys):
        at = f"$.auth.keys[{index}].principal"
        try:
            account = principal_of(key.principal).account if key.principal is not None else key.account
        except InvalidPrincipal as error:
            yield f"expected {error} - at `{at}`"
        else:
            if account != key.account:
                yield f"expected a principal of account {key.account}, got one of {account} - at `{at}`"


def _resource_problems(resources: Resources, path: str) -> Iterator[str]:
    yield from _repeated(f"{path}.queues", "QueueName", [queue.queue_name for queue in resources.queues])
    yield from _repeated(f"{path}.buses", "Name", [bus.name for bus in resources.buses])
    yield from _repeated(f"{path}.rules", "Name", [f"{r.event_bus_name}/{r.name}" for r in resources.rules])
    yield from _repeated(f"{path}.connections", "Name", [connection.name for connection in resources.connections])
    yield from _repeated(f"{path}.api_destinations", "Name", [d.name for d in resources.api_destinations])
    connections = {connection.name for connection in resources.connections}
    for index, connection in enumerate(resources.connections):
        yield from _connection_problems(connection, f"{path}.connections[{index}].AuthParameters")
    for index, destination in enumerate(resources.api_destinations):
        at = f"{path}.api_destinations[{index}]"
        if destination.connection_name not in connections:
            yield f"expected the Name of a connection, got {destination.connection_name!r} - at `{at}.ConnectionName`"
        yield from _endpoint_problems(destination.invocation_endpoint, f"{at}.InvocationEndpoint")


_AUTH_PARAMETERS: Mapping[AuthorizationType, str] = {
    "BASIC": "BasicAuthParameters",
    "API_KEY": "ApiKeyAuthParameters",
    "OAUTH_CLIENT_CREDENTIALS": "OAuthParameters",
}


def _connection_problems(connection: DeclaredConnection, path: str) -> Iterator[str]:
    given = connection.auth_parameters
    present = {
        "BasicAuthParameters": given.basic_auth_parameters,
        "ApiKeyAuthParameters": given.api_key_auth_parameters,
        "OAuthParameters": given.oauth_parameters,
    }
    wanted = _AUTH_PARAMETERS[connection.authorization_type]
    for word, parameters in present.items():
        if word == wanted and parameters is None:
            yield f"expected `{word}`, got none - at `{path}`"
        if word != wanted and parameters is not None:
            yield f"expected `{wanted}` only, got `{word}` - at `{path}`"
    if given.oauth_parameters is not None:
        url = given.oauth_parameters.authorization_endpoint
        yield from _endpoint_problems(url, f"{path}.OAuthParameters.AuthorizationEndpoint")


def _endpoint_problems(text: str, path: str) -> Iterator[str]:
    url = urlsplit(text)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
        yield f"expected an https URL (http only to loopback), got {text!r} - at `{path}`"


def _url_problems(text: str, path: str) -> Iterator[str]:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield f"expected an http or https URL, got {text!r} - at `{path}`"


def _repeated(path: str, key: str, values: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield f"expected each {key} once, got {value!r} again - at `{path}[{index}]`"
        seen.add(value)
