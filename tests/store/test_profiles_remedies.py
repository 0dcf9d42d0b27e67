"""The command that makes a sign-in again is of that sign-in alone."""

from __future__ import annotations

from portico.store.profiles import sign_in_again
from tests.store.helpers import a_profile


def test_the_remedy_names_region_and_profile_as_a_shell_takes_them():
    assert sign_in_again(a_profile("my work", provider="test", region="cn")) == (
        "{prog} models auth login --provider test --region cn --profile 'my work' --replace"
    )


def test_a_provider_without_regions_is_named_without_one():
    assert sign_in_again(a_profile("one", provider="test", region="")) == (
        "{prog} models auth login --provider test --profile one --replace"
    )
