"""What the native engine does when memory ends in the middle of a pass: it says so, closes the session, and goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from openbook.generation.engines.native.library import find_library

pytestmark = [
    pytest.mark.skipif(find_library() is None, reason="the native engine is not compiled"),
    pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does"),
]

SCRIPT = """
import resource
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from openbook.errors import OpenbookError
from openbook.generation.engines.native.engine import NativeEngine
from openbook.generation.engines.native.from_torch import as_weights
from strategies import DEFAULT, build

spec = replace(DEFAULT, context=1 << 20)
engine = NativeEngine(spec, as_weights(build(spec)), threads=int(sys.argv[2]))
session, _ = engine.prefill([[1, 2, 3]])
used = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line)
limit = used * 1024 + (24 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
many = [1] * 200_000
for attempt in (lambda: session.extend([many]), lambda: session.extend([[4]]), lambda: engine.prefill([many])):
    try:
        attempt()
        print("no error")
    except OpenbookError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(engine.prefill([[1, 2, 3]])[1]), "row")
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_that_ends_in_a_pass_closes_the_session_and_no_other(threads: int) -> None:
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[2]), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "native engine: out of memory",
        "native engine: an earlier error closed this session; start another one",
        "native engine: out of memory",
        "1 row",
    ], done.stderr[-2000:]
