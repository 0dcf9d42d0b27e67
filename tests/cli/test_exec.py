"""`exec` and `env`: tools that ask the gateway with a key that ends with them."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from shutil import which

import pytest

from portico.gateway.client_env import TOOLS, arguments, variables
from portico.secret import Secret
from portico.services.gateway_state import gateway_lock, running
from portico.store.profiles import ProfileIndex
from portico.terminal.output import shell_lines
from portico.testing.canary import canary, in_text
from tests.key_index import key_index
from tests.minimax_session import GLOBAL
from tests.needs import needs

M21 = "minimax-portal/MiniMax-M2.1"
# A tool as any SDK would be one: it asks with what the variables say, and tells what it was started with.
ASKS = """
import json, os, sys, urllib.request
env = os.environ
body = json.dumps({"model": env["ANTHROPIC_MODEL"], "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}).encode()
headers = {"authorization": "Bearer " + env["ANTHROPIC_AUTH_TOKEN"], "content-type": "application/json"}
request = urllib.request.Request(env["ANTHROPIC_BASE_URL"] + "/v1/messages", body, headers)
answer = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request))
print(json.dumps({"text": answer["content"][0]["text"], "argv": sys.argv[1:], "key": env.get("ANTHROPIC_API_KEY"), "url": env["OPENAI_BASE_URL"]}))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def session(minimax):
    session = minimax()
    session.env |= {"ANTHROPIC_API_KEY": "sk-ant-of-the-user"}
    session.sign_in("--region", "global")
    yield session
    session.run("gateway", "stop")


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "tools" / "asks"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n{ASKS}", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def names(session):
    return [profile.name for profile in key_index(session.paths).profiles()]


def started(session, *command):
    """`portico exec` as a process of its own, in a process group of its own."""
    words = [sys.executable, "-m", "portico", "exec", "--", *command]
    env = session.run_portico.environment(session.env)
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def until(condition, longest_s=30.0):
    deadline = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_tool_asks_with_a_key_of_its_own_and_afterwards_neither_key_nor_gateway_is_left(session, tool):
    with started(session, tool, "7", "--json", "--model") as process:
        out, err = process.communicate(timeout=60)

    told = json.loads(out)
    assert (process.returncode, told["argv"], told["key"]) == (7, ["7", "--json", "--model"], None)
    assert "answering as MiniMax-M2.1" in told["text"]
    assert names(session) == ["default"]
    assert running(session.paths) is None
    assert not (session.paths.state / "exec-gateway").exists()
    assert "sk-portico" not in err


def test_a_gateway_that_runs_is_used_and_stays(session, tool):
    session.ok("gateway", "start")
    before = running(session.paths)

    with started(session, tool, "0") as process:
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert json.loads(out)["url"] == f"{before.url}/v1"
    assert running(session.paths).pid == before.pid
    assert names(session) == ["default"]


def test_of_two_tools_the_last_one_ends_the_gateway_that_was_started_for_the_first(session):
    with started(session, "sleep", "30") as first:
        until(lambda: running(session.paths) is not None and len(names(session)) == 2)
        with started(session, "sleep", "30") as second:
            until(lambda: len(names(session)) == 3)
            gateway = running(session.paths)

            first.terminate()
            first.communicate(timeout=60)
            assert first.returncode == 128 + signal.SIGTERM
            assert running(session.paths).pid == gateway.pid

            second.terminate()
            second.communicate(timeout=60)
    assert running(session.paths) is None
    assert names(session) == ["default"]


def test_what_a_killed_exec_has_left_is_taken_back_by_the_next(session, tool):
    with started(session, "sleep", "300") as killed:
        until(lambda: running(session.paths) is not None and len(names(session)) == 2)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=60)
    assert running(session.paths) is not None
    assert len(names(session)) == 2

    with started(session, tool, "0") as process:
        process.communicate(timeout=60)

    assert process.returncode == 0
    assert names(session) == ["default"]
    assert running(session.paths) is None


