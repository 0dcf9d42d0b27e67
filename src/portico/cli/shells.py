"""Lines that set variables, as each shell takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SHELLS: Final = ("bash", "zsh", "fish", "powershell", "json")


def shell_of(env: Mapping[str, str]) -> str:
    """The user's own, as far as the environment tells."""
    return "fish" if env.get("SHELL", "").endswith("fish") else "bash"


def shell_lines(values: Mapping[str, str], shell: str) -> list[str]:
    """The lines that set `values` in `shell`."""
    if shell == "powershell":
        return [f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    if shell != "fish":
        from shlex import quote

        return [f"export {name}={quote(value)}" for name, value in values.items()]
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    return [f"set -gx {name} '{value}'" for name, value in quoted.items()]
