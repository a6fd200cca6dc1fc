"""Logs Insights over 100,000 CloudTrail events in one log group: how long queries take, and what the hub notices.

    python -m loadtest.insights [--events 100000] [--runs 5]

Each query is timed from StartQuery to the answer that says Complete, asked for every 20 ms. Meanwhile another
connection asks the hub for its health every 5 ms: how long that takes shows how long the event loop stood still. Client
and hub share the machine. Reports medians, and writes them to loadtest/results/insights.json.
"""

import argparse
import asyncio
import contextlib
import json
import time
from typing import Any

from loadtest.client import Connection, request
from loadtest.hub import ACCOUNT, REGION, Hub
from loadtest.report import report

GROUP = "/aws/cloudtrail"
QUERIES = {
    "who_made_the_calls": "fields eventName, userIdentity.arn | stats count(*) as calls by userIdentity.arn, eventName"
    " | sort calls desc | limit 20",
    "refused_by_the_minute": "filter errorCode like /AccessDenied|Unauthorized/ and readOnly = 0"
    " | stats count(*), count_distinct(sourceIPAddress), pct(additionalEventData.bytesTransferredOut, 95) by bin(1m)",
    "latest_of_a_kind": "fields @timestamp, eventName, requestParameters.name, @message"
    " | filter eventSource = 'ssm.amazonaws.com' and eventName in ['GetParameter', 'PutParameter']"
    " | sort @timestamp desc | limit 100",
}
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
_BATCH = 500
_PROBE_S = 0.005
_POLL_S = 0.02


def record(number: int) -> str:
    """A CloudTrail record of about 1.4 KB."""
    names = (
        "GetParameter",
        "PutParameter",
        "DescribeInstances",
        "GetSecretValue",
        "AssumeRole",
        "ListBuckets",
        "Decrypt",
    )
    sources = ("ssm", "ssm", "ec2", "secretsmanager", "sts", "s3", "kms")
    kind = number * 7919 % len(names)
    user = f"user-{number * 104_729 % 500}"
    made: dict[str, Any] = {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROAEXAMPLE{number % 500:05d}:{user}",
            "arn": f"arn:aws:sts::111111111111:assumed-role/engineering/{user}",
            "accountId": "111111111111",
            "accessKeyId": f"ASIAEXAMPLE{number % 9000:05d}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLEROLE",
                    "arn": "arn:aws:iam::111111111111:role/engineering",
                    "accountId": "111111111111",
                    "userName": "engineering",
                },
                "attributes": {"creationDate": "2026-11-23T08:00:00Z", "mfaAuthenticated": "false"},
            },
        },
        "eventTime": "2026-11-23T10:00:00Z",
        "eventSource": f"{sources[kind]}.amazonaws.com",
        "eventName": names[kind],
        "awsRegion": "us-east-1",
        "sourceIPAddress": f"10.{number % 7}.{number % 251}.{number % 241}",
        "userAgent": "aws-cli/2.9.19 Python/3.9.11 Linux/5.10 exe/x86_64.amzn.2 prompt/off command/ssm.get-parameter",
        "requestParameters": {"name": f"/service/{number % 1000}/password", "withDecryption": True},
        "responseElements": {"tagSet": {"items": [{"key": "team", "value": f"team-{number % 20}"}]}},
        "additionalEventData": {"bytesTransferredOut": number % 4096, "SignatureVersion": "SigV4"},
        "requestID": f"56434200-17c5-45b9-9a2c-{number:012d}",
        "eventID": f"64572812-e7fc-4ae9-8b35-{number:012d}",
        "readOnly": kind not in (1, 4),
        "resources": [{"ARN": f"arn:aws:ssm:us-east-1:111111111111:parameter/{number % 1000}", "type": "parameter"}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111111111111",
        "eventCategory": "Management",
        "tlsDetails": {"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256"},
    }
    if number % 10 == 0:
        made |= {"errorCode": "AccessDenied", "errorMessage": f"User: {user} is not authorized to perform this"}
    return json.dumps(made, separators=(",", ":"))


async def call(connection: Connection, operation: str, **members: Any) -> Any:
    payload = request(f"Logs_20140328.{operation}", members, account=ACCOUNT, region=REGION, service="logs")
    status, body = await connection.send(payload)
    if status != 200:
        raise RuntimeError(f"{operation} failed: {status} {body[:300]!r}")
    return json.loads(body or b"{}")


