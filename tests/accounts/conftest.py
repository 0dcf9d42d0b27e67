"""The account of the tests of refresh is the one that is signed out here."""

from __future__ import annotations

from tests.auth.conftest import account, clock

__all__ = ("account", "clock")
