"""Whether all processes of a group are about to do the same, asked before the first step."""

import os
import platform
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from openbook import __version__
from openbook.errors import OpenbookError
from openbook.text.corpus.working_directory import size_and_mtime
from openbook.text.input_files import find_files
from openbook.text.printable import excerpt, printable
from openbook.training.group import Group
from openbook.training.request import INDEX, TrainingRequest

Facts = dict[str, dict[str, str]]
"""What must be the same everywhere: versions, options and files, each by name."""


def check_agreement(group: Group, request: TrainingRequest) -> None:
    """Refuse processes that have other versions, options or files than the first.

    Raises:
        OpenbookError: naming a process, what differs there, and how.
    """
    facts = group.together(lambda: facts_of(request))
    everywhere = group.all_values(facts)
    for rank, other in enumerate(everywhere):
        if difference := first_difference(everywhere[0], other):
            raise OpenbookError(f"rank {rank} differs from rank 0: {difference}; start all with the same")


def facts_of(request: TrainingRequest) -> Facts:
    """What this process would do.

    Raises:
        OpenbookError: a file is not there.
    """
    versions = {"openbook": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    options = {each.name: _shown(getattr(request, each.name)) for each in fields(request)}
    options |= {name: _shown(value) for name, value in request.choices.items()}
    del options["choices"]
    paths = find_files([*request.inputs, *(request.validation or [])])
    paths += [] if request.base_model is None else [Path(request.base_model)]
    paths += [] if request.tokens is None else [request.tokens / INDEX]
    files = {os.fspath(path): "{:,} bytes, changed at {} ns".format(*size_and_mtime(path)) for path in paths}
    files["the output's folder"] = os.path.realpath(request.output.parent)
    return {"version of": versions, "option": options, "file": files}


def first_difference(one: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> str:
    """What differs first, with both values; "" if nothing does."""
    for kind, mine in one.items():
        theirs = other[kind]
        for name in [*mine, *theirs]:
            if mine.get(name) != theirs.get(name):
                there, here = theirs.get(name, "absent"), mine.get(name, "absent")
                return f"{kind} {printable(name)} is {excerpt(there, 80)} there, {excerpt(here, 80)} here"
    return ""


def _shown(value: Any) -> str:
    return str([str(each) for each in value] if isinstance(value, list | tuple) else value)
