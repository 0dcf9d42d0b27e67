"""Real clients of the gateway: each runs a tool of its own, is set up as its page says, and ends when the plan is used up.

Collected where `.ci/run` has installed them; the provider is the emulator.
"""

from __future__ import annotations

import json
import re

import pytest

from portico.services.gateway_state import running
from tests.e2e.real_clients import Client, installed, make_desk, page_block, page_commands
from tests.key_index import key_index

pytestmark = [pytest.mark.interop, pytest.mark.requirement("E180"), pytest.mark.timeout(150)]

M21 = "minimax-portal/MiniMax-M2.1"
SAYS = "This is Portico's emulator, answering as MiniMax-M2.1."
WORD, NEW_WORD = "xylophone", "glockenspiel"
LLM_TOOL = "def look(file: str) -> str:\n    return open(file).read()\n"
EDIT = f"Write:\n\nword.txt\n```\n<<<<<<< SEARCH\n{WORD}\n=======\n{NEW_WORD}\n>>>>>>> REPLACE\n```\n"
ASKED_FOR_TOOL = {
    "claude": ("Read", "file_path"),
    "opencode": ("read", "filePath"),
    "llm": ("look", "file"),
    "anthropic-js": ("look", "file"),
    "openai-js": ("look", "file"),
}
# A client that is started while the machine is busy takes a while until it asks anything at all.
ANSWERS_WITHIN_S, ENDS_WITHIN_S = 75, 45


@pytest.fixture
def desk(minimax, launchers, tmp_path):
    """Signed in, with a word in a file of the project; `quota` is the emulator's knob."""
    machines = []

    def begin(**knobs: str):
        session = minimax(knobs=knobs)
        session.sign_in("--region", "global")
        machines.append(make_desk(session, tmp_path, launchers))
        (machines[0].project / "word.txt").write_text(f"{WORD}\n", encoding="utf-8")
        (machines[0].project / "look.py").write_text(LLM_TOOL, encoding="utf-8")
        return machines[0]

    yield begin
    for each in machines:
        each.session.run("gateway", "stop")


def tool_question(client: Client, project):
    """What makes the emulated model call the client's tool; for aider, which has none, an edit that it applies."""
    if client.id == "aider":
        return EDIT
    if client.id == "codex":
        return 'Call the tool exec_command with {"cmd": "cat word.txt"}'
    name, argument = ASKED_FOR_TOOL[client.id]
    return f"Call the tool {name} with {json.dumps({argument: str(project / 'word.txt')})}"


def assert_the_tool_ran(client: Client, project, result):
    assert result.returncode == 0, result.stdout
    assert SAYS in result.stdout
    if client.id == "aider":
        assert (project / "word.txt").read_text(encoding="utf-8") == f"{NEW_WORD}\n"
    else:
        assert re.search(rf"{re.escape(SAYS)} The tool returned: [\s\S]*{WORD}", result.stdout), result.stdout


def asked_by(session):
    """The clients in the history of requests, which a gateway writes from time to time and when it ends."""
    session.run("gateway", "stop")
    return [group["client"] for group in json.loads(session.ok("usage", "cost", "--by", "client", "--json"))["rows"]]


def assert_nothing_is_left(session):
    assert running(session.paths) is None
    assert [key.name for key in key_index(session.paths).profiles()] == ["default"]


def named(clients):
    return pytest.mark.parametrize("client", clients, ids=lambda client: client.id)


@named(installed("claude", "codex", "opencode", "aider", "anthropic-js", "openai-js"))
def test_a_client_that_exec_starts_runs_its_tool_and_says_what_it_returned_and_leaves_nothing(desk, client):
    machine = desk()

    result = machine.by_exec(client, tool_question(client, machine.project), within=ANSWERS_WITHIN_S)

    assert_the_tool_ran(client, machine.project, result)
    assert asked_by(machine.session) == [client.name]
    assert_nothing_is_left(machine.session)


@named(installed("claude"))
def test_claude_code_gets_its_answer_with_the_settings_of_its_page_through_the_gateway(desk, client):
    machine = desk()
    port = machine.begin_gateway()
    write_at_home(machine, ".claude/settings.json", page_block("claude-code.md", ":18444", port))

    result = machine.run([*client.words, "Say hello"], within=ANSWERS_WITHIN_S)

    assert (result.returncode, result.stdout.strip().startswith(SAYS)) == (0, True), result.stdout
    assert asked_by(machine.session) == ["default"]


