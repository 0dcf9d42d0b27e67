"""What a test needs of the machine beyond Python, git and make: where it lacks, the test is skipped by that name."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import pytest


def needs(*programs: str) -> None:
    """Skip the test that calls this, or whose fixture does, unless every one of `programs` is on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")


class LateModule:
    """A module that is imported when something of it is used first. pytest looks at names with an underscore while it collects."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


def late(name: str, reason: str) -> Any:
    """The module `name`, imported at its first use: seconds for an SDK, which a worker that only collects does not need.

    Where it is not installed, the test module that calls this is skipped.
    """
    if importlib.util.find_spec(name) is None:
        pytest.skip(reason, allow_module_level=True)
    return LateModule(name)
