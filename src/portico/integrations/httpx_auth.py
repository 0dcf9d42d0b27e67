"""A model's credential as an `httpx.Auth`: for the SDKs here, and for any client that is built on what they are built on.

Newer SDKs are built on httpx2, older ones on httpx, which has the same interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

try:
    import httpx2 as httpx
except ModuleNotFoundError:
    import httpx  # type: ignore[import-not-found,no-redef]

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from portico.library.model import Credential, Model

_UNAUTHORIZED: Final = 401
# SDKs add what they find in the environment; what is meant for their maker's servers goes to no other.
_FOREIGN: Final = ("authorization", "x-api-key", "openai-organization", "openai-project")


class PorticoAuth(httpx.Auth):
    """Puts `model`'s credential into every request to its API, and refuses every other host.

    Use it with a client that follows no redirect.
    """

    requires_request_body = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self._origins = {_origin(httpx.URL(base)) for base in model.bases.values()}

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._check(request)
        request.read()
        credential = self._model.credential()
        response = yield self._with(request, credential)
        if response.status_code == _UNAUTHORIZED and credential.generation is not None:
            yield self._with(request, self._model.credential(rejected=credential))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._check(request)
        await request.aread()
        credential = await self._model.acredential()
        response = yield self._with(request, credential)
        if response.status_code == _UNAUTHORIZED and credential.generation is not None:
            yield self._with(request, await self._model.acredential(rejected=credential))

    def _check(self, request: httpx.Request) -> None:
        if _origin(request.url) not in self._origins:
            known = ", ".join(sorted(str(origin.host) for origin in self._origins))
            raise UsageError("wrong-host", f"{request.url.host} is not where {self._model.reference} is served.", why=known)

    def _with(self, request: httpx.Request, credential: Credential) -> httpx.Request:
        for name in _FOREIGN:
            request.headers.pop(name, None)
        request.headers.update(self._model.headers_with(credential))
        return request


def _origin(url: httpx.URL) -> httpx.URL:
    return httpx.URL(scheme=url.scheme, host=url.host, port=url.port)
