"""Sign in to a model provider once: Portico keeps the tokens in the OS keyring, and fresh, for all tools on this machine.

In a Python program: `portico.load_model("minimax-portal/MiniMax-M2.1")`. `portico.integrations` has clients of other SDKs.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would make `auth token` visibly slower
if TYPE_CHECKING:
    from portico.library.model import Model as Model
    from portico.library.model import Reply as Reply
    from portico.library.model import load_model as load_model
    from portico.version import __version__ as __version__

__all__ = ("Model", "Reply", "__version__", "load_model")


def __getattr__(name: str) -> object:
    if name == "load_model":
        from portico.library.model import load_model

        return load_model
    if name in {"Model", "Reply"}:
        from portico.library import model

        return getattr(model, name)
    if name == "__version__":
        from portico.version import __version__

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
