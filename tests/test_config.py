"""The hub file: what is refused, with which words, and that docs/hub-file.md says exactly what the types say."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import inspect

from router.catalog import declared, quotas, targets
from router.catalog.state import CatalogState
from router.catalog.target_parameters import (
    AppSyncParameters,
    BatchParameters,
    EcsParameters,
    RedshiftDataParameters,
    RunCommandParameters,
    SageMakerPipelineParameters,
)
from router.config import AccountId, AnyAccount, AnyRegion, ConfigError, Hub, Name, RegionName, load, parse, yaml_value
from router.config_profiles import LocationPattern
from router.core.event import Location
from router.core.profiles import Ending, Errors, Faults, Lognormal, Outage, Selector

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "hub-file.md"

SMALLEST = """
accounts: [{id: "111111111111"}]
regions: [us-east-1]
"""


def hub(text: str, **environment: str) -> Hub:
    return parse((SMALLEST + text).encode(), "hub.yaml", environment)


def refusal(text: str, **environment: str) -> str:
    """What is said of the smallest hub file with `text` added to it."""
    return refusal_of(SMALLEST + text, **environment)


def refusal_of(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(text.encode(), "hub.yaml", environment)
    said = str(refused.value)
    assert said.startswith("hub.yaml")
    return said.removeprefix("hub.yaml").removeprefix(": ")


def applied(taken: Hub) -> declared.Report:
    """What a hub without any state makes of the declared resources; the catalog's own checks hold."""
    known = set(taken.locations())
    return declared.plan(
        taken.resources,
        CatalogState(lambda location: location in known, 0),
        quotas=quotas.named(taken.quotas),
        target_rules=targets.Rules(cross_region=False, api_destination_exists=lambda arn: True),
        now_ms=0,
    ).report


# --- What is taken


def test_smallest_hub_file_needs_an_account_and_a_region() -> None:
    taken = hub("")
    assert [*taken.locations()] == [Location("111111111111", "us-east-1")]
    assert (taken.listen.host, taken.listen.port) == ("127.0.0.1", 4610)
    assert taken.quotas == "aws"


def test_sample_hub_loads_with_its_accounts_regions_and_trails() -> None:
    sample = load(ROOT / "config" / "hub.yaml", {})
    assert [account.id for account in sample.accounts] == ["111111111111", "222222222222", "333333333333"]
    assert sample.regions == ["us-east-1", "eu-west-1"]
    assert (sample.listen.host, sample.listen.port, sample.quotas, sample.aws_events) == (
        "127.0.0.1",
        4610,
        "raised",
        True,
    )
    assert all(sample.trails_of(location) for location in sample.locations())


def test_sample_hub_passes_the_catalogs_checks() -> None:
    created = applied(load(ROOT / "config" / "hub.yaml", {})).created
    assert "arn:aws:events:us-east-1:111111111111:rule/monitor-secretsmanager" in created
    assert "arn:aws:events:eu-west-1:333333333333:rule/central/sensitive-calls" in created


def test_sample_hub_has_the_queues_that_its_targets_name() -> None:
    sample = load(ROOT / "config" / "hub.yaml", {})
    queues = {
        f"arn:aws:sqs:{resources.region}:{resources.account}:{queue.queue_name}"
        for resources in sample.resources
        for queue in resources.queues
    }
    named = {
        arn
        for resources in sample.resources
        for rule in resources.rules
        for target in rule.targets
        for arn in (target.arn, target.dead_letter_config.arn if target.dead_letter_config else None)
        if arn is not None and arn.startswith("arn:aws:sqs:")
    }
    assert named == queues


def test_sample_hub_targets_are_in_their_rules_region_but_for_buses() -> None:
    sample = load(ROOT / "config" / "hub.yaml", {})
    for resources in sample.resources:
        for rule in resources.rules:
            for target in rule.targets:
                service, region = target.arn.split(":")[2:4]
                assert service == "events" or region == resources.region
                assert service != "events" or target.role_arn is not None


def test_environment_variable_is_put_in() -> None:
    assert hub("data_folder: ${FOLDER}/x", FOLDER="/data").data_folder == "/data/x"


def test_environment_variable_falls_back_to_its_default() -> None:
    assert hub("data_folder: ${FOLDER:-here}").data_folder == "here"


