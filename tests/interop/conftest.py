"""Folders of made-up models are shared by the tests here, and taken away at the end."""

import shutil

import pytest
from foreign_models import made, made_pair


@pytest.fixture(scope="session", autouse=True)
def _tidy():
    yield
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    made.clear()
    made_pair.cache_clear()
