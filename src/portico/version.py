"""Portico's version, on a floor of its own: whoever names it must not load, or lean on, the whole package."""

from __future__ import annotations

__version__ = "0.7.0"
