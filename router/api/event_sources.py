"""Partner event sources: CreatePartnerEventSource, DeletePartnerEventSource, DescribePartnerEventSource,
ListPartnerEventSources and ListPartnerEventSourceAccounts for the partner; ActivateEventSource, DeactivateEventSource,
DescribeEventSource and ListEventSources for the account that it is for. Events come in `put_partner_events`.
"""

from typing import Any

from router.api.access import Access
from router.api.pages import page
from router.aws.service import Caller
from router.catalog.partners import PartnerSource, source_answer
from router.core.event import Location


async def create_partner_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    offer = await access.partners.offer(_here(caller), request["Name"], request["Account"])
    return {"EventSourceArn": offer.arn}


async def delete_partner_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.partners.withdraw(_here(caller), request["Name"], request["Account"])
    return {}


async def describe_partner_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return _offer_answer(access.partners.offer_of(_here(caller), request["Name"]))


async def list_partner_event_sources(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    known = {one.name: one for one in access.catalog.things.here(PartnerSource, _here(caller))}
    names, more = page(list(known), request, "ListPartnerEventSources", str(_here(caller)))
    return {"PartnerEventSources": [_offer_answer(known[name]) for name in names], **more}


async def list_partner_event_source_accounts(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    offer = access.partners.offer_of(_here(caller), request["EventSourceName"])
    known = {source.location.account: source for source in access.partners.sources_of(offer)}
    accounts, more = page(list(known), request, "ListPartnerEventSourceAccounts", offer.arn)
    shown = []
    for account in accounts:
        source = source_answer(known[account])
        shown.append({"Account": account, **{name: source[name] for name in _ACCOUNT_MEMBERS if name in source}})
    return {"PartnerEventSourceAccounts": shown, **more}


_ACCOUNT_MEMBERS = ("CreationTime", "ExpirationTime", "State")


async def activate_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.partners.activate(_here(caller), request["Name"])
    return {}


async def deactivate_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    await access.partners.deactivate(_here(caller), request["Name"])
    return {}


async def describe_event_source(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    return source_answer(access.partners.source(_here(caller), request["Name"]))


async def list_event_sources(access: Access, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    known = access.partners.sources(_here(caller))
    names, more = page(list(known), request, "ListEventSources", str(_here(caller)))
    return {"EventSources": [source_answer(known[name]) for name in names], **more}


def _here(caller: Caller) -> Location:
    return Location(caller.account, caller.region)


def _offer_answer(offer: PartnerSource) -> dict[str, Any]:
    return {"Arn": offer.arn, "Name": offer.name}