def test_ctrl_c_is_the_tools_business_and_leaves_nothing_behind(session, tmp_path):
    ready = tmp_path / "ready"
    script = f"trap 'exit 5' INT; touch {shlex.quote(str(ready))}; while :; do sleep 0.05; done"
    with started(session, "sh", "-c", script) as process:
        until(ready.exists)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)

    assert process.returncode == 5
    assert names(session) == ["default"]
    assert running(session.paths) is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "exec -- claude"),
        (("--", "no-such-tool"), 2, "Program not found: no-such-tool"),
        (("--model", M21.lower(), "--", "true"), 2, "Unknown model: "),
    ],
)
def test_what_cannot_be_run_starts_nothing(session, words, code, said):
    done = session.run("exec", *words)

    assert (done.returncode, said in done.stderr) == (code, True)
    assert running(session.paths) is None


@pytest.mark.parametrize("tool", [*TOOLS, "anything"])
def test_no_argument_holds_the_key_and_nothing_is_left_unfilled(tool):
    key = canary("gatewaykey")

    given, words = variables("http://127.0.0.1:1", Secret(key), M21, tool), arguments("http://127.0.0.1:1", M21, tool)

    assert in_text(" ".join(words)) == []
    assert given["OPENAI_API_KEY"] == key
    assert not any(hole in text for text in (*given.values(), *words) for hole in ("{url}", "{key}", "{model}"))


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(shell, marks=pytest.mark.interop) for shell in ("zsh", "fish"))])
def test_what_env_prints_is_what_the_shell_then_holds(session, shell):
    needs(shell)
    session.ok("gateway", "start")
    key = session.ok("gateway", "key", "show").strip()

    lines = session.run("env", "--shell", shell).stdout
    told = json.loads(session.ok("env", "--json"))

    done = subprocess.run(
        [shell, "-c", f"{lines}\nprintenv OPENAI_API_KEY ANTHROPIC_BASE_URL ANTHROPIC_MODEL"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [key, running(session.paths).url, M21]
    assert (told["OPENAI_BASE_URL"], told["PORTICO_GATEWAY_KEY"]) == (f"{running(session.paths).url}/v1", key)


def test_env_tells_which_model_and_which_key_and_that_no_gateway_runs(session):
    session.ok("gateway", "key", "add", "aider")
    done = session.run("env", "--json", "--key", "aider", "--model", "minimax-m2.1-lightning")

    told = json.loads(done.stdout)
    assert told["PORTICO_MODEL"] == f"{M21}-lightning"
    assert told["PORTICO_GATEWAY_KEY"] == session.ok("gateway", "key", "show", "aider").strip()
    assert "gateway start" in done.stderr
    assert session.run("env", "--key", "nobody").returncode == 2


def test_powershell_takes_a_quote_twice():
    assert shell_lines({"A": "it's"}, "powershell") == ["$env:A = 'it''s'"]


@pytest.mark.requirement("E127")
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_gateway_of_its_own_that_does_not_answer_any_more_is_ended_with_the_tool(session, monkeypatch):
    monkeypatch.setattr("portico.gateway.control.TERM_S", 0.3)
    monkeypatch.setattr("portico.services.gateway_state._PROBE_S", 0.5)
    stops_it = "import json, os, pathlib, signal; state = json.loads(pathlib.Path({!r}).read_text()); os.kill(state['pid'], signal.SIGSTOP)"
    code = stops_it.format(str(session.paths.gateway))

    done = session.run("exec", "--", sys.executable, "-c", f"{code}; raise SystemExit(3)")

    assert done.returncode == 3
    assert not gateway_lock(session.paths).is_locked()
    assert names(session) == ["default"]


# --- a proxy between the tool and the gateway --------------------------------------------------------------------------------


@contextlib.contextmanager
def a_proxy():
    """A plain HTTP proxy that forwards nothing; its URL, and everything that it was sent."""
    seen: list[str] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def _record(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(f"{self.requestline}\n{self.headers}\n{body.decode()}")
            self.send_error(502)

        do_GET = do_POST = do_CONNECT = _record  # noqa: N815 - the names that BaseHTTPRequestHandler calls

        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


# Each asks the gateway as its users do, with what it finds in the environment, and writes the status of the answer to a file.
CURL = """curl -sS -o "$0.body" -w '%{http_code}' "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_AUTH_TOKEN" \\
  -H 'content-type: application/json' \\
  -d '{"model": "'"$ANTHROPIC_MODEL"'", "max_tokens": 9, "messages": [{"role": "user", "content": "a secret prompt"}]}' > "$0"
"""
URLLIB = """
import json, os, pathlib, sys, urllib.request
body = {"model": os.environ["ANTHROPIC_MODEL"], "max_tokens": 9, "messages": [{"role": "user", "content": "a secret prompt"}]}
headers = {"authorization": "Bearer " + os.environ["ANTHROPIC_AUTH_TOKEN"], "content-type": "application/json"}
request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(), headers)
pathlib.Path(sys.argv[1]).write_text(str(urllib.request.urlopen(request).status))
"""
SDK = """
import anthropic, os, pathlib, sys
answer = anthropic.Anthropic().messages.create(
    model=os.environ["ANTHROPIC_MODEL"], max_tokens=9, messages=[{"role": "user", "content": "a secret prompt"}]
)
pathlib.Path(sys.argv[1]).write_text("200" if answer.content else "nothing")
"""


def heeds_proxies(name, result):
    """A command that asks the gateway as `name` does, and writes the status to the file `result`."""
    if name == "curl":
        return ["sh", "-c", CURL, str(result)]
    return [sys.executable, "-c", {"urllib": URLLIB, "anthropic": SDK}[name], str(result)]


@pytest.mark.requirement("E150")
@pytest.mark.parametrize("tools", ["urllib curl", pytest.param("anthropic", marks=pytest.mark.interop)])
def test_a_prompt_and_a_key_reach_the_gateway_and_never_the_proxy_of_the_environment(session, tmp_path, tools):
    if tools == "anthropic":
        pytest.importorskip("anthropic", reason="the official anthropic SDK is not installed")
    tools = [name for name in tools.split() if name != "curl" or which("curl")]
    commands = [heeds_proxies(name, tmp_path / name) for name in tools]
    with a_proxy() as (url, seen):
        away = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "corp.example", "no_proxy": None}
        done = session.run("exec", "--", "sh", "-ec", "\n".join(map(shlex.join, commands)), env=away)

    assert (done.returncode, seen) == (0, [])
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in tools} == dict.fromkeys(tools, "200")


@pytest.mark.requirement("E150")
def test_a_shell_that_holds_what_env_prints_reaches_the_gateway_around_its_proxy(session):
    needs("bash", "curl")
    session.ok("gateway", "start")
    asks = 'curl -fsS "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY"\necho; printenv NO_PROXY no_proxy'
    for shell in filter(which, ("bash", "zsh", "fish")):
        with a_proxy() as (url, seen):
            away = {"http_proxy": url, "NO_PROXY": "corp.example, 10.0.0.0/8", "no_proxy": None}
            lines = session.run("env", "--shell", shell, env=away).stdout
            env = {"PATH": os.environ["PATH"], "http_proxy": url}
            told = subprocess.run([shell, "-c", f"{lines}\n{asks}"], env=env, capture_output=True, text=True, check=True).stdout

        assert ('"object": "list"' in told, seen) == (True, [])
        assert told.splitlines()[-2:] == ["corp.example, 10.0.0.0/8,127.0.0.1,localhost,::1"] * 2


@pytest.mark.requirement("E150")
def test_powershell_and_programs_get_the_exception_as_well(session):
    told = json.loads(session.ok("env", "--json", env={"NO_PROXY": None, "no_proxy": None}))
    lines = session.ok("env", "--shell", "powershell", env={"NO_PROXY": "*", "no_proxy": None}).splitlines()

    assert (told["NO_PROXY"], told["no_proxy"]) == ("127.0.0.1,localhost,::1",) * 2
    assert {"$env:NO_PROXY = '*'", "$env:no_proxy = '*'"} <= {*lines}


# --- a proxy between Portico and the provider ---------------------------------------------------------------------------------

NO_OTHER = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"))


@pytest.mark.requirement("E151")
@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy"])
def test_all_proxy_alone_leads_a_refresh_a_question_and_the_gateway_to_the_provider(minimax, tmp_path, variable):
    session = minimax(access_ttl_s=1)
    session.sign_in("--region", "global")
    session.env |= {**NO_OTHER, variable: session.info.proxy_url}
    result = tmp_path / "status"

    until(lambda: session.ok("auth", "token") and ProfileIndex(session.paths).get(GLOBAL).generation > 1)
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")
    session.ok("exec", "--", *heeds_proxies("urllib", result))
    assert result.read_text(encoding="utf-8") == "200"


@pytest.mark.requirement("E151")
def test_a_socks_proxy_is_refused_by_name_wherever_a_provider_is_asked(session, tmp_path):
    away = {**NO_OTHER, "ALL_PROXY": "socks5h://127.0.0.1:1"}
    said = "import os, sys, urllib.error as e\ntry:\n exec(open(sys.argv[2]).read())\nexcept e.HTTPError as refused:\n print(refused.read().decode(), file=open(sys.argv[1], 'w'))"
    (tmp_path / "asks.py").write_text(URLLIB, encoding="utf-8")

    refused = session.run("ask", "Hello", env=away)
    found = json.loads(session.run("doctor", "--json", env=away).stdout)["findings"]
    session.run("exec", "--", sys.executable, "-c", said, str(tmp_path / "said"), str(tmp_path / "asks.py"), env=away)

    assert (refused.returncode, "ALL_PROXY: it is a proxy of kind socks5h" in refused.stderr) == (8, True)
    assert [each["id"] for each in found].count("proxy-unusable") == 1
    assert "ALL_PROXY" in (tmp_path / "said").read_text(encoding="utf-8")


# --- the port of a gateway that was started for a tool -----------------------------------------------------------------------


@pytest.mark.requirement("E161")
def test_a_tool_runs_while_another_program_has_the_gateways_port(session, tmp_path):
    result = tmp_path / "status"
    with a_proxy() as (url, seen):
        session.ok("config", "set", "gateway.port", url.rpartition(":")[2])
        done = session.run("exec", "--", *heeds_proxies("urllib", result), env={"PORTICO_GATEWAY_PORT": None})

    assert (done.returncode, done.stderr, result.read_text(encoding="utf-8"), seen) == (0, "", "200", [])
    assert running(session.paths) is None


@pytest.mark.requirement("E161")
def test_a_gateway_of_a_tool_has_the_usual_port_and_stays_once_it_is_started_by_hand(session, unused_tcp_port):
    session.env |= {"PORTICO_GATEWAY_PORT": str(unused_tcp_port)}
    with started(session, "sleep", "30") as process:
        until(lambda: running(session.paths) is not None and len(names(session)) == 2)
        gateway = running(session.paths)
        assert gateway.port == unused_tcp_port

        said = session.run("gateway", "start", env={"PORTICO_GATEWAY_PORT": "18555"})
        process.terminate()
        process.communicate(timeout=60)

    assert said.returncode == 0
    assert "It now keeps running when the tool ends." in said.stderr
    assert "portico gateway restart --port 18555" in said.stderr
    assert running(session.paths).pid == gateway.pid
    assert session.run("gateway", "start").stderr == ""
