"""Compiles the native engine while openbook is installed. Where there is no C++ compiler, openbook does without."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "src/openbook/generation/engines/native"
SUFFIXES = (".so", ".dylib", ".dll")


class NativeEngineHook(BuildHookInterface[Any]):
    """Builds the library and puts it into the wheel, which then is for this platform, whatever the Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; `version` is "editable" for an editable install."""
        if self.target_name != "wheel":
            return
        library = self._compile()
        if library is None:
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"/{PLACE}/{library.name}")

    def _compile(self) -> Path | None:
        """The compiled library in its place among the sources, or None where it cannot be compiled."""
        if os.environ.get("OPENBOOK_WITHOUT_NATIVE"):
            return None
        cmake = shutil.which("cmake")
        if cmake is None:
            print("openbook: no CMake, so the native engine is left out", file=sys.stderr)
            return None
        native = Path(self.root, "native")
        newest = max(path.stat().st_mtime for path in native.rglob("*") if path.is_file())
        for built in Path(self.root, PLACE).iterdir():
            if built.suffix in SUFFIXES and built.stat().st_mtime > newest:
                return built
        with tempfile.TemporaryDirectory() as folder:
            configure = [cmake, "-S", str(native), "-B", folder, "-DCMAKE_BUILD_TYPE=Release"]
            build = [cmake, "--build", folder, "--config", "Release", "--parallel", str(os.cpu_count() or 1)]
            for command in (configure, build):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(
                        f"openbook: the native engine is left out: it does not compile here\n{done.stderr}",
                        file=sys.stderr,
                    )
                    return None
            found = next((path for path in Path(folder).rglob("*openbook_engine*") if path.suffix in SUFFIXES), None)
            if found is None:
                return None
            place = Path(self.root, PLACE, found.name)
            # Beside it first: a process that has the old library open keeps it.
            beside = place.with_suffix(".new")
            shutil.copyfile(found, beside)
            beside.replace(place)
            return place
