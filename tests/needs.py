"""What a test needs of the machine beyond Python, git and make: where it lacks, the test is skipped by that name."""

from __future__ import annotations

import shutil

import pytest


def needs(*programs: str) -> None:
    """Skip the test that calls this, or whose fixture does, unless every one of `programs` is on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
