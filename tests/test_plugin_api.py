"""What a plugin may import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from portico import plugin_api


@pytest.mark.parametrize("name", plugin_api.__all__)
def test_every_name_of_the_plugin_api_is_there(name):
    assert getattr(plugin_api, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = plugin_api.nothing


def test_importing_the_plugin_api_loads_no_oauth_engine():
    code = "import sys, portico.plugin_api; print([n for n in sys.modules if 'oauth' in n or n in ('aiohttp', 'authlib', 'ssl')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