def test_two_dollars_keep_a_text_that_looks_like_a_variable() -> None:
    assert hub("data_folder: $${FOLDER}").data_folder == "${FOLDER}"


def test_date_in_a_policy_stays_text() -> None:
    text = """
resources:
  - {account: "111111111111", region: us-east-1, buses: [{Name: b, Policy: {Version: 2012-10-17, Statement: []}}]}
"""
    assert hub(text).resources[0].buses[0].policy == {"Version": "2012-10-17", "Statement": []}


def test_trail_of_all_locations_and_trail_of_one_add_up() -> None:
    taken = parse(
        b"""
accounts: [{id: "111111111111"}]
regions: [us-east-1, eu-west-1]
trails:
  - {management_events: {read_write_type: WriteOnly}}
  - {region: eu-west-1, management_events: null, data_events: [{type: "AWS::S3::Object", values: ["arn:aws:s3"]}]}
""",
        "hub.yaml",
        {},
    )
    everywhere = taken.trails_of(Location("111111111111", "us-east-1"))
    assert [trail.read_write_type for trail in everywhere] == ["WriteOnly"]
    both = taken.trails_of(Location("111111111111", "eu-west-1"))
    assert [trail.include_management_events for trail in both] == [True, False]
    assert [trail.read_write_type for trail in both] == ["WriteOnly", "All"]


# --- What is refused


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the hub file .*nowhere\.yaml: No such file or directory"):
        load(tmp_path / "nowhere.yaml", {})


def test_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the hub file .*: Is a directory"):
        load(tmp_path, {})


def test_broken_yaml_is_shown_with_its_line() -> None:
    said = refusal_of("accounts: [")
    assert said.startswith(" is not YAML: ")
    assert "line 1" in said


def test_bytes_that_are_no_text_are_not_yaml() -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        parse(b"\xff\xfe\xfa", "hub.yaml", {})


def test_yaml_tags_make_no_objects() -> None:
    assert refusal_of("!!python/object/apply:os.getcwd []").startswith(" is not YAML: ")


@pytest.mark.parametrize(("text", "kind"), [("", "null"), ("[]", "array"), ("crossbus", "str")])
def test_file_that_is_no_mapping_is_refused(text: str, kind: str) -> None:
    assert refusal_of(text) == f"Expected `object`, got `{kind}`"


def test_alias_to_itself_is_refused() -> None:
    assert refusal_of("accounts: &all [*all]") == "an alias refers to what it is part of"


def test_key_that_stands_twice_is_refused_with_its_line() -> None:
    assert refusal("quotas: aws\nquotas: raised") == "expected each key once, got 'quotas' again - at line 5"


def test_missing_accounts_are_named() -> None:
    assert refusal_of("regions: [us-east-1]") == "Object missing required field `accounts`"


def test_empty_list_of_regions_is_refused() -> None:
    said = refusal_of('accounts: [{id: "111111111111"}]\nregions: []')
    assert said == "Expected `array` of length >= 1 - at `$.regions`"


