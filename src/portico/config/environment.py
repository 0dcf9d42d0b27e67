"""`${VAR}` in values of the configuration: resolved when a value is used, never written back.

An `apiKey` and a header may also be the bare name of a variable, as OpenClaw's model library pi resolves them
(https://github.com/earendil-works/pi, packages/coding-agent/docs/models.md).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE: Final = re.compile(r"(\$?)\$\{([A-Z_][A-Z0-9_]*)\}")
# With an underscore, so that a key which is one word in capitals stays a key.
_BARE_NAME: Final = re.compile(r"(?=.*_)[A-Z][A-Z0-9_]*")


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


def named_variable(text: str) -> str | None:
    """The variable that `text` is the bare name of (`ACME_API_KEY`); None where it is anything else."""
    return text if _BARE_NAME.fullmatch(text) else None


def resolve_header(text: str, env: Mapping[str, str], *, where: str) -> str:
    """The value of a header: that of the variable which `text` names, if it is set; else as `resolve_variables`.

    Raises:
        ConfigError: `variable-unset`.
    """
    name = named_variable(text)
    return (env.get(name) if name is not None else None) or resolve_variables(text, env, where=where)


def is_reference(text: str) -> bool:
    """Whether `text` is one `${VAR}` and nothing else."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and not found[1]


def holds_reference(text: str) -> bool:
    """Whether there is a `${VAR}` in `text`."""
    return _REFERENCE.search(text) is not None


def with_defaults(env: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`env` with the variables of a configuration's `env` section where it has none or an empty one."""
    return {**defaults, **{name: value for name, value in env.items() if value or name not in defaults}}
