"""`config` and `configure`: values that stand in another file, editors that cannot be started, menus that nobody can answer."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

from tests.person import sit_down
from tests.remedies.scenario import scenario, typed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remedies.scenario import Desk

MODEL = "minimax/MiniMax-M2.1"
KEY = {"MINIMAX_API_KEY": "sk-emulator-global"}


def beside(desk: Desk, name: str, text: str) -> Path:
    """A file beside the config."""
    path = desk.commands.paths.config.with_name(name)
    path.write_text(text, encoding="utf-8")
    return path


def over_a_base(desk: Desk, **base: object) -> Path:
    path = beside(desk, "openclaw.json", json.dumps(base))
    desk.ok("config", "set", "base", json.dumps(str(path)))
    return path


def place_of(error: dict[str, str]) -> str:
    """The file that an error names."""
    return error["where"].rsplit(":", 2)[0]


@scenario("{prog} config unset --write-base {}")
def a_value_of_the_base_is_to_be_unset(desk):
    base = over_a_base(desk, agents={"defaults": {"models": {MODEL: {"alias": "it's mine"}}}})
    at = f'agents.defaults.models["{MODEL}"].alias'
    error = desk.refused("config", "unset", at)
    assert place_of(error) == str(base)
    # Typed as it is printed: the key has a dot, a slash and quotes.
    desk.ok(*typed(error["hint"])[1:])
    assert json.loads(base.read_text(encoding="utf-8")) == {"agents": {"defaults": {"models": {MODEL: {}}}}}


@scenario("{prog} config unset --write-base {}")
def an_alias_of_the_base_is_to_be_removed(desk):
    over_a_base(desk, agents={"defaults": {"models": {MODEL: {"alias": "theirs"}}}})
    error = desk.refused("models", "aliases", "remove", "theirs")
    desk.ok(*typed(error["hint"])[1:])
    assert "theirs" not in desk.ok("models", "aliases", "list")


@scenario("Remove it from that file.")
def a_value_of_an_included_file_is_to_be_unset(desk):
    desk.commands.paths.config.write_text("{ gateway: { $include: 'gateway.json5' } }", encoding="utf-8")
    included = beside(desk, "gateway.json5", "{ port: 18555 }")
    error = desk.refused("config", "unset", "gateway.port")
    assert place_of(error) == str(included)
    included.write_text("{}", encoding="utf-8")
    assert json.loads(desk.ok("config", "get"))["gateway"] == {}


@scenario("Remove it from that file.")
def a_value_of_a_file_that_the_base_includes_is_to_be_unset(desk):
    included = beside(desk, "models.json5", f'{{ "{MODEL}": {{ alias: "theirs" }} }}')
    over_a_base(desk, agents={"defaults": {"models": {"$include": "models.json5"}}})
    at = f'agents.defaults.models["{MODEL}"].alias'
    for words in (("config", "unset", at), ("config", "unset", at, "--write-base"), ("models", "aliases", "remove", "theirs")):
        error = desk.refused(*words)
        assert (error["hint"], place_of(error)) == ("Remove it from that file.", str(included))
    included.write_text("{}", encoding="utf-8")
    assert "theirs" not in desk.ok("models", "aliases", "list")


@scenario("Set the whole of `{}`, or change it in that file.")
def an_element_of_an_array_of_the_base(desk):
    over_a_base(desk, agents={"defaults": {"model": {"primary": MODEL, "fallbacks": ["a/b"]}}})
    whole = "agents.defaults.model.fallbacks"
    error = desk.refused("config", "set", f"{whole}[0]", '"x/y"')
    assert error["hint"] == f"Set the whole of `{whole}`, or change it in that file."
    desk.ok("config", "set", whole, '["x/y"]')
    assert json.loads(desk.ok("config", "get", whole)) == ["x/y"]


@scenario("Change it in that file.")
def an_array_of_an_included_file(desk):
    desk.commands.paths.config.write_text("{ plugins: { $include: 'deny.json5' } }", encoding="utf-8")
    included = beside(desk, "deny.json5", "{ deny: ['theirs'] }")
    for at, value in (("plugins.deny[0]", '"mine"'), ("plugins.deny", '["mine"]')):
        error = desk.refused("config", "set", at, value)
        assert (error["hint"], place_of(error)) == ("Change it in that file.", str(included))
    included.write_text("{ deny: ['mine'] }", encoding="utf-8")
    assert json.loads(desk.ok("config", "get", "plugins.deny")) == ["mine"]


def at_a_terminal(desk: Desk, *words: str, answers: tuple[str, ...] = (), env: dict[str, str | None] | None = None) -> str:
    """What a command prints for a person who gives these answers."""
    done, person = sit_down(desk.commands, *words, answers=[*answers], env=env)
    desk.printed.append(person.shown.getvalue() + done.stdout + done.stderr)
    return desk.printed[-1]


EDITOR = f'{shlex.quote(sys.executable)} -c \'import sys; open(sys.argv[1], "a").write("// mine\\n")\''
NO_EDITORS = (
    {"VISUAL": "/nowhere/editor", "EDITOR": EDITOR},
    {"VISUAL": None, "EDITOR": "/nowhere/editor"},
    {"VISUAL": "'", "EDITOR": EDITOR},
    {"VISUAL": " ", "EDITOR": None},
)


@scenario("Set {} to an editor's command, or change one value: {prog} config set KEY VALUE")
def an_editor_that_cannot_be_started(desk):
    desk.ok("config", "set", "gateway.port", "18555")
    for env in ({**each, "PATH": "/nowhere"} for each in NO_EDITORS):
        variable = at_a_terminal(desk, "config", "edit", env=env).partition("Set ")[2].split()[0]
        assert "Updated" in at_a_terminal(desk, "config", "edit", env={**env, variable: EDITOR})
    assert desk.commands.paths.config.read_text(encoding="utf-8").endswith("// mine\n" * len(NO_EDITORS))


def section(name: str, *then: str, before: str = "", env: dict[str, str] | None = None) -> None:
    """A section of the menu that nobody can answer: the command that does the same, with what a person puts in, is `then`."""

    def run(desk: Desk) -> None:
        desk.emulator()
        if before:
            desk.ok(*typed(before))
        command = typed(desk.refused("configure", "--section", name)["hint"].splitlines()[-1])[1:]
        for placeholder, value in zip(("ID", "REF"), ("minimax-api", MODEL), strict=True):
            command = [word.replace(placeholder, value) for word in command]
        desk.ok(*command, *then, *(desk.commands.store if "onboard" in command else ()), env=env)
        desk.ok("ask", "Hello", env=KEY)

    templates = {
        "model": "{prog} onboard --auth-choice ID --non-interactive",
        "default-model": "{prog} models set REF",
        "fallbacks": "{prog} models fallbacks add REF",
        "allowed-models": '{prog} config set \'agents.defaults.models["REF"]\' "{}"',
        "health": "{prog} models status --probe",
    }
    scenario(f"To do the same without a terminal:\n  {templates[name]}", name=f"configure, and nobody can be asked: {name}")(run)


section("model", "--no-background", env=KEY)
section("default-model")
section("fallbacks", before=f"models set {MODEL}-lightning")
section("allowed-models", before=f"models set {MODEL}")
section("health", before=f"models set {MODEL}", env=KEY)


@scenario('Next:  {prog} ask "Hello"   |   {prog} models list')
def the_menu_is_left(desk):
    desk.emulator()
    assert "Next:" not in at_a_terminal(desk, "configure", answers=("done",), env=KEY)
    said = at_a_terminal(desk, "configure", answers=("default-model", MODEL, "done"), env=KEY)
    assert "Next:" in said
    desk.ok("ask", "Hello", env=KEY)
    desk.ok("models", "list", env=KEY)
