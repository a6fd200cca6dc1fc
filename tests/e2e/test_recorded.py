"""Deliveries recorded on AWS, played again over boto3 against a hub process; what arrives must fit to the letter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hub import HubProcess
from tests.e2e.queue_server import ACCOUNT as SERVERS_ACCOUNT
from tests.e2e.queue_server import QueueServer
from tests.e2e.recorded import PLAYS, SCHEDULED, Scene
from tests.recorded import CASES, check, name_of
from tests.shared import needs_shared

DELIVERED = [case for case in CASES if name_of(case) in PLAYS]
_KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "none-that-counts"}


@pytest.fixture(scope="module")
def servers() -> Iterator[QueueServer]:
    with QueueServer() as running:
        yield running


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, servers: QueueServer) -> Iterator[HubProcess]:
    topics = {"service": "sns", "url": servers.url, "account": SERVERS_ACCOUNT, "credentials": _KEYS}
    settings = {"aws_events": True, "endpoints": [topics], "put_events_bytes_max": 256 * 1024}
    with HubProcess(tmp_path_factory.mktemp("recorded"), settings) as running:
        yield running


@needs_shared
@pytest.mark.parametrize("case", DELIVERED)
def test_deliveries_fit_what_was_recorded_on_aws(hub: HubProcess, servers: QueueServer, case: str) -> None:
    number = DELIVERED.index(case)
    account = SERVERS_ACCOUNT if "target_sns" in case else str(4 * 10**11 + number)
    scene = Scene(hub, servers, account, str(5 * 10**11 + number), case)
    assert check(case, PLAYS[name_of(case)](scene), account=account)


@needs_shared
@pytest.mark.parametrize("case", [case for case in CASES if name_of(case) in SCHEDULED])
def test_fires_of_schedules_fit_what_was_recorded_on_aws(tmp_path: Path, case: str) -> None:
    assert check(case, SCHEDULED[name_of(case)](tmp_path))
