from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from portico.plugins.builtin import BUILT_IN, MINIMAX

PROVIDERS = [each.spec for each in BUILT_IN.values()]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.id)
def test_a_built_in_provider_sends_its_key_to_hosts_it_names_only(provider):
    assert set(provider.base_urls) == set(provider.hosts)
    for region, url in provider.base_urls.items():
        assert urlsplit(url).hostname in provider.hosts[region]
        assert urlsplit(url).scheme == "https" or urlsplit(url).hostname == "127.0.0.1"


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.id)
def test_every_figure_of_a_built_in_model_has_a_source(provider):
    for model in provider.models:
        assert model.source is not None


def test_minimax_has_both_models_of_the_page_and_both_regions():
    assert {"MiniMax-M2.1", "MiniMax-M2.1-lightning"} <= {model.id for model in MINIMAX.models}
    assert set(MINIMAX.base_urls) == {"global", "cn"}
