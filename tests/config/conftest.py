from __future__ import annotations

import pytest

from tests.config.helpers import Files


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)
