"""Builds everything in order, runs it in one task group, stops it in reverse order.

Start: store, inboxes, catalog, declared resources, templates, pipeline (recovering what was left), HTTP, queue sources,
schedules and replays. Stop (SIGTERM or Ctrl-C): queue sources, schedules, replays and HTTP intake, attempts in flight
within the drain limit, inboxes, store. A second signal does not wait. The port is opened last, so that whoever connects
finds a hub that is ready.
"""

import asyncio
import gc
import os
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import uvloop

from router import __version__, limits, log, secrets
from router.addresses import Policy
from router.api.hub import HubApi
from router.api.operations import operations
from router.api.put_events import PutEvents
from router.api.put_partner_events import PutPartnerEvents
from router.archive_rows import ArchiveRows
from router.archives import Archives
from router.aws.service import Service, Services
from router.aws.sigv4 import Authenticator, Key
from router.bus_log import BusLog
from router.catalog import quotas
from router.catalog.catalog import Catalog
from router.catalog.declared import Report
from router.catalog.model import Bus
from router.catalog.permissions import authorize_put_events
from router.config import ConfigError, Hub
from router.connections import Connections
from router.core.cloudtrail import Trail
from router.core.event import Event, Location
from router.core.policy import Decision, Principal
from router.dead_letters import DeadLetters
from router.declared_templates import DeclaredTemplates
from router.errors import ApiError
from router.global_endpoints import GlobalEndpoints
from router.locations import Locations
from router.metrics import Metrics
from router.partners import Partners
from router.pipeline import Pipeline
from router.planning import Settings
from router.scrape import StoreScrape
from router.secrets import Secrets, SecretsError
from router.simulator import logs, sqs
from router.simulator.housekeeping import Housekeeping
from router.simulator.inboxes import Inboxes
from router.simulator.insights.operations import Insights
from router.simulator.insights.queries import Queries
from router.simulator.profiles import Profiles
from router.simulator.queues import declare_queue
from router.sinks.api_destination import ApiDestinationSink
from router.sinks.base import Sink
from router.sinks.endpoints import Endpoints
from router.sinks.event_bus import EventBusSink
from router.sinks.http_client import Clients, HttpClient, UnusableCertificates, trusting
from router.sinks.inbox import inbox_sinks
from router.sinks.lambda_ import LambdaSink
from router.sinks.logs import LogsSink
from router.sinks.sns import SnsSink
from router.sinks.sqs import SqsSink
from router.sinks.table import SinkTable
from router.sources.http import HttpServer
from router.sources.intake import Intake
from router.sources.replay import Replays
from router.sources.schedule import Schedules
from router.sources.sqs import SqsSource
from router.stacks import Stacks
from router.store.base import StoreError
from router.store.lmdb import FolderInUse, LmdbStore
from router.store.usage import disk_bytes_free
from router.tokens import Tokens
from router.trace import Trace
from router.trace_tree import TraceTree
from router.world import RealWorld

_LAG_INTERVAL_S = 0.5
_SWEEP_INTERVAL_S = 60.0
_SAME_SIGNAL_S = 1.0  # a terminal and what runs the hub may both pass on one Ctrl-C


class StartFailed(Exception):
    """The hub cannot start; the text says why and what to do."""


def run(hub: Hub) -> None:
    """Run until SIGTERM or SIGINT. Raises StartFailed."""
    last_lines = log.start()
    try:
        uvloop.run(_run(hub, last_lines))
    except BaseExceptionGroup as group:
        failed = group.subgroup(StartFailed)  # what fails beside running tasks comes in a group
        if failed is None:
            raise
        raise StartFailed(str(_first(failed))) from group
    finally:
        last_lines()


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _run(hub: Hub, last_lines: Callable[[], None]) -> None:
    stop = anyio.Event()
    loop = asyncio.get_running_loop()
    first = loop.time()

    def stopping(number: signal.Signals) -> None:
        nonlocal first
        if not stop.is_set():
            log.info("hub.stopping", signal=number.name)
            first = loop.time()
            stop.set()
        elif loop.time() - first > _SAME_SIGNAL_S:
            log.warning("hub.aborted", signal=number.name)
            last_lines()
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping, number)
    async with running(hub):
        await stop.wait()
    log.info("hub.stopped")


