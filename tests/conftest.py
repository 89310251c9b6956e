"""What all tests share: one thread and fixed seeds, so that a failure comes back."""

import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

_common = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile(
    "fixed", max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate], **_common
)
# HYPOTHESIS_PROFILE=explore looks further, and shrinks what it finds, which takes minutes.
settings.register_profile("explore", max_examples=300, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

torch.set_num_threads(1)  # the models here are far too small for two


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    """A server with tiny models, for all tests of a process that ask one: see `live_server`."""
    from live_server import TEMPLATE, serving, write_language_model, write_translator

    folder = tmp_path_factory.mktemp("served")
    models = (
        write_language_model(folder / "chat.openbook", TEMPLATE),
        write_language_model(folder / "plain.openbook"),
        write_translator(folder / "translator.openbook"),
    )
    with serving(folder, *models, options=("--max-batch-tokens", "8000000")) as server:
        yield server
