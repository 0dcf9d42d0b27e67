"""How gateway keys share one gateway: requests at once, and memory for the bodies of requests.

A key may take more of either as long as it then has no more than is left for all others. So one busy key gets half, two get a
third each, and however many keys ask for too much, some is left for the next one. Routers divide their buffers by this rule
(Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking
6(2), 1998).
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Connections that are never taken by requests: for `/health`, for stopping, and for those that are turned away.
_SPARE: Final = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """`requests` at once and `body_bytes` in memory, of all keys together.

    `wait_s`: seconds that a body waits for memory; `waiting`: how many of one key do so, as each has a beginning that has come.

    Seconds for a body: `silence_s` between two pieces; `grace_s`, and for every `rate` bytes that have come one more, but no more
    than `longest_s`, for all of it. Apache's mod_reqtimeout measures bodies in the same way.
    """

    requests: int = 2000
    body_bytes: int = 256 << 20
    wait_s: float = 2.0
    waiting: int = 32
    silence_s: float = 10.0
    grace_s: float = 30.0
    rate: int = 16 << 10
    longest_s: float = 300.0

    def seconds_for(self, received: int) -> float:
        """Seconds that a body may have taken of which so many bytes have come."""
        return min(self.longest_s, self.grace_s + received / self.rate)


def requests_within(connections: int) -> int:
    """How many requests may be under way on so many connections."""
    return max(1, connections - min(_SPARE, max(1, connections // 4)))


class ShareUsed(Exception):
    """A key has its share of `what`: `requests` or `memory`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Key:
    """What one key has now. `turn` is held by the request whose body is being read through: one at a time for each key."""

    requests: int = 0
    body_bytes: int = 0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shares:
    """What is taken, in all and by each key. For one event loop. A key that has nothing under way is not remembered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.body_bytes = 0
        self._keys: dict[str, _Key] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def request(self, client: str) -> Iterator[Lease]:
        """A place for one request of the key named `client`, for as long as the block runs.

        Raises:
            ShareUsed: the key has its share of places.
        """
        key = self._keys.get(client) or _Key()
        if key.requests + 1 > self.limits.requests - self.requests - 1 and self.requests:
            raise ShareUsed("requests")
        self._keys[client] = key
        self.requests += 1
        key.requests += 1
        lease = Lease(self, key)
        try:
            yield lease
        finally:
            lease.free()
            self.requests -= 1
            key.requests -= 1
            if not key.requests:
                del self._keys[client]

    def take(self, key: _Key, amount: int) -> bool:
        """Count `amount` bytes more for `key`, if that is within its share."""
        if key.body_bytes + amount > self.limits.body_bytes - self.body_bytes - amount:
            return False
        key.body_bytes += amount
        self.body_bytes += amount
        return True

    def give_back(self, key: _Key, amount: int) -> None:
        """Count `amount` bytes less, and let those that wait for memory look again."""
        key.body_bytes -= amount
        self.body_bytes -= amount
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def freed(self) -> None:
        """Return once some memory has been given back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


class Lease:
    """What one request has of its key's share. `turn` is for reading its body through."""

    def __init__(self, shares: Shares, key: _Key) -> None:
        self._shares = shares
        self._key = key
        self._amount = 0
        self.limits = shares.limits
        self.turn = key.turn

    async def hold(self, amount: int) -> None:
        """Count `amount` bytes more in memory, waiting for others to be freed for as long as the limits say.

        Raises:
            ShareUsed: none were.
        """
        if amount <= 0:
            return
        if not self._shares.take(self._key, amount):
            await self._taken_later(amount)
        self._amount += amount

    async def _taken_later(self, amount: int) -> None:
        if self._key.waiting >= self.limits.waiting:
            raise ShareUsed("memory")
        self._key.waiting += 1
        try:
            async with asyncio.timeout(self.limits.wait_s):
                while not self._shares.take(self._key, amount):
                    await self._shares.freed()
        except TimeoutError:
            raise ShareUsed("memory") from None
        finally:
            self._key.waiting -= 1

    def free(self) -> None:
        """The bytes are not in memory any more."""
        amount, self._amount = self._amount, 0
        if amount:
            self._shares.give_back(self._key, amount)