@named(installed("claude"))
def test_claude_code_gets_its_answer_with_the_settings_of_its_page_without_a_gateway(desk, client):
    machine = desk()
    write_at_home(machine, ".claude/settings.json", page_block("claude-code.md", "api.minimax.io"))

    result = machine.run([*client.words, "Say hello"], within=ANSWERS_WITHIN_S)

    assert (result.returncode, result.stdout.strip().startswith(SAYS)) == (0, True), result.stdout
    assert running(machine.session.paths) is None


@named(installed("codex"))
def test_codex_gets_its_answer_with_the_settings_of_its_page(desk, client):
    machine = desk()
    write_at_home(machine, ".codex/config.toml", page_block("codex.md", ":18444", machine.begin_gateway()))

    asks = " ".join([*client.words, "'Say hello'"])
    result = machine.by_shell([*page_commands("codex.md", "export"), asks], within=ANSWERS_WITHIN_S)

    assert (result.returncode, SAYS in result.stdout) == (0, True), result.stdout
    assert asked_by(machine.session) == ["default"]


@named(installed("opencode"))
def test_opencode_gets_its_answer_with_the_settings_of_its_page(desk, client):
    machine = desk()
    settings = page_block("opencode.md", ":18444", machine.begin_gateway())
    (machine.project / "opencode.json").write_text(settings, encoding="utf-8")

    commands = [*page_commands("opencode.md", "export"), "opencode run"]
    result = machine.by_shell(commands, stdin="Say hello", within=ANSWERS_WITHIN_S)

    assert (result.returncode, SAYS in result.stdout) == (0, True), result.stdout
    assert asked_by(machine.session) == ["default"]


@named(installed("aider"))
def test_aider_gets_its_answer_with_the_commands_of_its_page(desk, client):
    machine = desk()
    machine.begin_gateway()
    *prepares, asks = page_commands("aider.md", "eval")

    result = machine.by_shell([*prepares, f"{asks} {' '.join(client.words[1:])} 'Say hello'"], within=ANSWERS_WITHIN_S)

    assert (result.returncode, SAYS in result.stdout) == (0, True), result.stdout
    assert asked_by(machine.session) == ["default"]


@named(installed("llm"))
def test_llm_set_up_by_its_page_answers_and_runs_a_function(desk, client):
    machine = set_up_llm(desk())

    result = machine.by_shell(page_commands("llm.md", "keys set"), within=ANSWERS_WITHIN_S)
    assert (result.returncode, f"{SAYS} You said: Why is the sky blue?" in result.stdout) == (0, True), result.stdout

    result = machine.run([*client.words, tool_question(client, machine.project)], within=ANSWERS_WITHIN_S)
    assert_the_tool_ran(client, machine.project, result)
    assert asked_by(machine.session) == ["llm"]


@named(installed("claude", "codex", "opencode", "anthropic-js", "openai-js"))
def test_a_client_ends_and_says_why_when_the_plan_is_used_up_for_hours(desk, client):
    machine = desk(quota="exhausted")

    result = machine.by_exec(client, "Say hello", within=ENDS_WITHIN_S)

    assert result.returncode != 0, result.stdout
    assert "usage limit" in result.stdout.lower(), result.stdout
    assert_nothing_is_left(machine.session)


@named(installed("llm"))
def test_llm_ends_and_says_why_when_the_plan_is_used_up_for_hours(desk, client):
    machine = set_up_llm(desk(quota="exhausted"))
    *prepares, asks = page_commands("llm.md", "keys set")
    assert machine.by_shell(prepares, within=ANSWERS_WITHIN_S).returncode == 0

    result = machine.by_shell([asks], within=ENDS_WITHIN_S)

    assert result.returncode != 0, result.stdout
    assert "usage limit" in result.stdout.lower(), result.stdout


@named(installed("aider"))
def test_aider_says_why_at_once_when_the_plan_is_used_up_and_ends_when_it_is_told_to(desk, client):
    """It tries again for about a minute, whatever an answer's headers say, and shows the reason each time."""
    machine = desk(quota="exhausted")

    result = machine.by_exec(client, "Say hello", within=ENDS_WITHIN_S, until=lambda text: text.count("Retrying in") > 1)

    assert result.stdout.lower().replace("\n", " ").count("usage limit") > 1, result.stdout
    assert_nothing_is_left(machine.session)


def write_at_home(desk, name, text):
    path = desk.home / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")


def set_up_llm(desk):
    """The file of the page, in the folder that `llm logs path` names."""
    models = page_block("llm.md", ":18444", desk.begin_gateway())
    write_at_home(desk, "llm/extra-openai-models.yaml", models)
    logs = desk.run(["llm", "logs", "path"], within=ANSWERS_WITHIN_S).stdout.strip()
    assert logs.startswith(str(desk.home / "llm")), logs
    return desk
