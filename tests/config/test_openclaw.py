"""Published config files of OpenClaw: every command reads them, and an edit changes only its own lines."""

from __future__ import annotations

import difflib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from portico.config.document import Document
from portico.config.sources import read_alone
from tests.minimax_session import in_this_process

pytestmark = pytest.mark.requirement("E181")

FILES = Path(__file__).parent / "openclaw_files"
M21, LIGHTNING, OPUS = "minimax/MiniMax-M2.1", "minimax/MiniMax-M2.1-lightning", "anthropic/claude-opus-4-6"


@dataclass(frozen=True)
class Case:
    """An OpenClaw file: its default model, the models for a new default and a fallback, and its warnings."""

    file: str
    primary: str
    other: str
    third: str
    warnings: tuple[str, ...] = ()

    def text(self) -> bytes:
        return (FILES / self.file).read_bytes()


class Big(Case):
    """A file of 360 models, as a script writes one."""

    def text(self) -> bytes:
        models = [{"id": f"model-{n}", "name": f"Model {n}", "input": ["text"], "contextWindow": 131072 + n} for n in range(30)]
        one = {"apiKey": "sk-made-up-0016", "api": "openai-completions", "models": models}
        providers = {f"relay-{n}": {"baseUrl": f"https://relay-{n}.example/v1", **one} for n in range(12)}
        entries = {f"relay-{n}/model-{m}": {"alias": f"r{n}m{m}"} for n in range(12) for m in range(0, 30, 10)}
        defaults = {"model": {"primary": self.primary, "fallbacks": []}, "models": entries}
        return json.dumps({"models": {"providers": providers}, "agents": {"defaults": defaults}}, indent=2).encode()


class Crlf(Case):
    """The file as an editor of Windows saves it, with a byte order mark."""

    def text(self) -> bytes:
        return b"\xef\xbb\xbf" + super().text().replace(b"\n", b"\r\n")


CASES = (
    Case("minimal.json", M21, OPUS, LIGHTNING),
    Case("portal-with-fallbacks.json", "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning", LIGHTNING),
    Case("several-proxies.json", "birch/glm-4.7", "oak-relay/qwen3-coder", M21),
    Case(
        "local-network.json5",
        "lmstudio/minimax-m2.1-gs32",
        "ollama/llama3.3:70b",
        "attic/qwen3:30b",
        ("attic.baseUrl` is plain http", "ollama.baseUrl` is plain http"),
    ),
    Case("key-names.json", "plum/deepseek/deepseek-v3.2", "quince/llama-3.1-8b", "plum/minimax/minimax-m2.1"),
    Case("variables.json5", "cedar/large", "elm/m3", M21),
    Case("bots.json", OPUS, M21, LIGHTNING),
    Case("comments.json5", OPUS, M21, LIGHTNING),
    Case("agents-list.json", OPUS, M21, LIGHTNING),
    Case("own-protocols.json", "hazel/claude", "hazel/chat", "hazel/reasoner"),
    Case("included/openclaw.json5", "willow/small", "willow/large", M21),
    Big("big.json", "relay-0/model-0", "relay-11/model-29", "relay-7/model-7"),
    Crlf("portal-with-fallbacks.json", "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning", LIGHTNING),
    Crlf("comments.json5", OPUS, M21, LIGHTNING),
)
IDS = [f"{case.file}{'-crlf' if isinstance(case, Crlf) else ''}" for case in CASES]


@dataclass
class Machine:
    """A case's files on disk: `file` is the one under test, `own` the one that Portico reads first, which may be the same."""

    run_portico: object
    file: Path
    own: Path

    def ok(self, *words):
        result = in_this_process(words, self.run_portico.environment())
        assert result.returncode == 0, f"{words}: {result.stderr}{result.stdout}"
        return result

    def folder(self):
        """What stands beside the file under test, but for the copies that are kept of it."""
        return {path.name: path.read_bytes() for path in self.file.parent.iterdir() if path.is_file() and ".bak" not in path.name}


@pytest.fixture(params=CASES, ids=IDS)
def case(request):
    return request.param


@pytest.fixture
def machine(run_portico, tmp_path):
    """Lays a case's file where it is Portico's own or its base."""

    def lay(case, layer):
        own = run_portico.paths.config
        own.parent.mkdir(parents=True, exist_ok=True)
        file = own if layer == "own" else tmp_path / "openclaw" / "openclaw.json"
        file.parent.mkdir(exist_ok=True)
        for beside in (FILES / case.file).parent.glob("*.json5") if "/" in case.file else ():
            shutil.copy(beside, file.parent / beside.name)
        file.write_bytes(case.text())
        if layer == "base":
            own.write_text(f"// mine\n{{ base: {json.dumps(str(file))} }}\n", encoding="utf-8")
        for each in {own, *file.parent.iterdir()}:
            each.chmod(0o600)
        return Machine(run_portico, file, own)

    return lay


