"""`${VAR}` in values of the configuration: resolved when a value is used, never written back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE: Final = re.compile(r"(\$?)\$\{([A-Z_][A-Z0-9_]*)\}")


def resolve_variables(text: str, env: Mapping[str, str], *, where: str) -> str:
    """`text` with each `${VAR}` replaced from `env`; `$${VAR}` stands for a literal `${VAR}`. One pass, upper-case names only.

    Raises:
        ConfigError: a variable is unset or empty (`variable-unset`); `where` is what the message calls the value's place.
    """

    def resolve(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        if escaped:
            return found[0][1:]
        value = env.get(name)
        if value:
            return value
        raise ConfigError(
            "variable-unset",
            f"the environment variable {name} is not set",
            why=f"`{where}` refers to it",
            hint=f"set {name}, or put it into the configuration: `{{prog}} config set env.{name} -`",
        )

    return _REFERENCE.sub(resolve, text)


def is_reference(text: str) -> bool:
    """Whether `text` is one `${VAR}` and nothing else."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and not found[1]


def with_defaults(env: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`env` with the variables of a configuration's `env` section where it has none or an empty one."""
    return {**defaults, **{name: value for name, value in env.items() if value or name not in defaults}}
