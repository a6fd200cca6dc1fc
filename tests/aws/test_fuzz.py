"""Whatever a request's body is, an operation answers or refuses: no bug, no hang, nothing that cannot be written.

`make test` plays the same requests each time, `make test-deep` others for ten minutes. A failure names its seed;
`request(Random(seed), operation)` makes its body again.
"""

import json
import time
from collections import Counter
from random import Random, SystemRandom

import pytest

from router.aws.model import load_model, operation_names
from router.aws.service import Caller, Service, error_body
from router.aws.validate import read_input, violations_text
from router.catalog.api_destinations import ApiDestination
from router.catalog.catalog import Catalog
from router.catalog.connections import Fresh, New, created
from router.catalog.state import Changes
from router.errors import ApiError, SerializationException
from router.secrets import Secrets
from router.world import RealWorld
from tests.aws.model_walk import OPERATIONS
from tests.aws.mutations import CONNECTION, EVENTS, POLICY, RIGHT, request
from tests.aws.service import serving
from tests.connections import KEY
from tests.pipeline.hub import HERE, OTHER

MODEL = load_model("events", operation_names("events"))
BASIC = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
CALLERS = (Caller(HERE.account, HERE.region), Caller(OTHER.account, OTHER.region))
ROUNDS = 1000
"""How often each operation is called in `make test`."""
FRESH = 50
"""After this many rounds a new hub."""
DEEP_S = 600


def validate(operation: str, body: bytes) -> None:
    """What a service does with a body before it calls an operation."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return
    shape = MODEL.operations[operation].input
    assert shape is not None
    try:
        _, violations = read_input(MODEL, shape, data)
    except (SerializationException, RecursionError):
        return
    if violations:
        violations_text(MODEL, violations).encode("utf-8", "replace")


async def call(service: Service, operation: str, body: bytes, caller: Caller) -> str:
    """How it ended, as the HTTP server would tell: the error's code, or `ok`."""
    try:
        answer = await service.call(operation, body, caller)
    except ApiError as error:
        status, _, _ = error_body(error)
        if status < 500:
            return error.code
        raise
    except RecursionError:  # what the server calls a ValidationException
        return "RecursionError"
    if answer:
        json.loads(answer)
    return "ok"


async def prepare(catalog: Catalog) -> None:
    await catalog.create_bus(HERE, "orders")
    await catalog.put_rule(HERE, "orders", "r", created_by=HERE.account, event_pattern='{"source":["orders"]}')
    await catalog.put_policy(HERE, "orders", json.dumps(POLICY))
    new = New(location=HERE, name="kept", authorization_type="BASIC", auth=BASIC)
    secrets = Secrets([KEY], RealWorld())
    connection = created(new, Fresh(1, CONNECTION.rpartition("/")[2], "s-1", "suffix"), secrets)
    arn = f"{EVENTS}:api-destination/kept/u-1"
    destination = ApiDestination(
        name="kept",
        location=HERE,
        arn=arn,
        connection_arn=CONNECTION,
        invocation_endpoint="https://x.example/",
        http_method="POST",
        created_ms=1,
        modified_ms=1,
    )
    async with catalog.changing() as change:
        await change.commit(Changes(things=(connection, destination)))


async def play(seeds: range) -> Counter[tuple[str, str]]:
    """One hub's life; how calls ended, by operation."""
    ends: Counter[tuple[str, str]] = Counter()
    async with serving() as (hub, service):
        await prepare(hub.catalog)
        for seed in seeds:
            for operation in OPERATIONS:
                body = request(Random(seed), operation)
                try:
                    validate(operation, body)
                    if service.has(operation):
                        caller = CALLERS[seed % 4 == 0]
                        ends[operation, await call(service, operation, body, caller)] += 1
                except Exception as bug:
                    raise AssertionError(f"seed {seed}, {operation}: {body[:2000]!r}") from bug
    return ends


async def test_any_body_is_answered_or_refused() -> None:
    ends: Counter[tuple[str, str]] = Counter()
    for start in range(0, ROUNDS, FRESH):
        ends += await play(range(start, start + FRESH))
    for end in ("ok", "ValidationException", "SerializationException"):
        assert set(RIGHT) <= {operation for operation, ended in ends if ended == end}, end


@pytest.mark.deep
async def test_any_body_is_answered_or_refused_for_ten_minutes() -> None:
    end = time.monotonic() + DEEP_S
    while time.monotonic() < end:
        seed = SystemRandom().randrange(10**9)
        await play(range(seed, seed + FRESH))
