"""A secret without quotes, or in a wrong place, is in no error message of the config."""

from __future__ import annotations

import json

import pytest

from portico.cli.main import main
from portico.config.document import ConfigSyntax, Document
from portico.errors import ConfigError

pytestmark = pytest.mark.requirement("E135")

SECRETS = ("sk12345", "hunter2", "0x5ec7e7", "4815162342", "пароль", "s3cr\\u0065t")
TEXTS = (
    "{ apiKey: SECRET }",
    "{ apiKey: SECRET, b: 1 }",
    "{ apiKey: 'a' SECRET }",
    "{ apiKey: -SECRET }",
    "{ apiKey: +SECRET }",
    "{ apiKey: 1SECRET }",
    "{ apiKey: .SECRET }",
    "{ apiKey: ok-SECRET }",
    "{ apiKey: true SECRET }",
    "{ apiKey SECRET }",
    "{ apiKey: , SECRET }",
    "{ apiKey, SECRET }",
    "{ apiKey: {SECRET} }",
    "{ keys: [SECRET] }",
    "{ keys: ['a' SECRET] }",
    "{ keys: ['a', SECRET] }",
    "{ apiKey: 'a' } SECRET",
    "SECRET",
)


def _error_of(text: str) -> ConfigError | None:
    """What is wrong with the text; None for one that JSON5 allows, as it does a number in many of these places."""
    try:
        Document.parse(text, name="portico.json5")
    except ConfigError as error:
        return error
    return None


@pytest.mark.parametrize("secret", SECRETS)
def test_no_piece_of_an_unquoted_value_is_in_the_message_of_a_syntax_error(secret):
    errors = {text: error for text in TEXTS if (error := _error_of(text.replace("SECRET", secret))) is not None}
    rendered = {text: json.dumps(error.as_json("portico"), ensure_ascii=False) for text, error in errors.items()}

    assert len(errors) >= 8
    assert {text: words for text, words in rendered.items() if secret[:3] in words or secret[-3:] in words} == {}
    assert {type(error) for error in errors.values()} == {ConfigSyntax}
    assert all(error.where.startswith("portico.json5:1:") for error in errors.values())


@pytest.mark.parametrize("character", ["§", "#", "ß", "\x1b", "€"])
def test_a_character_that_no_json5_has_is_not_repeated_since_it_may_begin_a_password(character):
    with pytest.raises(ConfigError) as exc_info:
        Document.parse(f"{{ apiKey: {character}ecret }}", name="portico.json5")

    assert character not in exc_info.value.message
    assert character.encode("unicode_escape").decode() not in exc_info.value.message


@pytest.mark.parametrize(
    "text",
    [
        "{ env: { MINIMAX_API_KEY: sk12345 } }",
        "{ models: { providers: { minimax: { apiKey: sk12345, baseUrl: 'https://a.example' } } } }",
        "{ models: { providers: { minimax: { api: 'sk12345' } } } }",
        "{ auth: { store: 'sk12345' } }",
        "{ history: 'sk12345' }",
        "{ models: { providers: { minimax: { baseUrl: 'sk12345' } } } }",
        "{ gateway: { port: 'sk12345' } }",
        "{ plugins: { entries: { 'minimax-portal-auth': { enabled: 'sk12345' } } } }",
        "{ plugins: { entries: { 'minimax-portal-auth': { config: { portals: 'sk12345' } } } } }",
    ],
)
def test_no_command_shows_a_value_that_it_refuses(text, paths, monkeypatch, capsys):
    monkeypatch.setenv("PORTICO_CONFIG", str(paths.config))
    monkeypatch.setenv("PORTICO_STATE_DIR", str(paths.state))
    paths.config.write_text(text, encoding="utf-8")
    paths.config.chmod(0o600)

    for words in (("config", "validate"), ("models", "list"), ("config", "validate", "--json"), ("models", "list", "--json")):
        main([*words], program="portico")
        output = capsys.readouterr()
        assert "sk12345" not in output.out + output.err, words


def test_a_value_typed_on_the_command_line_is_not_repeated_in_its_error(paths, monkeypatch, capsys):
    monkeypatch.setenv("PORTICO_CONFIG", str(paths.config))
    monkeypatch.setenv("PORTICO_STATE_DIR", str(paths.state))

    assert main(["config", "set", "env.MINIMAX_API_KEY", "{ sk12345", "--json"], program="portico") == 2
    assert main(["config", "set", "auth.store", "sk12345"], program="portico") == 9
    output = capsys.readouterr()
    assert "sk12345" not in output.out + output.err