def check(hub: Hub) -> None:
    """Whether everything that the hub file declares can be, tried out in a folder that is then thrown away. Raises
    StartFailed."""

    async def load(folder: str) -> None:
        tried = msgspec.structs.replace(hub, data_folder=folder)
        world, metrics = RealWorld(), Metrics()
        store = _open_store(tried, world, metrics)
        try:
            await _Parts(tried, world, metrics, store).load()
        finally:
            await store.close()

    with tempfile.TemporaryDirectory(prefix="crossbus-check-") as folder:
        asyncio.run(load(folder))


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[HttpServer]:
    """A hub that runs while the context lasts. Raises StartFailed."""
    world = RealWorld()
    started = world.monotonic()
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        store = _open_store(hub, world, metrics)
        stack.push_async_callback(store.close)
        parts = _Parts(hub, world, metrics, store)
        await parts.load()
        stack.push_async_callback(parts.close)
        # What is configured stays: with ten thousand rules, looking through it for garbage takes 115 ms.
        gc.collect()
        gc.freeze()
        # What a request makes is gone with it, and hardly any of it is in cycles: looked through ten times less often.
        gc.set_threshold(10_000, 20, 20)
        await stack.enter_async_context(parts.delivering())
        port = await _listen(hub, parts.http)
        stack.push_async_callback(parts.http.close)
        await stack.enter_async_context(parts.receiving())
        log.info(
            "hub.ready",
            url=f"http://{hub.listen.host}:{port}",
            port=port,
            version=__version__,
            auth=hub.auth.mode,
            durability=hub.store.durability,
            pending=parts.pipeline.lanes.pending,
            seconds=round(world.monotonic() - started, 3),
        )
        yield parts.http
        parts.stop_intake()


def _open_store(hub: Hub, world: RealWorld, metrics: Metrics) -> LmdbStore:
    try:
        return LmdbStore(
            Path(hub.data_folder),
            map_bytes_max=hub.store.bytes_max,
            reserve_bytes=limits.STORE_RESERVE_BYTES,
            monotonic=world.monotonic,
            observer=metrics,
            sync=hub.store.durability == "fsync",
        )
    except (FolderInUse, StoreError) as error:
        raise StartFailed(str(error)) from error


async def _listen(hub: Hub, http: HttpServer) -> int:
    try:
        return await http.start(hub.listen.host, hub.listen.port)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {hub.listen.host}:{hub.listen.port}: {error.strerror or error}. If another program has "
            "the port, stop it or set another one (`listen.port` in the hub file, or --port)"
        ) from error


def _trusted(hub: Hub) -> ssl.SSLContext:
    try:
        return trusting(hub.tls.ca_file)
    except UnusableCertificates as error:
        raise StartFailed(f"{error} - at `$.tls.ca_file`") from error


def _secrets(hub: Hub, world: RealWorld) -> Secrets:
    try:
        return secrets.load(os.environ, hub.secrets.key_file, Path(hub.data_folder), world)
    except SecretsError as error:
        raise StartFailed(str(error)) from error


def _tell_declared(report: Report) -> None:
    if report.created or report.updated or report.removed:
        log.info(
            "catalog.declared", created=len(report.created), updated=len(report.updated), removed=len(report.removed)
        )


