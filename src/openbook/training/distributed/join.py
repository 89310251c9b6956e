"""How a process that torchrun or `--processes` started becomes one of a group."""

from collections.abc import Iterator
from contextlib import contextmanager

from openbook.errors import OpenbookError, SettingError
from openbook.training.group import ALONE, Group, is_member, member_of
from openbook.training.request import TrainingRequest

TIMEOUT_SECONDS = 600.0
"""How long a process waits for another before the run ends."""


@contextmanager
def joined(request: TrainingRequest, timeout: float = TIMEOUT_SECONDS) -> Iterator[Group]:
    """The group that this process was started for, which then trains by this request; or it alone.

    Args:
        request: what is asked for; the same in every process.
        timeout: seconds to wait for another process before the run ends.

    Raises:
        OpenbookError: the processes cannot reach each other, are not alike, or one of them ends or hangs.
    """
    if not is_member():
        yield ALONE
        return
    import torch

    from openbook.training.distributed.agreement import check_agreement
    from openbook.training.distributed.launch import end_with_launcher
    from openbook.training.distributed.process_group import ProcessGroup, is_lost_connection
    from openbook.transformer.device import choose_device

    end_with_launcher()
    device = choose_device(request.device)
    if device.type == "mps":
        if request.device != "auto":
            raise SettingError("`device` mps: several processes train on cpu or cuda; leave it out")
        device = torch.device("cpu")
    group = ProcessGroup(device, timeout)
    group.sharded = request.shard
    with member_of(group):
        try:
            check_agreement(group, request)
            yield group
        except RuntimeError as error:
            if not is_lost_connection(error):
                raise
            raise OpenbookError(_lost(group.missing(), request, timeout, str(error))) from error


def _lost(ranks: list[int], request: TrainingRequest, timeout: float, reason: str) -> str:
    """What to say where other processes are gone or do not answer."""
    late = "imed out" in reason
    if len(ranks) > 1:
        named, did = f"ranks {', '.join(map(str, ranks))}", "do not answer" if late else "have ended"
    else:
        named, did = f"rank {ranks[0]}" if ranks else "another process", "does not answer" if late else "has ended"
    waited = f"{did} within {timeout:.0f} s" if late else did
    kept = "; the same command resumes from the last checkpoint" if request.folder.exists() else ""
    return f"{named} {waited}{kept}"
