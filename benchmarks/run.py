"""`make bench`: every benchmark, its figure and its goal. A miss is shown, never an error: figures are for reading."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

NAMES = (
    "size",
    "startup",
    "config",
    "auth_token",
    "sign_in",
    "refresh",
    "models",
    "usage",
    "gateway",
    "gateway_streams",
    "one_greedy_key",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; medians, commands taken in turns")
    for name in names or NAMES:
        print(f"\n{name}: {(import_module(name).__doc__ or '').splitlines()[0]}")
        try:
            figures = import_module(name).measure()
        except Exception as error:
            reason = _missing(error)
            if reason is None:
                raise
            print(f"  not measured: {reason}")
            continue
        print(*(f"  {figure}" for figure in figures), sep="\n")
    return 0


def _missing(error: Exception) -> str | None:
    """Why a benchmark cannot run here, where the machine lacks a part."""
    from portico.testing.secret_service import SecretServiceError

    return str(error) if isinstance(error, (SecretServiceError, ModuleNotFoundError)) else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
