"""What the simulator's tests stand on: a world whose clock is set by hand, inboxes over a real store, callers."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.aws.service import Caller, Operation, Service
from router.simulator import logs, sqs
from router.simulator.housekeeping import Housekeeping
from router.simulator.inboxes import Inboxes
from router.simulator.records import Draft
from router.store.base import Batch
from router.store.lmdb import LmdbStore

CALLER = Caller("111111111111", "us-east-1")
QUEUE = "arn:aws:sqs:us-east-1:111111111111:orders"
URL = "http://hub/111111111111/orders"
FIFO = QUEUE + ".fifo"
FIFO_URL = URL + ".fifo"


class HandWorld:
    """A World whose time moves only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0
        self._ids = 0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def random(self) -> float:
        return 0.5

    def uuids(self, count: int) -> list[str]:
        self._ids += count
        return [f"00000000-0000-4000-8000-{self._ids - index:012d}" for index in range(count)]

    def token(self, size: int) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(size, "big")

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Bench:
    """Inboxes on a folder; `reopen` is a restart, after a crash unless `clean`."""

    def __init__(self, folder: Path, world: HandWorld, *, messages_max: int = 1_000_000) -> None:
        self.folder = folder
        self.world = world
        self.messages_max = messages_max
        self.open()

    def open(self) -> None:
        self.store = LmdbStore(
            self.folder, map_bytes_max=1 << 26, reserve_bytes=1 << 22, monotonic=self.world.monotonic
        )
        self.inboxes = Inboxes(self.store, self.world, messages_max=self.messages_max)
        self.inboxes.load()
        self.house = Housekeeping(self.inboxes, self.store, self.world)
        self._operations: dict[str, tuple[Operation, Service]] = {}
        for name, operations in (
            ("sqs", sqs.operations(self.inboxes, lambda: "http://hub")),
            ("logs", logs.operations(self.inboxes)),
        ):
            service = Service(name, operations)
            self._operations |= {operation: (call, service) for operation, call in operations.items()}

    async def reopen(self, *, clean: bool = False) -> None:
        if clean:
            await self.inboxes.close()
        await self.store.close()
        self.open()

    async def __call__(self, operation: str, *, caller: Caller = CALLER, **request: Any) -> dict[str, Any]:
        """Call an operation; its answer must be what the service's model allows."""
        call, service = self._operations[operation]
        async with asyncio.timeout(30):
            answer = await call(caller, request)
        service.write(operation, answer)
        return answer

    async def queue(self, name: str = "orders", **attributes: str) -> None:
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        await self("CreateQueue", QueueName=name, Attributes=attributes)

    async def deposit(self, *bodies: str, arn: str = QUEUE, **fields: Any) -> None:
        batch = Batch()
        self.inboxes.deposit_many(batch, arn, [Draft(body.encode(), **fields) for body in bodies])
        await self.store.commit(batch)

    async def send(self, *bodies: str, **fields: Any) -> None:
        for body in bodies:
            await self("SendMessage", **{"QueueUrl": URL, "MessageBody": body, **fields})

    async def receive(self, wanted: int = 10, **fields: Any) -> list[dict[str, Any]]:
        request = {"QueueUrl": URL, "MaxNumberOfMessages": wanted, "AttributeNames": ["All"], **fields}
        messages: list[dict[str, Any]] = (await self("ReceiveMessage", **request)).get("Messages", [])
        return messages

    async def bodies(self, wanted: int = 10, **fields: Any) -> list[str]:
        return [message["Body"] for message in await self.receive(wanted, **fields)]

    async def delete(self, message: Mapping[str, Any], url: str = URL) -> None:
        await self("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    async def counts(self, url: str = URL) -> tuple[int, int, int]:
        """Visible, in flight, delayed."""
        got = await self("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
        name = "ApproximateNumberOfMessages"
        have = got["Attributes"]
        return int(have[name]), int(have[name + "NotVisible"]), int(have[name + "Delayed"])
