"""Folders of made-up models are shared by the tests here, and taken away at the end."""

import shutil

import pytest
from foreign_models import made, pair


@pytest.fixture(scope="session", autouse=True)
def _tidy():
    yield
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    made.clear()
    pair.cache_clear()
