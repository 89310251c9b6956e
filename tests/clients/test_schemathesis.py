"""The description of the server, and what it answers, by schemathesis: requests of all kinds against /openapi.json."""

import shutil
import subprocess

import pytest

CONFIG = """
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 413]
"""
"""Some fields do not go together, which a schema cannot say; and what is too long may be refused for its length."""


@pytest.mark.slow
def test_it_answers_as_it_describes_itself(live, tmp_path):
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [program, "--config-file", "schemathesis.toml", "run", f"{live.url}/openapi.json"]
    found = subprocess.run(
        [*command, "--max-examples", "50", "--seed", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout[-5000:]