# A fault anywhere is said with its path: (what is added to the smallest hub file, what is said).
FAULTS = {
    "unknown key": ("lisen: {}", "Object contains unknown field `lisen`"),
    "unknown key below": ("listen: {hots: x}", "Object contains unknown field `hots` - at `$.listen`"),
    "unknown key in a target": (
        """
resources:
  - account: "111111111111"
    region: us-east-1
    rules:
      - Name: r
        EventPattern: {source: [x]}
        Targets: [{Id: a, Arn: "arn:aws:sqs:us-east-1:111111111111:q", ARN: x}]
""",
        "Object contains unknown field `ARN` - at `$.resources[0].rules[0].Targets[0]`",
    ),
    "account id as a number": (
        "trails: [{account: 111111111111}]",
        "Expected `str`, got `int` - at `$.trails[0].account` (put quotes around it)",
    ),
    "account id too short": (
        "auth: {default_account: '1234'}",
        "Expected `str` matching regex '^[0-9]{12}$' - at `$.auth.default_account`",
    ),
    "port out of range": ("listen: {port: 70000}", "Expected `int` <= 65535 - at `$.listen.port`"),
    "port as text": ("listen: {port: http}", "Expected `int`, got `str` - at `$.listen.port`"),
    "unknown word": ("quotas: none", "Invalid enum value 'none' - at `$.quotas`"),
    "missing variable": (
        "listen: {host: '${CROSSBUS_HOST}'}",
        "the environment variable CROSSBUS_HOST is not set - at `$.listen.host`",
    ),
    "empty secret": (
        "listen: {host: '${CROSSBUS_EMPTY}'}",
        "the environment variable CROSSBUS_EMPTY is not set - at `$.listen.host`",
    ),
    "no signatures on all addresses": (
        "listen: {host: 0.0.0.0}",
        "expected a loopback address, got '0.0.0.0': with `auth: {mode: none}` anybody who reaches the hub may do "
        "anything; set `auth.mode: sigv4` with keys, or listen on 127.0.0.1 - at `$.listen.host`",
    ),
    "no signatures on a name": (
        "listen: {host: hub.example.com}",
        "expected a loopback address, got 'hub.example.com': with `auth: {mode: none}` anybody who reaches the hub may "
        "do anything; set `auth.mode: sigv4` with keys, or listen on 127.0.0.1 - at `$.listen.host`",
    ),
    "a principal that is none": (
        "auth: {mode: sigv4, keys: [{access_key_id: AKIAEXAMPLE, secret_access_key: longenough, "
        "account: '111111111111', principal: ann}]}",
        "expected the ARN of an IAM principal, got 'ann' - at `$.auth.keys[0].principal`",
    ),
    "a principal of another account": (
        "auth: {mode: sigv4, keys: [{access_key_id: AKIAEXAMPLE, secret_access_key: longenough, "
        "account: '111111111111', principal: 'arn:aws:iam::222222222222:user/ann'}]}",
        "expected a principal of account 111111111111, got one of 222222222222 - at `$.auth.keys[0].principal`",
    ),
    "signatures without keys": (
        "auth: {mode: sigv4}",
        "expected at least one key with `auth.mode: sigv4`, got none - at `$.auth.keys`",
    ),
    "resources of an unknown account": (
        "resources: [{account: '999999999999', region: us-east-1}]",
        "expected a declared account and region, got 999999999999/us-east-1 - at `$.resources[0]`",
    ),
    "queue source of an unknown region": (
        """
sqs_sources:
  - queue_url: http://127.0.0.1:9324/111111111111/in
    endpoint: http://127.0.0.1:9324
    queue_region: eu-west-1
    credentials: {access_key_id: x, secret_access_key: y}
    account: "111111111111"
    region: eu-west-1
""",
        "expected a declared account and region, got 111111111111/eu-west-1 - at `$.sqs_sources[0]`",
    ),
    "endpoint that is no URL": (
        "endpoints: [{service: sqs, url: 'localhost:9324', credentials: {access_key_id: x, secret_access_key: y}}]",
        "expected an http or https URL, got 'localhost:9324' - at `$.endpoints[0].url`",
    ),
    "destinations in what is no network": (
        "destinations: {allow: [10.0.0.1/8]}",
        "expected a network such as 10.0.0.0/8, got '10.0.0.1/8' - at `$.destinations.allow[0]`",
    ),
    "destinations at link-local addresses": (
        "destinations: {allow: [10.0.0.0/8, 169.254.169.0/24]}",
        "expected a network that can be allowed, got '169.254.169.0/24', which is link-local and is never allowed - "
        "at `$.destinations.allow[1]`",
    ),
    "destinations on loopback": (
        "destinations: {allow: ['::1/128']}",
        "expected a network that can be allowed, got '::1/128', which is loopback and is allowed by `auth.mode: none` "
        "and by nothing else - at `$.destinations.allow[0]`",
    ),
    "connection with the parameters of two types": (
        """
resources:
  - account: "111111111111"
    region: us-east-1
    connections:
      - Name: c
        AuthorizationType: BASIC
        AuthParameters:
          BasicAuthParameters: {Username: u, Password: p}
          ApiKeyAuthParameters: {ApiKeyName: n, ApiKeyValue: v}
""",
        "expected `BasicAuthParameters` only, got `ApiKeyAuthParameters` - "
        "at `$.resources[0].connections[0].AuthParameters`",
    ),
    "authorization endpoint without https": (
        """
resources:
  - account: "111111111111"
    region: us-east-1
    connections:
      - Name: c
        AuthorizationType: OAUTH_CLIENT_CREDENTIALS
        AuthParameters:
          OAuthParameters:
            AuthorizationEndpoint: http://login.example.com/
            HttpMethod: POST
            ClientParameters: {ClientID: c, ClientSecret: s}
""",
        "expected an https URL (http only to loopback), got 'http://login.example.com/' - "
        "at `$.resources[0].connections[0].AuthParameters.OAuthParameters.AuthorizationEndpoint`",
    ),
    "profile that does nothing": (
        "profiles: [{name: idle, from: '*/eu-*'}]",
        "expected at least one of latency, errors, throttle_per_s and outage, got none - at `$.profiles[0]`",
    ),
    "profile with two latencies": (
        "profiles: [{name: p, latency: {fixed_ms: 5, uniform_ms: [1, 2]}}]",
        "expected one of fixed_ms, uniform_ms and lognormal_ms, got fixed_ms and uniform_ms - "
        "at `$.profiles[0].latency`",
    ),
    "profile with a latency of no kind": (
        "profiles: [{name: p, latency: {}}]",
        "expected one of fixed_ms, uniform_ms and lognormal_ms, got none - at `$.profiles[0].latency`",
    ),
    "profile with bounds the wrong way round": (
        "profiles: [{name: p, latency: {uniform_ms: [20, 10]}}]",
        "expected uniform_ms with the lower number first, got [20.0, 10.0] - at `$.profiles[0].latency`",
    ),
    "outage that begins again before it ends": (
        "profiles: [{name: p, outage: {length_s: 60, repeat_s: 60}}]",
        "expected repeat_s to be more than length_s, got 60 and 60 - at `$.profiles[0].outage`",
    ),
    "profile twice": (
        "profiles: [{name: p, throttle_per_s: 1}, {name: p, throttle_per_s: 2}]",
        "expected each name once, got 'p' again - at `$.profiles[1]`",
    ),
    "profile with an unknown key": (
        "profiles: [{name: p, throttle: 5}]",
        "Object contains unknown field `throttle` - at `$.profiles[0]`",
    ),
    "profile with a rate beyond all calls": (
        "profiles: [{name: p, errors: {rate: 1.5}}]",
        "Expected `float` <= 1.0 - at `$.profiles[0].errors.rate`",
    ),
    "profile with a status of success": (
        "profiles: [{name: p, errors: {rate: 0.5, outcome: 200}}]",
        "Expected `int` >= 400 - at `$.profiles[0].errors.outcome`",
    ),
    "profile from what is no location": (
        "profiles: [{name: p, from: eu-west-1, throttle_per_s: 1}]",
        "Expected `str` matching regex '^(\\\\*|[0-9*?]{1,12}/[a-z0-9*?-]{1,32})$' - at `$.profiles[0].from`",
    ),
    "queue twice": (
        "resources: [{account: '111111111111', region: us-east-1, queues: [{QueueName: q}, {QueueName: q}]}]",
        "expected each QueueName once, got 'q' again - at `$.resources[0].queues[1]`",
    ),
}


