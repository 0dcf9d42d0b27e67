"""Whatever stands in the profile index, and however a place is spelled: it is read, or refused in words, and never lost."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from portico.app import App
from portico.errors import PorticoError
from portico.paths import Paths
from portico.store.profiles import ProfileIndex

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import strategies as st  # noqa: E402 - behind the skip

pytestmark = pytest.mark.requirement("E82")

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["minimax-portal:default", "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["version", "profiles", "store", "id", "slot", "generation", "x"]), inner, max_size=6)
    ),
    max_leaves=12,
)
INDEXES = st.binary(max_size=200) | ODD.map(lambda value: json.dumps(value).encode())


@hypothesis.given(INDEXES)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_index_is_read_or_refused_and_what_was_in_it_is_still_there(tmp_path, data):
    for old in (path for path in tmp_path.iterdir() if path.is_file()):
        old.unlink()
    index = ProfileIndex(Paths(tmp_path / "portico.json5", tmp_path, "fuzz"))
    index.path.write_bytes(data)
    index.path.chmod(0o600)

    with suppress(PorticoError):
        assert all(profile.id for profile in index.profiles())

    assert data in [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]


@hypothesis.given(st.text(max_size=40), st.text(max_size=40))
def test_any_spelling_of_a_place_is_a_whole_path_or_refused(config, state):
    env = {name: text for name, text in (("PORTICO_CONFIG", config), ("PORTICO_STATE_DIR", state)) if "\0" not in text}

    with suppress(PorticoError):
        paths = App(env={"HOME": "/home/somebody", **env}).paths
        assert all(isinstance(path, Path) and path.is_absolute() for path in (paths.config, paths.state))
