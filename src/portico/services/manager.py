"""Which service manager this system has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from portico.services.launchd import Launchd
from portico.services.systemd import Systemd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.services.service import Manager


def service_manager(env: Mapping[str, str], platform: str = sys.platform) -> Manager | None:
    """The service manager of this system, whether it answers or not; None where Portico knows none."""
    if platform == "darwin":
        return Launchd(env)
    return Systemd(env) if platform.startswith("linux") else None
