"""The way to a provider. The protocol is what the gateway needs of it; the class is that over aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from portico.models.http import BROKEN, answer_cut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    import aiohttp

    from portico.gateway.body import Buffer, Payload
    from portico.models.http import ModelHttp

# An answer that is not streamed may take a model minutes; Anthropic's own SDK waits as long (docs.claude.com/en/api/errors).
SILENCE_TIMEOUT_S: Final = 600.0
_SLICE: Final = 64 << 10


class UpstreamAnswer(Protocol):
    """An answer whose head has come. It is closed by whoever asked for it."""

    status: int
    content_type: str

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def has_body(self) -> bool:
        """Whether the request's body is not needed any more; an answer may begin before all of it was written."""
        ...

    def header_items(self) -> Iterable[tuple[str, str]]:
        """Every header as it came."""
        ...

    async def read(self, limit: int) -> tuple[bytes, bool]:
        """The body, or its first `limit` bytes and a bit; and whether that is all of it.

        Raises:
            NetworkError: it broke off.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, or what is left of it, in pieces as they come.

        Raises:
            NetworkError: it broke off.
        """
        ...

    def close(self) -> None:
        """Let go of it. What has not been read is not waited for."""
        ...


class Upstream(Protocol):
    """What sends requests to providers."""

    async def send(self, url: str, *, body: Payload, headers: Mapping[str, str]) -> UpstreamAnswer:
        """The answer to a POST of `body`, its own body still to come. No redirect is followed.

        Raises:
            NetworkError: none came.
            ConfigError: `endpoint-refused`: nothing may be sent to this URL.
        """
        ...


class Slices:
    """A large body in slices, each of which is made when the one before has been sent. `taken`: the last one was made."""

    def __init__(self, body: Iterable[Buffer]) -> None:
        self._body = body
        self.taken = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._body:
            view = memoryview(piece)
            for at in range(0, len(view), _SLICE):
                yield bytes(view[at : at + _SLICE])
        self.taken = True


class AiohttpUpstream:
    """`Upstream` over the client for model APIs."""

    def __init__(self, http: ModelHttp) -> None:
        self._http = http

    async def send(self, url: str, *, body: Payload, headers: Mapping[str, str]) -> UpstreamAnswer:
        if not isinstance(body, bytes):
            headers = {**headers, "content-length": str(sum(map(len, body)))}
        content = body if isinstance(body, bytes) else Slices(body)
        response = await self._http.post_bytes(url, body=content, headers=headers)
        return _Answer(self._http, response, url, content if isinstance(content, Slices) else None)


class _Answer:
    def __init__(self, http: ModelHttp, response: aiohttp.ClientResponse, url: str, content: Slices | None) -> None:
        self._content = content
        self._http = http
        self._response = response
        self._url = url
        self.status = response.status
        self.content_type = response.content_type if "Content-Type" in response.headers else ""

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def has_body(self) -> bool:
        return self._content is None or self._content.taken

    def header_items(self) -> Iterable[tuple[str, str]]:
        return self._response.headers.items()

    async def read(self, limit: int) -> tuple[bytes, bool]:
        return await self._http.read(self._response, limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except BROKEN as error:
            raise answer_cut(error, self._url) from None

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