@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_said_with_its_path(text: str, said: str) -> None:
    assert refusal(text, CROSSBUS_EMPTY="") == said


@pytest.mark.parametrize("text", ['{"a": 1, "b": [1.5, "x", null, true]}', '{a: 1, "b": [1.5, x, null, true]}'])
def test_json_is_read_as_the_yaml_that_it_is(text: str) -> None:
    assert yaml_value(text.encode()) == {"a": 1, "b": [1.5, "x", None, True]}


@pytest.mark.parametrize("text", ['{"a": 1,\n"a": 2}', "{a: 1,\na: 2}"])
def test_a_key_that_stands_twice_in_json_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match="expected each key once, got 'a' again - at line 2"):
        yaml_value(text.encode())


def test_what_json_does_not_have_is_left_to_yaml() -> None:
    assert yaml_value(b'{"a": NaN}') == {"a": "NaN"}


def test_account_that_stands_twice_is_refused() -> None:
    said = refusal_of('accounts: [{id: "111111111111"}, {id: "111111111111"}]\nregions: [us-east-1]')
    assert said == "expected each id once, got '111111111111' again - at `$.accounts[1]`"


def test_same_rule_name_on_two_buses_is_two_rules() -> None:
    text = """
resources:
  - account: "111111111111"
    region: us-east-1
    buses: [{Name: b}]
    rules:
      - {Name: r, EventPattern: {source: [x]}}
      - {Name: r, EventBusName: b, EventPattern: {source: [x]}}
"""
    assert [rule.event_bus_name for rule in hub(text).resources[0].rules] == ["default", "b"]
    said = refusal(text.replace("EventBusName: b, ", ""))
    assert said == "expected each Name once, got 'default/r' again - at `$.resources[0].rules[1]`"


