"""CreateArchive, UpdateArchive, DescribeArchive, ListArchives, DeleteArchive."""

from typing import Any

from router.api.access import Access
from router.api.pages import only_filter, page
from router.archives import Archives
from router.aws.service import Caller
from router.catalog import buses
from router.catalog.archives import Archive, source_bus
from router.core.event import Location
from router.errors import ValidationException


async def create_archive(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    _check_key(request)
    archive = await access.archives.create(
        Location(caller.account, caller.region),
        request["ArchiveName"],
        source_arn=request["EventSourceArn"],
        description=request.get("Description"),
        event_pattern=request.get("EventPattern"),
        retention_days=request.get("RetentionDays") or 0,
    )
    return _short(access.archives, archive)


async def update_archive(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    _check_key(request)
    archive = await access.archives.update(
        Location(caller.account, caller.region),
        request["ArchiveName"],
        description=request.get("Description"),
        event_pattern=request.get("EventPattern"),
        retention_days=request.get("RetentionDays"),
    )
    return _short(access.archives, archive)


async def describe_archive(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    archive = access.archives.get(Location(caller.account, caller.region), request["ArchiveName"])
    more = {
        "ArchiveArn": archive.arn,
        "Description": archive.description,
        "EventPattern": archive.event_pattern,
    }
    return {
        **_item(access.archives, archive),
        **{name: value for name, value in more.items() if value is not None},
    }


async def list_archives(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    here = Location(caller.account, caller.region)
    archives = access.archives
    chosen = only_filter(request, "ListArchives")
    source, state = request.get("EventSourceArn"), request.get("State")
    names = archives.names(here)
    if source is not None:
        bus = source_bus(source, here)
        if access.catalog.bus(here, bus) is None:
            raise buses.not_found(bus)
        names = [name for name in names if archives.get(here, name).bus == bus]
    elif state is not None:
        names = [name for name in names if archives.state(archives.get(here, name)) == state]
    found, more = page(names, request, "ListArchives", str(here), chosen)
    return {"Archives": [_item(archives, archives.get(here, name)) for name in found], **more}


async def delete_archive(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.archives.delete(Location(caller.account, caller.region), request["ArchiveName"])
    return {}


def _check_key(request: dict[str, Any]) -> None:
    if request.get("KmsKeyIdentifier"):
        raise ValidationException(
            "Parameter KmsKeyIdentifier is not valid. Reason: this hub does not encrypt archives with customer keys."
        )


def _short(archives: Archives, archive: Archive) -> dict[str, Any]:
    return {"ArchiveArn": archive.arn, "State": archives.state(archive), "CreationTime": archive.created_ms}


def _item(archives: Archives, archive: Archive) -> dict[str, Any]:
    totals = archives.totals(archive)
    return {
        "ArchiveName": archive.name,
        "EventSourceArn": archive.bus_arn,
        "State": archives.state(archive),
        "RetentionDays": archive.retention_days,
        "SizeBytes": totals.size,
        "EventCount": totals.events,
        "CreationTime": archive.created_ms,
    }
