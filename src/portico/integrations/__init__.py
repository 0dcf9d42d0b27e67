"""Clients of the `anthropic` and `openai` SDKs that use a model of Portico.

    from portico.integrations import anthropic_client

    client = anthropic_client("minimax-portal/MiniMax-M2.1")
    client.messages.create(model=client.model.name, max_tokens=100, messages=[{"role": "user", "content": "Hello"}])

Each request has a valid token; if the server rejects it, the request is sent again once with a new token. An SDK is imported on
first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portico.integrations.httpx_auth import PorticoAuth as PorticoAuth
    from portico.integrations.sdks import anthropic_client as anthropic_client
    from portico.integrations.sdks import async_anthropic_client as async_anthropic_client
    from portico.integrations.sdks import async_openai_client as async_openai_client
    from portico.integrations.sdks import openai_client as openai_client

__all__ = ("PorticoAuth", "anthropic_client", "async_anthropic_client", "async_openai_client", "openai_client")

_MODULES = {
    "PorticoAuth": "httpx_auth",
    "anthropic_client": "sdks",
    "async_anthropic_client": "sdks",
    "openai_client": "sdks",
    "async_openai_client": "sdks",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
