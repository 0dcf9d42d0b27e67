"""A command reads, prints and finds its files by the environment and the streams that `main` is given, and by no others."""

from __future__ import annotations

import io
import os
import sys
from threading import Barrier, Thread

import pytest

from portico.cli.main import main
from portico.net.proxy import Proxy, proxy_for, trusted_certificates
from portico.paths import resolve_paths


class Terminal(io.StringIO):
    def isatty(self):
        return True


def command(*words, env, stdin="", stdout=None):
    """The exit code of one command, and what it printed."""
    out, err = stdout or io.StringIO(), io.StringIO()
    code = main(words, "portico", env=env, stdin=io.StringIO(stdin), stdout=out, stderr=err)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def env(tmp_path):
    return {
        "PORTICO_CONFIG": str(tmp_path / "own.json5"),
        "PORTICO_STATE_DIR": str(tmp_path / "state"),
        "PATH": os.environ["PATH"],
    }


@pytest.mark.parametrize(
    ("words", "code", "in_output", "in_errors"),
    [
        (["--version"], 0, "portico ", ""),
        (["--version", "--json"], 0, '"version"', ""),
        (["--help"], 0, "usage: portico", ""),
        ([], 2, "", "usage: portico"),
        (["plugins"], 2, "", "usage: portico plugins"),
        (["plugins", "--help"], 0, "usage: portico plugins", ""),
        (["plugins", "lits"], 2, "", "Unknown command: plugins lits"),
        (["plugins", "lits", "--json"], 2, '"id": "usage"', ""),
        (["plugins", "list"], 0, "minimax", ""),
        (["ask"], 2, "", "The question is empty."),
    ],
)
def test_what_a_command_prints_goes_to_its_own_streams(env, capfd, words, code, in_output, in_errors):
    ended, out, err = command(*words, env=env)

    assert ended == code
    assert in_output in out
    assert in_errors in err
    assert capfd.readouterr() == ("", "")


def test_a_value_is_read_from_the_input_that_is_given(env, tmp_path):
    assert command("config", "set", "env.EXAMPLE", "-", env=env, stdin="of this input\n")[0] == 0
    assert "of this input" in (tmp_path / "own.json5").read_text()


def test_the_environment_that_is_given_says_how_wide_a_terminal_is(env):
    for words in (["--help"], ["config", "set", "--help"]):
        narrow = command(*words, env={**env, "COLUMNS": "60"}, stdout=Terminal())[1]
        wide = command(*words, env={**env, "COLUMNS": "200"}, stdout=Terminal())[1]
        prose = narrow.partition("examples:")[0]
        assert max(map(len, prose.splitlines())) <= 60
        assert len(wide.splitlines()) < len(narrow.splitlines())


def test_the_home_folder_is_the_one_of_the_environment_that_is_given(tmp_path):
    home = {"HOME": str(tmp_path)}
    paths = resolve_paths(env=home)
    assert tmp_path in paths.config.parents
    assert tmp_path in paths.state.parents
    assert paths.state_id == ""
    assert resolve_paths(env={**home, "PORTICO_CONFIG": "~/own.json5"}).config == tmp_path / "own.json5"
    if sys.platform == "linux":
        moved = resolve_paths(env={**home, "XDG_STATE_HOME": str(tmp_path / "moved")})
        assert moved.state == tmp_path / "moved" / "portico"


def test_proxies_and_certificates_are_those_of_the_environment_that_is_given(monkeypatch, tmp_path):
    monkeypatch.setenv("HTTPS_PROXY", "http://of-the-process.test:1")
    assert proxy_for("https://as.test/", {}) is None
    assert proxy_for("https://as.test/", {"HTTPS_PROXY": "http://given.test:2"}) == Proxy("http://given.test:2")

    trustme = pytest.importorskip("trustme", reason="trustme makes a certificate authority")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    given = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(tmp_path / "none")}
    assert trusted_certificates(given).cert_store_stats()["x509_ca"] == 1
    assert trusted_certificates({**given, "SSL_CERT_FILE": str(tmp_path / "none")}).cert_store_stats()["x509_ca"] == 0


def test_two_threads_run_commands_of_two_installations_side_by_side(tmp_path):
    together = Barrier(2)
    ended = {}

    def work(name, port):
        env = {**os.environ, "PORTICO_CONFIG": str(tmp_path / name / "own.json5"), "PORTICO_STATE_DIR": str(tmp_path / name)}
        results = []
        for round in range(5):
            together.wait(60)
            results.append(command("config", "set", "gateway.port", str(port + round), env=env)[0])
            results.append(command("config", "get", "gateway.port", env=env)[1].strip())
            results.append(command("plugins", "list", "--json", env=env)[0])
        ended[name] = results

    stdout = sys.stdout
    threads = [Thread(target=work, args=given) for given in (("one", 20_000), ("two", 30_000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert ended == {
        "one": [each for round in range(5) for each in (0, str(20_000 + round), 0)],
        "two": [each for round in range(5) for each in (0, str(30_000 + round), 0)],
    }
    assert sys.stdout is stdout
