"""A value made of files: read again when one changes, and after a while where it could not be read."""

from __future__ import annotations

import pytest

from portico.errors import StoreError
from portico.gateway.reloading import Reloading


class Source:
    """A file, and a store that may be away."""

    def __init__(self, path):
        self.path = path
        self.loads = 0
        self.away = False

    def load(self):
        self.loads += 1
        if self.away:
            raise StoreError("keyring-unavailable", "The keyring is away.")
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
    assert [await value.now(), await value.now(), source.loads, value.fault.id] == ["failed", "failed", 1, "keyring-unavailable"]

    source.away = False
    assert await value.now() == "failed"
    value._retry_at = 0.0
    assert [await value.now(), value.fault, source.loads] == ["one", None, 2]


async def test_what_stopped_being_readable_keeps_its_last_value_and_comes_back_without_a_change(source):
    value = Reloading(source.load, "failed", keeps=True)
    assert await value.now() == "one"

    source.away = True
    source.path.write_text("another")
    assert [await value.now(), value.fault.id] == ["one", "keyring-unavailable"]

    source.away = False
    value._retry_at = 0.0
    assert [await value.now(), value.fault] == ["another", None]
