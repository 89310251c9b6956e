"""`openbook train --processes N`: starts the processes on this machine, as torchrun would."""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from torch._C._distributed_c10d import FileStore

from openbook.training.distributed.process_group import RENDEZVOUS, has_not_spoken, own_store

ENDING_SECONDS = 3600
"""For the processes to end after Ctrl-C: they finish a step, score and write the model."""

STORE = "store"
"""The file where they meet."""

LAUNCHER = "OPENBOOK_LAUNCHER"
"""The process that started the others."""


def launch(processes: int, arguments: Sequence[str]) -> tuple[int, str]:
    """Run `openbook` with these arguments in several processes of this machine until all have ended.

    They meet through a file and talk over the loopback interface, so nothing listens to the network.

    Returns:
        the exit code, 0 if all went well; and what became of a process that ended without a word, or "".
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # the processes say themselves what went wrong
    with tempfile.TemporaryDirectory(prefix="openbook-") as folder:
        os.environ |= _environment(Path(folder), processes)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=f"openbook-{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder) / "rendezvous"),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=ENDING_SECONDS,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "openbook", *arguments)
        except SignalException as error:
            return 128 + error.sigval, ""
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode >= 0:
                return failure.exitcode, ""
            name = signal.Signals(-failure.exitcode).name
            said = not has_not_spoken(own_store(FileStore(f"{folder}/{STORE}", processes)))
            return 1, "" if said else f"rank {rank} was ended by {name}; the same command resumes where it can"
    return 0, ""


def _environment(folder: Path, processes: int) -> dict[str, str]:
    """What tells the processes where to meet and how many cores each has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    return {
        RENDEZVOUS: f"file://{folder}/{STORE}",
        LAUNCHER: str(os.getpid()),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # it would listen on all interfaces
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // processes))),
    }


def end_with_launcher() -> None:
    """End this process soon after the one that started it, so that none stays behind when that is killed."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="launcher", daemon=True).start()