CONNECTION = (
    "{Name: c, AuthorizationType: API_KEY, AuthParameters: {ApiKeyAuthParameters: {ApiKeyName: k, ApiKeyValue: v}}}"
)


def destination(endpoint: str, connection: str = CONNECTION) -> str:
    return f"""
resources:
  - account: "111111111111"
    region: us-east-1
    connections: [{connection}]
    api_destinations: [{{Name: d, ConnectionName: c, InvocationEndpoint: "{endpoint}", HttpMethod: POST}}]
"""


@pytest.mark.parametrize(
    "endpoint", ["https://example.com/in/*", "http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/"]
)
def test_api_destination_may_be_https_or_on_loopback(endpoint: str) -> None:
    assert hub(destination(endpoint)).resources[0].api_destinations[0].invocation_endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint", ["http://example.com/", "http://10.0.0.1/", "http://localhost.example.com/", "ftp://x/"]
)
def test_api_destination_elsewhere_must_be_https(endpoint: str) -> None:
    assert refusal(destination(endpoint)) == (
        f"expected an https URL (http only to loopback), got {endpoint!r} - "
        "at `$.resources[0].api_destinations[0].InvocationEndpoint`"
    )


def test_api_destination_needs_its_connection() -> None:
    said = refusal(destination("https://example.com", CONNECTION.replace("Name: c,", "Name: other,")))
    assert said == (
        "expected the Name of a connection, got 'c' - at `$.resources[0].api_destinations[0].ConnectionName`"
    )


def test_connection_needs_the_parameters_of_its_type() -> None:
    said = refusal(destination("https://example.com", CONNECTION.replace("API_KEY", "BASIC")))
    assert said == "expected `BasicAuthParameters`, got none - at `$.resources[0].connections[0].AuthParameters`"


def test_secret_is_not_in_the_refusal() -> None:
    text = "auth: {mode: sigv4, keys: [{access_key_id: ${KEY}, secret_access_key: '${SECRET}', account: x}]}"
    assert "hush" not in refusal(text, KEY="AKIDEXAMPLE", SECRET="hush-hush-hush")


def test_a_profile_means_what_it_says() -> None:
    [profile] = hub("""
profiles:
  - name: p
    from: "*/us-*"
    to: "222222222222/*"
    sink: sqs
    target: "*:orders"
    latency: {lognormal_ms: {median_ms: 80}}
    errors: {rate: 0.1}
    throttle_per_s: 5
    outage: {start_s: 1, length_s: 2, repeat_s: 3}
""").profiles
    assert profile.selector() == Selector("*/us-*", "222222222222/*", "sqs", "*:orders")
    assert profile.faults() == Faults(
        Lognormal(80.0, 0.5), Errors(0.1, Ending("status", 503)), 5.0, Outage(1.0, 2.0, 3.0, Ending("reset"))
    )


def test_there_are_at_most_so_many_profiles() -> None:
    text = "\n".join(f"  - {{name: p{number}, throttle_per_s: 1}}" for number in range(101))
    assert refusal(f"profiles:\n{text}") == "expected at most 100 profiles, got 101 - at `$.profiles`"


# --- docs/hub-file.md


_PATTERN_WORDS = {
    get_args(annotated)[1].pattern: word
    for annotated, word in (
        (AccountId, "account id"),
        (RegionName, "region"),
        (AnyAccount, "account id or `*`"),
        (AnyRegion, "region or `*`"),
        (Name, "name, at most 256 characters"),
    )
} | {
    r"^[.\-_A-Za-z0-9]{1,64}$": "name, at most 64 characters",
    r"^[.\-_A-Za-z0-9]{1,48}$": "name, at most 48 characters",
    r"^[A-Za-z0-9_-]{1,80}$|^[A-Za-z0-9_-]{1,75}\.fifo$": "queue name, at most 80 characters",
    r"^[A-Za-z][A-Za-z0-9-]{0,127}$": "stack name, at most 128 characters",
    get_args(LocationPattern)[1].pattern: "location with `*` and `?`",
}


