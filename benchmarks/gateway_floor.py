"""The floor that the gateway is measured against: a plain aiohttp pass-through with no guard, no routing and no meter."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from aiohttp import web

DROPPED = {"host", "transfer-encoding", "content-length", "connection", "accept-encoding"}


async def main(upstream: str) -> None:
    """Pass every request on to `upstream`, and its answer back as it comes."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.content.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
            async with session.request(request.method, upstream + request.path_qs, data=body, headers=headers) as answer:
                passed = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
                response = web.StreamResponse(status=answer.status, headers=passed)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                await response.prepare(request)
                while chunk := await answer.content.readany():
                    await response.write(chunk)
                await response.write_eof()
            return response

        runner = web.ServerRunner(web.Server(handle, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