class _Parts:
    """The hub's parts, built in the order of their needs."""

    def __init__(self, hub: Hub, world: RealWorld, metrics: Metrics, store: LmdbStore) -> None:
        self._hub = hub
        self._world = world
        self._store = store
        self._metrics = metrics
        self._locations = Locations(hub.locations(), open_to_all=hub.auth.mode == "none")
        self.inboxes = Inboxes(store, world, messages_max=hub.inboxes.messages_max)
        self._queries = Queries(self.inboxes)
        tls = _trusted(hub)
        self._client = HttpClient(tls=tls)
        # Long polls hold their connections: they must not use up those that sinks need.
        self._source_client = HttpClient(connections_max=0, connections_per_host_max=0, tls=tls)
        policy = Policy(loopback=hub.auth.mode == "none", allow=tuple(hub.destinations.networks()))
        self._clients = Clients(named=self._client, guarded=HttpClient(policy=policy, tls=tls))
        self._sources: list[SqsSource] = []
        endpoints = Endpoints(hub.endpoints, client=self._client, world=world)

        def logs_leave(location: Location) -> bool:
            return endpoints.has("logs", location.account, location.region)

        self.catalog = Catalog(
            store,
            world,
            quotas=quotas.named(hub.quotas),
            location_exists=self._locations.__contains__,
            api_destination_exists=lambda arn: self.connections.exists(arn),
            cross_region_targets=hub.cross_region_targets == "allow",
            logs_leave=logs_leave,
        )
        self.archives = Archives(self.catalog, ArchiveRows(store, metrics), world)
        self.connections = Connections(self.catalog, _secrets(hub, world), world, policy=policy)
        self._tokens = Tokens(self.connections, self._clients, world)
        self._trace = Trace(
            store,
            world,
            age_s_max=hub.trace.age_s_max,
            bytes_max=min(hub.trace.bytes_max, hub.store.bytes_max // limits.TRACE_STORE_SHARE),
        )
        self._dead_letters = DeadLetters(
            store,
            self.inboxes,
            world,
            is_real_queue=lambda arn: self._sinks.is_real("sqs", arn),
            age_s_max=hub.dead_letters.age_s_max,
            count_max=hub.dead_letters.count_max,
            trace=self._trace,
        )
        event_bus = EventBusSink(
            find_bus=self.catalog.bus,
            allowed=self._may_hop,
            plan=lambda *args: self.pipeline.planner.plan(*args),
            world=world,
        )
        self._profiles = Profiles(hub.profiles, world=world, metrics=metrics)
        real: list[Sink] = [SqsSink(endpoints), SnsSink(endpoints), LogsSink(endpoints), LambdaSink(endpoints)]
        self._sinks = SinkTable(
            direct={
                "event_bus": event_bus,
                "api_destination": ApiDestinationSink(
                    self.connections, self._tokens, clients=self._clients, world=world
                ),
            },
            inboxes=inbox_sinks(self.inboxes),
            real={sink.kind: sink for sink in real},
            has_endpoint=endpoints.has,
            profiles=self._profiles,
        )
        self.pipeline = Pipeline(
            store=store,
            catalog=self.catalog,
            sinks=self._sinks,
            dead_letters=self._dead_letters,
            world=world,
            metrics=metrics,
            settings=Settings(
                refuse_unknown_bus=hub.unknown_bus == "refuse",
                read_only_by_flag=hub.read_only_management_events == "flag",
            ),
            trace=self._trace,
            paces=hub.paces(),
            archive=self.archives.rows,
            bus_log=BusLog(self.catalog, self.inboxes, metrics, logs_leave=logs_leave),
        )
        self.replays = Replays(
            catalog=self.catalog,
            store=store,
            rows=self.archives.rows,
            accept=self.pipeline.accept,
            pending=lambda: self.pipeline.lanes.pending,
            world=world,
            metrics=metrics,
            pending_max=hub.replays.pending_max,
        )
        self.stacks = Stacks(store)
        self.intake = Intake(
            pipeline=self.pipeline,
            find_bus=self.catalog.bus,
            authorize=self._may_put,
            trails=self._trails(),
            world=world,
            metrics=metrics,
            put_events_bytes_max=hub.put_events_bytes_max,
        )
        self.schedules = Schedules(
            catalog=self.catalog,
            store=store,
            accept=self.pipeline.accept,
            world=world,
            metrics=metrics,
            late_s_max=hub.schedules.late_s_max,
        )
        self.http = self._server()
        self._gauges()

    def _server(self) -> HttpServer:
        put_events = PutEvents(
            self.intake, lambda body: eventbridge.read("PutEvents", body), GlobalEndpoints(self.catalog).by_id
        )
        control = operations(
            self.catalog,
            organization=self._hub.organization,
            archives=self.archives,
            replays=self.replays,
            connections=self.connections,
        )
        control["PutPartnerEvents"] = PutPartnerEvents(
            Partners(self.catalog), self.pipeline, self._world, self._metrics
        )
        eventbridge = Service("events", control, {"PutEvents": put_events})
        insights = Insights(self.inboxes, self._queries, lambda name, body: simulated_logs.read(name, body))
        simulated_logs = Service(
            "logs", {**logs.operations(self.inboxes), **insights.actions()}, insights.raw_actions()
        )
        services = [
            eventbridge,
            Service("sqs", sqs.operations(self.inboxes, lambda: self.http.base_url())),
            simulated_logs,
        ]
        self._templates = DeclaredTemplates(
            self._hub.templates, self.stacks, {service.name: service for service in services}
        )
        keys = {
            key.access_key_id: Key(key.secret_access_key, key.account, key.admin, key.session_token, key.principal)
            for key in self._hub.auth.keys
        }
        return HttpServer(
            services=Services(services),
            authenticator=Authenticator(self._hub.auth.mode, default_account=self._hub.auth.default_account, keys=keys),
            intake=self.intake,
            hub_api=HubApi(
                inboxes=self.inboxes,
                dead_letters=self._dead_letters,
                pipeline=self.pipeline,
                catalog=self.catalog,
                traces=TraceTree(
                    store=self._store,
                    trace=self._trace,
                    lanes=self.pipeline.lanes,
                    dead_letters=self._dead_letters,
                    target_arn=self._target_arn,
                ),
                schedules=self.schedules,
                stacks=self.stacks,
                profiles=self._profiles,
                state=self._state,
                default_location=next(self._hub.locations()),
            ),
            metrics=self._metrics,
            world=self._world,
            failure=self._store.failure,
            open_location=self._locations.use,
            aws_events=self._hub.aws_events,
        )

    def _state(self) -> dict[str, object]:
        return {
            "durability": self._hub.store.durability,
            "store_failure": self._store.failure(),
            "store_bytes": self._store.bytes_used(),
            "locations": len(self._locations),
            "sqs_sources": [
                {"queue": source.name, "ok": source.state.ok, "error": source.state.error} for source in self._sources
            ],
        }

    def _gauges(self) -> None:
        lanes, folder = self.pipeline.lanes, self._hub.data_folder
        gauge = self._metrics.gauge
        gauge("deliveries_pending", "Deliveries accepted and not settled.", lambda: lanes.pending)
        scrape = StoreScrape(self._store, lanes, now_ms=self._world.now_ms)
        self._metrics.before_scrape(scrape.look)
        origin_gauge = self._metrics.origin_gauge
        origin_gauge("deliveries_parked", "Deliveries waiting on disk for their next attempt.", self.pipeline.parked)
        origin_gauge("oldest_delivery_age_seconds", "Age of the oldest pending delivery.", lambda: scrape.ages_s)
        gauge("deliveries_unaccounted", "Pending in memory and not on disk.", lambda: scrape.unaccounted)
        gauge("deliveries_in_memory_bytes", "Bytes of event bodies held in memory.", lambda: lanes.bytes_in_memory)
        gauge(
            "attempts_in_flight",
            "Attempts being made now, or whose outcome is not on disk yet.",
            lambda: self.pipeline.in_flight,
        )
        gauge("targets_probed", "Targets that keep failing and get one call at a time.", self.pipeline.probed)
        gauge("dead_letters_kept", "Dead letters that no queue took.", lambda: self._dead_letters.count)
        gauge("archive_events", "Events in archives.", lambda: self.archives.rows.events)
        gauge("archive_bytes", "Bytes of events in archives, as AWS counts them.", lambda: self.archives.rows.size)
        gauge("replays_active", "Replays that have not ended.", lambda: self.replays.running)
        gauge("trace_bytes", "Bytes of the store that the trace takes, about.", lambda: self._trace.bytes)
        gauge("store_bytes", "Bytes of the store's file that were ever in use.", self._store.bytes_used)
        gauge("store_bytes_in_use", "Bytes of the store's file that its tables take.", lambda: scrape.bytes_in_use)
        gauge("store_disk_bytes_free", "Bytes free on the data folder's disk.", lambda: disk_bytes_free(folder))
        gauge("ready", "1 while events can be taken.", lambda: self._store.failure() is None)
        gauge("store_bytes_max", "Bytes that the store may use.", lambda: self._hub.store.bytes_max)
        gauge("connections", "Connections to the hub's port.", lambda: self.http.connections)
        gauge("schedules", "Rules with a schedule.", lambda: self.schedules.count)
        gauge("insights_queries", "Logs Insights queries scheduled or running.", lambda: self._queries.active)
        gauge("locations", "Locations that the hub hosts.", lambda: len(self._locations))

    def _trails(self) -> Callable[[Location], Sequence[Trail]]:
        known: dict[Location, list[Trail]] = {}

        def trails(location: Location) -> Sequence[Trail]:
            found = known.get(location)
            if found is None:
                found = known[location] = self._hub.trails_of(location)
            return found

        return trails

    def _target_arn(self, rule_arn: str, target_id: str) -> str | None:
        target = self.catalog.target(rule_arn, target_id)
        return target.arn if target else None

    def _may_hop(self, sender: Principal, bus: Bus, event: Event, rule_arn: str) -> bool:
        decision = authorize_put_events(
            self.catalog,
            sender,
            bus,
            source=event.source,
            detail_type=event.detail_type,
            org_id=self._hub.organization(sender.account),
            via_rule_arn=rule_arn,
        )
        return decision is Decision.ALLOW

    def _may_put(self, caller: Principal, bus: Bus, source: str | None, detail_type: str | None) -> Decision:
        return authorize_put_events(
            self.catalog,
            caller,
            bus,
            source=source,
            detail_type=detail_type,
            org_id=self._hub.organization(caller.account),
            via_rule_arn=None,
        )

    async def load(self) -> None:
        """What is on disk, then what the hub file declares. Raises StartFailed."""
        try:
            self.inboxes.load()
            self.catalog.load()
            self._dead_letters.load()
            for resources in self._hub.resources:
                for queue in resources.queues:
                    location = Location(resources.account, resources.region)
                    await declare_queue(self.inboxes, location, queue.queue_name, queue.attributes, {})
            self.archives.load()
            await self.connections.load()
            # Before the rules, whose targets name them.
            _tell_declared(await self.connections.declare(self._hub.resources))
            _tell_declared(await self.catalog.declare(self._hub.resources))
            await self.archives.declare(self._hub.resources)
            await self._templates.deploy()
            self.catalog.prepare()
            self.schedules.load()
        except (StoreError, ConfigError, SecretsError) as error:
            raise StartFailed(str(error)) from error
        except ApiError as error:
            raise StartFailed(f"the hub file declares what cannot be: {error.code}: {error.message}") from error

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliveries run while the context lasts; at its end those in flight may finish."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.pipeline.run)
            self.pipeline.recover()
            tasks.start_soon(self._watch_lag)
            tasks.start_soon(self._sweep)
            tasks.start_soon(self._trace.run)
            tasks.start_soon(self.archives.run)
            tasks.start_soon(self.catalog.keep_merged)
            tasks.start_soon(self._tokens.run)
            tasks.start_soon(Housekeeping(self.inboxes, self._store, self._world).run)
            tasks.start_soon(self._queries.run)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self.pipeline.drain(self._hub.drain_s_max)
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Queue sources, schedules and replays run while the context lasts."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.schedules.run)
            tasks.start_soon(self.replays.run)
            for source in self._hub.sqs_sources:
                counters = self._metrics.queue_source(source.queue_url)
                running = SqsSource(
                    source,
                    intake=self.intake,
                    client=self._source_client,
                    world=self._world,
                    counters=counters,
                    failure=self._store.failure,
                )
                self._sources.append(running)
                tasks.start_soon(running.run)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    def stop_intake(self) -> None:
        """New requests are refused, and long polls answer with what there is."""
        self.http.stop_intake()
        self.inboxes.stop()

    async def close(self) -> None:
        try:
            await self.inboxes.close()
        except StoreError as error:  # the next start counts the messages itself
            log.warning("inboxes.not_counted", error=str(error))
        await self._client.close()
        await self._clients.guarded.close()
        await self._source_client.close()

    async def _watch_lag(self) -> None:
        """How late the loop runs a timer, until cancelled."""
        while True:
            before = self._world.monotonic()
            await anyio.sleep(_LAG_INTERVAL_S)
            self._metrics.loop_lag_s.observe(max(0.0, self._world.monotonic() - before - _LAG_INTERVAL_S))

    async def _sweep(self) -> None:
        """Old dead letters go, until cancelled."""
        while True:
            try:
                while gone := await self._dead_letters.sweep():
                    self._metrics.dead_letters_expired += gone
            except StoreError as error:
                log.warning("dead_letters.sweep_failed", error=str(error))
            await anyio.sleep(_SWEEP_INTERVAL_S)
