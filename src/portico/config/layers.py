"""The configuration that a command runs with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.config.checker import check
from portico.config.environment import with_defaults
from portico.config.file import ConfigFile
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.config.document import Document
    from portico.config.schema import Config
    from portico.config.section import Problem
    from portico.paths import Paths


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be used. `problems` are its warnings.

    `env` is the environment that `${VAR}` is resolved in: the process's own, then the configuration's.
    """

    config: Config
    document: Document
    file: ConfigFile
    problems: tuple[Problem, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


def load_config(paths: Paths, env: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and check the configuration; one that does not exist is empty.

    Raises:
        ConfigError: it cannot be read, or cannot be used as it stands (`config-invalid`, naming every error in it).
    """
    file = ConfigFile(paths.config, paths.locks)
    document = file.load()
    config, problems = check(document)
    refuse_errors(document.name, problems)
    merged = with_defaults(os.environ if env is None else env, config.env)
    return LoadedConfig(config, document, file, (*problems, *file.warnings()), merged)


def refuse_errors(name: str, problems: Sequence[Problem]) -> None:
    """Raise one ConfigError (`config-invalid`) for all errors among `problems`, if there are any."""
    errors = [problem for problem in problems if problem.level == "error"]
    if len(errors) == 1:
        raise ConfigError("config-invalid", errors[0].message, where=errors[0].where, hint=errors[0].hint)
    if errors:
        listed = "".join(f"\n  {error}" for error in errors)
        raise ConfigError("config-invalid", f"{len(errors)} errors in {name}:{listed}", hint="mend them and try again")
