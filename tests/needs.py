"""What a test needs of the machine beyond Python, git and make: where it lacks, the test is skipped by that name."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def needs(*programs: str) -> None:
    """Skip the test that calls this, or whose fixture does, unless every one of `programs` is on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")


def late(name: str, reason: str) -> ModuleType:
    """The module `name`, imported when something of it is used first: two seconds for the SDKs, in each worker that only collects.

    Where it is not installed, the test module that calls this is skipped.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        pytest.skip(reason, allow_module_level=True)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
