"""Each option of the provider page's list, by what it changes in the request or in a figure: the page's own block, one value at a time."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from portico.config.document import Document
from tests.e2e.page.blocks_of_the_page import BLOCKS
from tests.minimax_session import in_this_process

pytestmark = pytest.mark.requirement("P7")

KEY = "sk-options"
PROVIDER = ("models", "providers", "minimax")
MODEL = (*PROVIDER, "models", 0)
USED = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
MESSAGES = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 1_000_000, "output_tokens": 0}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Here."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100_000}},
    {"type": "message_stop"},
]
CHUNKS = [{"choices": [{"index": 0, "delta": {"content": "Here."}}]}, {"choices": [], "usage": USED}, "[DONE]"]
ANSWERS = {"/anthropic/v1/messages": MESSAGES, "/v1/chat/completions": CHUNKS}


class _Api(http.server.BaseHTTPRequestHandler):
    """MiniMax's two protocols, on this machine; whatever it is asked is kept."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers, body))
        events = (each if isinstance(each, str) else json.dumps(each) for each in ANSWERS[self.path])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write("".join(f"data: {event}\n\n" for event in events).encode())

    def log_message(self, *_):
        pass


class Desk:
    """The page's block with a key, and commands that read it."""

    def __init__(self, paths, api):
        self.api = api
        self.origin = f"http://127.0.0.1:{api.server_port}"
        self._paths = paths
        self.document = Document.parse((BLOCKS / "2-api-key.json5").read_text(encoding="utf-8"), name="config")
        self.set(("env", "MINIMAX_API_KEY"), KEY)
        self.set((*PROVIDER, "baseUrl"), f"{self.origin}/anthropic")

    def set(self, path, value):
        self._write(self.document.set(path, value))

    def unset(self, path):
        self._write(self.document.unset(path))

    def _write(self, document):
        self.document = document
        self._paths.config.write_text(document.text, encoding="utf-8")

    def run(self, *args):
        environment = {
            "PORTICO_CONFIG": str(self._paths.config),
            "PORTICO_STATE_DIR": str(self._paths.state),
            "HOME": "/nonexistent",
        }
        return in_this_process(args, environment)

    def ask(self, *args):
        """What `ask --json` told, and the one request that it sent."""
        self.api.asked.clear()
        result = self.run("ask", "--json", *args, "Are you there?")
        assert result.returncode == 0, result.stderr
        (asked,) = self.api.asked
        return json.loads(result.stdout), asked

    def refused(self, *args):
        """The error of an `ask` that sends nothing."""
        self.api.asked.clear()
        result = self.run("ask", "--json", *args, "Are you there?")
        assert (result.returncode, self.api.asked) == (2, [])
        return json.loads(result.stdout)["error"]

    def row(self, name="minimax/MiniMax-M2.1"):
        """The model's row of `models list --json`; None where it is not listed."""
        rows = json.loads(self.run("models", "list", "--all", "--json").stdout)["models"]
        return next((row for row in rows if row["key"] == name), None)


@pytest.fixture
def desk(paths):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api) as api:
        api.asked = []
        serving = threading.Thread(target=api.serve_forever)
        serving.start()
        yield Desk(paths, api)
        api.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("base", "kind", "path"),
    [
        ("/anthropic", "anthropic-messages", "/anthropic/v1/messages"),
        ("/v1", "openai-completions", "/v1/chat/completions"),
    ],
)
def test_base_url_and_api_say_where_the_request_goes_and_in_which_words(desk, base, kind, path):
    desk.set((*PROVIDER, "baseUrl"), desk.origin + base)
    desk.set((*PROVIDER, "api"), kind)

    reply, (where, _, body) = desk.ask()

    assert (where, body["model"], reply["answer"]) == (path, "MiniMax-M2.1", "Here.")


def test_api_key_is_what_is_sent_whether_it_stands_there_or_in_a_variable(desk):
    assert desk.ask()[1][1]["Authorization"] == f"Bearer {KEY}"

    desk.unset(("env",))
    desk.set((*PROVIDER, "apiKey"), "sk-written-here")

    assert desk.ask()[1][1]["Authorization"] == "Bearer sk-written-here"


def test_id_is_the_models_name_at_the_provider_and_name_is_the_one_in_the_list(desk):
    desk.set((*MODEL, "id"), "MiniMax-M2.1-mine")
    desk.set((*MODEL, "name"), "My own M2.1")

    _, (_, _, body) = desk.ask("--model", "minimax/MiniMax-M2.1-mine")

    assert body["model"] == "MiniMax-M2.1-mine"
    assert desk.row("minimax/MiniMax-M2.1-mine")["name"] == "My own M2.1"


def test_reasoning_lets_the_model_be_asked_to_think_and_without_it_that_is_refused(desk):
    assert desk.refused("--effort", "high")["id"] == "model-lacks-feature"

    desk.set((*MODEL, "reasoning"), True)

    assert "thinking" not in desk.ask()[1][2]
    assert desk.ask("--effort", "high")[1][2]["thinking"]["type"] == "enabled"


def test_input_says_whether_a_picture_may_be_sent(desk, tmp_path):
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert desk.refused("--image", str(picture))["id"] == "model-lacks-feature"

    desk.set((*MODEL, "input"), ["text", "image"])

    content = desk.ask("--image", str(picture))[1][2]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image", "text"]


def test_context_window_bounds_the_answer_that_is_asked_for_and_is_shown(desk):
    desk.set((*MODEL, "contextWindow"), 1000)

    assert 0 < desk.ask()[1][2]["max_tokens"] < 1000
    assert desk.row()["contextWindow"] == 1000


@pytest.mark.parametrize("most", [77, 4096])
def test_max_tokens_is_the_longest_answer_that_is_asked_for(desk, most):
    assert desk.ask("--max-tokens", "100000")[1][2]["max_tokens"] == 8192

    desk.set((*MODEL, "maxTokens"), most)

    assert desk.ask("--max-tokens", "100000")[1][2]["max_tokens"] == most


def test_cost_is_what_an_answer_is_said_to_have_cost(desk):
    assert desk.ask()[0]["cost"] == pytest.approx(15 + 6)

    desk.set((*MODEL, "cost", "output"), 10)

    assert desk.ask()[0]["cost"] == pytest.approx(15 + 1)


def test_the_models_of_the_defaults_give_names_and_are_a_list_of_what_is_allowed(desk):
    desk.set(("agents", "defaults", "models"), {"minimax/MiniMax-M2.1": {"alias": "mini"}})

    assert desk.ask("--model", "mini")[1][2]["model"] == "MiniMax-M2.1"
    refused = desk.refused("--model", "minimax/MiniMax-M2.1-lightning")
    assert refused["id"] == "model-not-allowed"

    desk.set(("agents", "defaults", "models", "minimax/MiniMax-M2.1-lightning"), {})

    assert desk.ask("--model", "minimax/MiniMax-M2.1-lightning")[1][2]["model"] == "MiniMax-M2.1-lightning"


def test_mode_keeps_the_built_in_models_beside_ones_own_or_hides_them(desk):
    assert desk.row("anthropic/claude-opus-4-6") is not None
    assert desk.row("minimax/MiniMax-M2.1-lightning") is not None

    desk.set(("models", "mode"), "replace")

    assert desk.row() is not None
    assert desk.row("anthropic/claude-opus-4-6") is None
    assert desk.row("minimax/MiniMax-M2.1-lightning") is None