_PLURALS = {"object": "objects", "region": "regions", "text": "texts"}


def _bounds(least: float | None, most: float | None, unit: str = "") -> str:
    match least, most:
        case None, None:
            return ""
        case None, _:
            return f", at most {most}{unit}"
        case _, None:
            return f", at least {least}{unit}"
        case _:
            return f", {least} to {most}{unit}"


def type_words(kind: inspect.Type) -> str:
    """A type as the hub file's reference calls it."""
    match kind:
        case inspect.StrType(pattern=str() as pattern):
            return _PATTERN_WORDS[pattern]
        case inspect.StrType():
            return "text" + _bounds(kind.min_length, kind.max_length, " characters")
        case inspect.IntType():
            return "integer" + _bounds(kind.ge, kind.le)
        case inspect.FloatType():
            return "number" + _bounds(kind.ge, kind.le)
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in kind.values)
        case inspect.ListType():
            return f"list of {_PLURALS.get(one := type_words(kind.item_type), one)}" + _bounds(
                kind.min_length, kind.max_length
            )
        case inspect.TupleType(item_types=(one, _)):
            return f"pair, each {type_words(one)}"
        case inspect.DictType(value_type=inspect.AnyType()):
            return "mapping"
        case inspect.DictType():
            values = type_words(kind.value_type)
            return f"mapping of text to {values}" + _bounds(kind.min_length, kind.max_length, " keys")
        case inspect.StructType():
            return "object"
        case inspect.UnionType():
            return " or ".join(type_words(one) for one in kind.types)
        case inspect.NoneType():
            return "`null`"
        case _:
            raise AssertionError(f"hub-file.md has no words for {kind}")


def default_words(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return "empty"
    if isinstance(field.default, msgspec.Struct):
        return "its defaults"
    return "none" if field.default is None else f"`{msgspec.json.encode(field.default).decode()}`"


def field_type_words(field: inspect.Field) -> str:
    kind = field.type
    if isinstance(kind, inspect.UnionType) and field.default is None:  # the default says that it may be left out
        return " or ".join(type_words(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    return type_words(kind)


_AS_IN_THE_API = {
    AppSyncParameters,
    BatchParameters,
    EcsParameters,
    RedshiftDataParameters,
    RunCommandParameters,
    SageMakerPipelineParameters,
}
"""Objects whose members the reference leaves to AWS's own."""


def reference(kind: inspect.Type, path: str, seen: set[type]) -> Iterator[tuple[str, list[str]]]:
    """For each object of the hub file: where it stands first, and its rows as far as the types know them."""
    match kind:
        case inspect.StructType() if kind.cls not in seen:
            seen.add(kind.cls)
            yield (
                path,
                [
                    f"| `{field.encode_name}` | {field_type_words(field)} | {default_words(field)} |"
                    for field in kind.fields
                ],
            )
            for field in kind.fields:
                yield from reference(field.type, f"{path}.{field.encode_name}".lstrip("."), seen)
        case inspect.ListType():
            yield from reference(kind.item_type, f"{path}[]", seen)
        case inspect.UnionType():
            for one in kind.types:
                yield from reference(one, path, seen)
        case _:
            pass


def documented() -> dict[str, list[str]]:
    """The tables of docs/hub-file.md without their last column, by the path in the heading above."""
    tables: dict[str, list[str]] = {}
    path = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ `(.+)`$", line):
            path = heading[1]
        elif line.startswith("| `"):
            cells = line.split(" | ")
            assert len(cells) == 4, line
            assert len(cells[3].strip(" |")) > 3, f"no meaning: {line}"
            tables.setdefault(path, []).append(" | ".join(cells[:3]) + " |")
    return tables


def test_reference_lists_every_key_with_its_type_and_default() -> None:
    expected = {
        path or "the hub file": rows for path, rows in reference(inspect.type_info(Hub), "", set(_AS_IN_THE_API))
    }
    assert documented() == expected


_EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", _EXAMPLES, ids=[text.partition(":")[0] for text in _EXAMPLES])
def test_example_of_the_reference_can_be_applied(example: str) -> None:
    smallest = "" if "accounts:" in example else SMALLEST
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)", example), "twenty-characters-abc")
    applied(parse((smallest + example).encode(), "example", environment))
