"""Share the account fixture of the refresh tests."""

from __future__ import annotations

from tests.auth.conftest import account, clock

__all__ = ("account", "clock")
