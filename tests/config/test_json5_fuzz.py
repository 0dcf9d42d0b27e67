"""Random texts: each is parsed, or refused with its place, and nothing else happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from portico.config.check import check
from portico.config.document import ConfigSyntax, decode_document
from portico.errors import ConfigError
from portico.secret import Secret

if TYPE_CHECKING:
    from portico.config.document import Document

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis, which makes up the texts, is not installed")
st = pytest.importorskip("hypothesis.strategies")

LOCATION = re.compile(r"f:[1-9][0-9]*:[1-9][0-9]*")
PIECES = [
    *"{}[]:,\"'\\/+-.0123456789 \t\n\r\v\u00a0\u2028\ufeff$_#`;()!aé\U0001f600\0",
    *("//", "/*", "*/", "\\u0041", "\\x4", "0x", "1e", "Infinity", "NaN", "null", "true", "$include", "\r\n", "{a:", "['", "},"),
    *("models:", "providers:", "env:", "plugins:", "entries:", "gateway:", "port:", "agents:", "defaults:", "base:", "apiKey:"),
]
PEOPLE_WRITE = """{ // mine
  env: { A: 'sk-1', vars: { B: "2" } },
  models: { mode: "merge", providers: { p: { baseUrl: 'https://h', apiKey: "${A}", models: [ { id: "m", cost: { input: 1.5 } } ] } } },
  agents: { defaults: { model: { primary: "p/m", fallbacks: [] }, models: { "p/m": { alias: "x" } } } },
  plugins: { entries: { q: { enabled: true, config: {} } } }, gateway: { port: 0x4650, }, /* end */
}
"""


@st.composite
def damaged(draw):
    """A text of people with stretches of it gone, doubled or replaced."""
    text = PEOPLE_WRITE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + draw(st.sampled_from(["", text[start:end] * 2, *PIECES])) + text[end:]
    return text.encode("utf-8", "surrogatepass")


SOUP = st.lists(st.sampled_from(PIECES), max_size=30).map(lambda pieces: "".join(pieces).encode())
TEXTS = st.one_of(
    damaged(), SOUP, st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=40)
)


@pytest.mark.requirement("E82")
@pytest.mark.requirement("E75")
@hypothesis.given(TEXTS)
@hypothesis.example(b"[" * 100_000)
@hypothesis.example(b"{a:" * 5_000)
@hypothesis.example(b"/*" * 10_000)
@hypothesis.example(b"9" * 10_000)
@hypothesis.example(b'"' + b"\\" * 9_999)
def test_any_bytes_are_read_or_refused_with_their_place(data):
    document, error = read(data)
    if document is None:
        assert (type(error), bool(LOCATION.fullmatch(error.where))) == (ConfigSyntax, True)
        return
    config, problems = check(document)
    assert all(LOCATION.fullmatch(problem.where) for problem in problems)
    assert all(isinstance(provider.api_key, Secret | None) for provider in config.models.providers.values())


def read(data: bytes) -> tuple[Document | None, ConfigError | None]:
    try:
        return decode_document(data, "f"), None
    except ConfigError as error:
        return None, error
