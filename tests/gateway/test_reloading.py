"""A value made of files: read again when one changes, and after a while where it could not be read."""

from __future__ import annotations

import pytest

from portico.gateway.router import Reloading
from portico.store.errors import KeyringUnavailable
from tests.gateway.fronts import configure, gateway
from tests.gateway.providers import WHOLE, answered, provider


class Source:
    """A file, and a store that may be away."""

    def __init__(self, path):
        self.path = path
        self.loads = 0
        self.away = False

    def load(self):
        self.loads += 1
        if self.away:
            raise KeyringUnavailable("The keyring is away.")
        return self.path.read_text(), [self.path]


@pytest.fixture
def source(tmp_path):
    source = Source(tmp_path / "file")
    source.path.write_text("one")
    return source


async def test_a_value_is_read_once_until_its_file_changes(source):
    value = Reloading(source.load, "failed")
    assert [await value.now(), await value.now(), source.loads] == ["one", "one", 1]

    source.path.write_text("another")
    assert [await value.now(), source.loads] == ["another", 2]


async def test_what_failed_before_any_file_was_known_is_tried_again_after_a_while(source):
    source.away = True
    value = Reloading(source.load, "failed", keeps=True)
    assert [await value.now(), await value.now(), source.loads, value.error.id] == ["failed", "failed", 1, "keyring-unavailable"]

    source.away = False
    assert await value.now() == "failed"
    value._retry_at = 0.0
    assert [await value.now(), value.error, source.loads] == ["one", None, 2]


async def test_what_stopped_being_readable_keeps_its_last_value_and_comes_back_without_a_change(source):
    value = Reloading(source.load, "failed", keeps=True)
    assert await value.now() == "one"

    source.away = True
    source.path.write_text("another")
    assert [await value.now(), value.error.id] == ["one", "keyring-unavailable"]

    source.away = False
    value._retry_at = 0.0
    assert [await value.now(), value.error] == ["another", None]


class Broken(Source):
    """A file whose reading can fail in a way that nobody foresaw."""

    def load(self):
        self.loads += 1
        if self.away:
            raise RuntimeError("a plugin raised this: sk-not-a-secret-0123456789")
        return self.path.read_text(), [self.path]


@pytest.fixture
def broken(tmp_path):
    source = Broken(tmp_path / "file")
    source.path.write_text("one")
    source.away = True
    return source


@pytest.mark.requirement("E149")
async def test_a_first_load_that_fails_unforeseen_is_tried_again_after_a_while(broken):
    value = Reloading(broken.load, "failed", keeps=True)
    assert [await value.now(), await value.now(), broken.loads] == ["failed", "failed", 1]
    assert (value.error.id, value.error.exit_code) == ("internal-error", 1)

    broken.away = False
    value._retry_at = 0.0
    assert [await value.now(), value.error, broken.loads] == ["one", None, 2]


@pytest.mark.requirement("E149")
async def test_a_later_load_that_fails_unforeseen_keeps_the_value_and_is_tried_again_when_the_file_changes(broken):
    broken.away = False
    value = Reloading(broken.load, "failed", keeps=True)
    assert await value.now() == "one"

    broken.away = True
    broken.path.write_text("another")
    assert [await value.now(), value.error.id, broken.loads] == ["one", "internal-error", 2]

    broken.away = False
    broken.path.write_text("a third one")
    assert [await value.now(), value.error, broken.loads] == ["a third one", None, 3]


@pytest.mark.requirement("E149")
async def test_keys_that_could_not_be_read_for_an_unforeseen_reason_are_no_keys(broken):
    broken.away = False
    value = Reloading(broken.load, "failed")
    await value.now()
    broken.away = True
    broken.path.write_text("another")
    assert [await value.now(), value.error.id] == ["failed", "internal-error"]


@pytest.mark.requirement("E149")
@pytest.mark.parametrize(
    ("error", "name"),
    [(error, error.__name__) for error in (RuntimeError, RecursionError, MemoryError, ImportError, KeyboardInterrupt)]
    + [(StopIteration, "RuntimeError"), (SystemExit, "RuntimeError")],
)
async def test_whatever_is_raised_it_is_logged_once_and_shows_no_secret(broken, error, name, caplog):
    def load():
        raise error("sk-not-a-secret-0123456789")

    value = Reloading(load, "failed", keeps=True)
    for _ in range(3):
        value._retry_at = 0.0
        await value.now()
    logged = [record for record in caplog.records if record.name == "portico.gateway.router"]
    assert len(logged) == 1
    assert name in caplog.text
    assert "sk-not-a-secret" not in caplog.text + str(value.error)


@pytest.mark.requirement("E149")
async def test_the_gateway_answers_again_once_what_failed_at_its_start_works(paths, monkeypatch):
    from portico.gateway import router

    works = router.live_models

    def fails(_installation):
        raise RuntimeError("not foreseen")

    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        monkeypatch.setattr(router, "live_models", fails)
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
            assert (status, reply["error"]["code"]) == (500, "internal-error")
            monkeypatch.setattr(router, "live_models", works)
            here.front.models._retry_at = here.front.models._check_at = 0.0
            assert (await here.json())[:2] == (200, WHOLE)
