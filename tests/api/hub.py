"""The control plane behind AWS's wire: requests are checked against the model and answers written by it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from router.api.operations import operations
from router.aws.service import Caller, Service
from router.catalog.catalog import Catalog
from router.errors import ApiError
from tests.catalog.hub import HERE, OTHER, running

ME = Caller(HERE.account, HERE.region)
THEM = Caller(OTHER.account, OTHER.region)
ORGANIZATIONS = {OTHER.account: "o-1234567890"}


class Api:
    """Calls operations as a client would; `call` gives the answer, `refused` the code and text of a refusal."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._service = Service("events", operations(catalog, organization=ORGANIZATIONS.get))

    async def call(self, operation: str, caller: Caller = ME, **request: Any) -> Any:
        body = await self._service.call(operation, json.dumps(request).encode(), caller)
        return json.loads(body) if body else {}

    async def refused(self, operation: str, caller: Caller = ME, **request: Any) -> str:
        try:
            answer = await self.call(operation, caller, **request)
        except ApiError as error:
            return f"{error.code}: {error.message}"
        raise AssertionError(f"{operation} was accepted: {answer}")


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Api]:
    async with running(folder, **options) as catalog:
        yield Api(catalog)
