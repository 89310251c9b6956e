"""The native engine under AddressSanitizer and UndefinedBehaviorSanitizer: kernels alone, then the engine's own tests.

Slow, since it compiles the library anew: `make test-sanitized`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="preloads the sanitizers as Linux does"),
    pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("g++") is None, reason="needs CMake and g++"),
]


def run(*command: object, **environment: str) -> None:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def test_no_sanitizer_complains(tmp_path: Path) -> None:
    switches = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DOPENBOOK_SANITIZE=ON", "-DOPENBOOK_TESTS=ON"]
    run("cmake", "-S", ROOT / "native", "-B", tmp_path, *switches)
    run("cmake", "--build", tmp_path, "--parallel", str(os.cpu_count()))
    run(tmp_path / "openbook_kernels_test")
    # The sanitizer looks for the functions that throw exceptions before Python has loaded the library that has them.
    preloaded = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    folder = Path(__file__).parent
    # Leaks are Python's own; a limit on memory would be one on the sanitizer's.
    run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(folder / "test_native_engine.py", folder / "test_pieces.py"),
        OPENBOOK_NATIVE=str(tmp_path / "libopenbook_engine.so"),
        LD_PRELOAD=" ".join(preloaded),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="halt_on_error=1",
    )