def value(data: bytes, path: Path):
    """What a file says with all that it includes, and of its default models what is not theirs to say."""
    whole = read_alone(Document.parse(data.decode("utf-8-sig"), name=str(path))).value()
    defaults = whole.get("agents", {}).get("defaults", {})
    chosen = {key: defaults.pop(key, None) for key in ("model", "models", "allow")}
    return {key: part for key, part in whole.items() if part not in ({}, {"defaults": {}})}, chosen


def assert_only_own_lines_changed(before: bytes, after: bytes, path: Path) -> None:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    removed = [line for kind, start, end, _, _ in steps if kind in {"replace", "delete"} for line in old[start:end]]
    assert len(removed) <= 2, removed
    assert before[:3] == after[:3] or not before.startswith(b"\xef\xbb\xbf")
    assert after.count(b"\n") == after.count(b"\r\n") or before.count(b"\r\n") == 0
    assert after.count(b"//") >= before.count(b"//")
    (theirs, chosen), (still, now) = value(before, path), value(after, path)
    assert still == theirs
    assert (chosen["models"] or {}).keys() <= (now["models"] or {}).keys()


def edits(case):
    yield ("models", "set", case.other)
    yield ("models", "aliases", "add", "mine", case.other)
    yield ("models", "fallbacks", "add", case.third)


@pytest.mark.parametrize("layer", ["own", "base"])
def test_it_is_valid_and_its_models_are_known(machine, case, layer):
    case_machine = machine(case, layer)

    validated = case_machine.ok("config", "validate").stdout
    listed = json.loads(case_machine.ok("models", "list", "--all", "--json").stdout)["models"]
    status = case_machine.ok("models", "status", "--plain")

    messages = [line for line in validated.splitlines() if line.startswith(("warning", "error"))]
    assert len(messages) == len(case.warnings), messages
    assert all(any(words in line for line in messages) for words in case.warnings), messages
    known = {model["key"] for model in listed if not model["missing"]}
    assert {case.primary, case.other, case.third} - known in (set(), {OPUS})
    assert (status.stdout, status.stderr) == (f"{case.primary}\n", "")


def test_as_portico_s_own_file_each_edit_changes_its_own_lines(machine, case):
    case_machine = machine(case, "own")
    for words in edits(case):
        before, beside = case_machine.file.read_bytes(), case_machine.folder()
        case_machine.ok(*words)
        assert_only_own_lines_changed(before, case_machine.file.read_bytes(), case_machine.file)
        assert {**beside, case_machine.file.name: b""} == {**case_machine.folder(), case_machine.file.name: b""}

    assert_chosen_models(case_machine, case)


def test_as_a_base_nothing_of_it_changes(machine, case):
    case_machine = machine(case, "base")
    before = case_machine.folder()
    for words in edits(case):
        case_machine.ok(*words)
        assert {path.name for path in case_machine.file.parent.iterdir()} == before.keys()
        assert case_machine.folder() == before

    assert case_machine.own.read_bytes().startswith(b"// mine\n")
    assert_chosen_models(case_machine, case)


def test_with_write_base_each_edit_changes_its_own_lines_of_the_base(machine, case):
    case_machine = machine(case, "base")
    own, beside = case_machine.own.read_bytes(), case_machine.folder()
    alias = f'agents.defaults.models["{case.other}"].alias'
    for words in (("models", "set", case.other), ("config", "set", alias, "mine")):
        before = case_machine.file.read_bytes()
        case_machine.ok(*words, "--write-base")
        assert_only_own_lines_changed(before, case_machine.file.read_bytes(), case_machine.file)
        assert case_machine.own.read_bytes() == own
    assert {**beside, case_machine.file.name: b""} == {**case_machine.folder(), case_machine.file.name: b""}

    case_machine.ok("models", "fallbacks", "add", case.third)
    assert_chosen_models(case_machine, case)


def assert_chosen_models(machine, case):
    status = json.loads(machine.ok("models", "status", "--json").stdout)
    assert status["defaultModel"] == case.other
    assert status["fallbacks"][-1] == case.third
    assert status["aliases"]["mine"] == case.other
    assert machine.ok("config", "validate").returncode == 0