async def fill(connection: Connection, events: int) -> tuple[int, int]:
    """Put the events; the first and last second of their times."""
    await call(connection, "CreateLogGroup", logGroupName=GROUP)
    await call(connection, "CreateLogStream", logGroupName=GROUP, logStreamName="one")
    end_ms = int(time.time() * 1000)
    start_ms = end_ms - 3_600_000
    for first in range(0, events, _BATCH):
        numbers = range(first, min(events, first + _BATCH))
        batch = [
            {"timestamp": start_ms + number * 3_600_000 // events, "message": record(number)} for number in numbers
        ]
        await call(connection, "PutLogEvents", logGroupName=GROUP, logStreamName="one", logEvents=batch)
    return start_ms // 1000, end_ms // 1000


async def probe(port: int, took: list[float]) -> None:
    """How long the health check takes, again and again, until cancelled."""
    connection = await Connection.open(port)
    while True:
        started = time.perf_counter()
        await connection.send(_HEALTH)
        took.append(time.perf_counter() - started)
        await asyncio.sleep(_PROBE_S)


async def ask(connection: Connection, port: int, text: str, times: tuple[int, int]) -> tuple[float, list[float], Any]:
    """Seconds of a query, the health checks meanwhile, and its answer."""
    took: list[float] = []
    probing = asyncio.get_running_loop().create_task(probe(port, took))
    started = time.perf_counter()
    start, end = times
    query = await call(connection, "StartQuery", logGroupName=GROUP, queryString=text, startTime=start, endTime=end)
    while True:
        answer = await call(connection, "GetQueryResults", queryId=query["queryId"])
        if answer["status"] not in ("Scheduled", "Running"):
            break
        await asyncio.sleep(_POLL_S)
    seconds = time.perf_counter() - started
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing
    if answer["status"] != "Complete":
        raise RuntimeError(f"the query ended as {answer['status']}: {answer['results']}")
    return seconds, took, answer


async def one_run(hub: Hub, connection: Connection, times: tuple[int, int], events: int) -> dict[str, float]:
    """Every query once: seconds, CPU seconds of the hub and of the query's process, the health checks meanwhile."""
    figures: dict[str, float] = {}
    for name, text in QUERIES.items():
        cpu, worker_cpu = hub.own_cpu_s(), hub.ended_children_cpu_s()
        seconds, took, answer = await ask(connection, hub.port, text, times)
        if answer["statistics"]["recordsScanned"] != events:
            raise RuntimeError(f"expected {events} events scanned, got {answer['statistics']}")
        took.sort()
        figures |= {
            f"{name}_s": round(seconds, 3),
            f"{name}_hub_cpu_s": round(hub.own_cpu_s() - cpu, 2),
            f"{name}_worker_cpu_s": round(hub.ended_children_cpu_s() - worker_cpu, 2),
            f"{name}_health_p99_ms": round(took[len(took) * 99 // 100] * 1000, 1),
            f"{name}_health_max_ms": round(took[-1] * 1000, 1),
            f"{name}_mb": round(answer["statistics"]["bytesScanned"] / 1e6, 1),
            f"{name}_rows": len(answer["results"]),
        }
    figures["hub_mb"] = round(hub.anonymous_mb(), 1)
    return figures


async def measured(hub: Hub, events: int, runs: int) -> list[dict[str, float]]:
    connection = await Connection.open(hub.port)
    times = await fill(connection, events)
    idle: list[float] = []
    probing = asyncio.get_running_loop().create_task(probe(hub.port, idle))
    await asyncio.sleep(2)
    probing.cancel()
    filled = {"filled_mb": round(hub.anonymous_mb(), 1), "idle_health_max_ms": round(max(idle) * 1000, 1)}
    found = [{**filled, **await one_run(hub, connection, times, events)} for _ in range(runs)]
    connection.close()
    return found


def main() -> None:
    """Run, print a table of medians, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=100_000, help="events in the log group (default 100000)")
    arguments.add_argument("--runs", type=int, default=5, help="how often each query is asked (default 5)")
    chosen = arguments.parse_args()
    with Hub({}) as hub:
        time.sleep(1.0)
        started = {"ready_s": round(hub.ready_s, 3), "idle_anonymous_mb": round(hub.anonymous_mb(), 1)}
        runs = asyncio.run(measured(hub, chosen.events, chosen.runs))
    for name in QUERIES:
        print(f"{name}: {min(run[f'{name}_s'] for run in runs)} s at best")
    report("insights", f"{chosen.events} events in one log group", [{**started, **run} for run in runs])


if __name__ == "__main__":
    main()
