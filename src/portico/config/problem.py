"""What can be wrong with a config, and the errors that list it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.config.document import ConfigPath, format_path
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Layer = Literal["own", "base"]
MOST_SHOWN: Final = 20  # of the problems of one configuration, to people


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a config.

    Attributes:
        level: whether it makes a value unusable.
        where: `file:line:column`, counted from 1; `layer` is whether that file is Portico's own or the base.
        path: the path of the value.
        message: what is wrong, and `hint` what to write instead.
        plugin: the only plugin that the error stops.
        only: the path of the only other object that the error stops.
        standing: a warning of something that may be meant: `config validate` and `doctor` show it, and other commands do not.
    """

    level: Literal["error", "warning"]
    where: str
    path: ConfigPath
    message: str
    hint: str | None = None
    layer: Layer = "own"
    plugin: str | None = None
    only: str | None = None
    standing: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f" ({self.hint})" if self.hint else "")

    def as_json(self) -> dict[str, object]:
        """The problem as `--json` prints it."""
        return {
            "level": self.level,
            "where": self.where,
            "path": format_path(self.path),
            "message": self.message,
            "hint": self.hint,
            "layer": self.layer,
            "plugin": self.plugin,
        }

    @property
    def is_fatal(self) -> bool:
        """Whether it makes the whole config unusable."""
        return self.level == "error" and self.plugin is None and self.only is None


def named(path: ConfigPath) -> str:
    """`path` as messages show it."""
    return f"`{format_path(path)}`" if path else "the configuration"


class InvalidConfig(ConfigError):
    """Several errors of one config: people see the first `MOST_SHOWN` of them, programs all, in `problems`."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        shown, rest = problems[:MOST_SHOWN], problems[MOST_SHOWN:]
        lines = [*map(str, shown), *([f"and {len(rest)} more: `config validate --json` lists all"] if rest else [])]
        listed = "".join(f"\n  {line}" for line in lines)
        super().__init__(
            "config-invalid", f"{len(problems)} errors in {name}:{listed}", hint="correct them and run the command again"
        )
        self.problems = tuple(problems)

    def as_json(self, program: str) -> dict[str, object]:
        return {**super().as_json(program), "problems": [each.as_json() for each in self.problems]}


def invalid(name: str, problems: Iterable[Problem]) -> ConfigError | None:
    """One ConfigError (`config-invalid`) for all errors among `problems`, None if there are none."""
    errors = [problem for problem in problems if problem.level == "error"]
    if not errors:
        return None
    if len(errors) == 1:
        return ConfigError("config-invalid", errors[0].message, where=errors[0].where, hint=errors[0].hint)
    return InvalidConfig(name, errors)


def refuse_errors(name: str, problems: Iterable[Problem]) -> None:
    """Raise `invalid(name, problems)` if there is any error among them."""
    error = invalid(name, problems)
    if error is not None:
        raise error
