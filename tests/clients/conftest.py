"""A server that wants a key, beside the one of `live`."""

import pytest

from live_server import serving


@pytest.fixture(scope="session")
def keyed(live, tmp_path_factory):
    """It wants the key `secret`, and serves the language model alone."""
    with serving(tmp_path_factory.mktemp("keyed"), live.models["chat"], options=("--api-key", "secret")) as server:
        yield server
