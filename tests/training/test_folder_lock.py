"""One run at a time works in a folder, whoever held it before."""

import json
import multiprocessing
import os
import signal
import socket

import pytest

from openbook.errors import OpenbookError
from openbook.training.folder_lock import NAME, lock_folder

fork = multiprocessing.get_context("fork")


def hold(folder, ready, child_too=False):
    """Hold the lock until killed; with a child that outlives this process and holds it too."""
    with lock_folder(folder, folder):
        if (child_too and os.fork() == 0) or not child_too:
            ready.send(os.getpid())
        signal.pause()


def in_another_process(folder, **options):
    ours, theirs = fork.Pipe()
    process = fork.Process(target=hold, args=(folder, theirs), kwargs=options)
    process.start()
    return process, ours.recv()


def test_a_held_folder_is_refused_by_the_holders_name_and_free_when_it_is_killed(tmp_path):
    process, holder = in_another_process(tmp_path)
    with pytest.raises(OpenbookError, match=f"x.openbook: process {holder} trains into it; .*another output"):
        lock_folder(tmp_path, tmp_path / "x.openbook").__enter__()
    process.kill()
    process.join()
    assert (tmp_path / NAME).exists()
    with lock_folder(tmp_path, tmp_path):
        assert json.loads((tmp_path / NAME).read_text()) == {"process": os.getpid(), "host": socket.gethostname()}
    assert not list(tmp_path.iterdir())


def test_a_lock_is_seen_through_that_only_a_child_of_a_run_that_is_gone_holds(tmp_path):
    process, child = in_another_process(tmp_path, child_too=True)
    process.kill()
    process.join()
    try:
        with lock_folder(tmp_path, tmp_path), pytest.raises(OpenbookError, match=f"process {os.getpid()} "):
            lock_folder(tmp_path, tmp_path).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lock_of_another_host_is_refused_with_the_cure(tmp_path):
    (tmp_path / NAME).write_text(json.dumps({"process": 1, "host": "else\x1bwhere"}))
    with pytest.raises(OpenbookError, match=r"process 1 on else\W+x1bwhere .*If it no longer runs, delete .*/lock"):
        lock_folder(tmp_path, tmp_path).__enter__()


@pytest.mark.parametrize("content", ["", "{", '{"process": 1e99}', "[]", '{"process": 0, "host": ""}'])
def test_other_content_is_no_holder(tmp_path, content):
    (tmp_path / NAME).write_text(content.replace('""', json.dumps(socket.gethostname())))
    with lock_folder(tmp_path, tmp_path):
        pass


@pytest.mark.parametrize("alive", [True, False])
def test_where_files_cannot_be_locked_the_named_process_decides(tmp_path, monkeypatch, alive):
    monkeypatch.setattr("openbook.training.folder_lock._try_lock", lambda handle: None)
    gone = fork.Process(target=int)
    gone.start(), gone.join()
    (tmp_path / NAME).write_text(
        json.dumps({"process": os.getpid() if alive else gone.pid, "host": socket.gethostname()})
    )
    if alive:
        with pytest.raises(OpenbookError, match="trains into it"):
            lock_folder(tmp_path, tmp_path).__enter__()
    else:
        with lock_folder(tmp_path, tmp_path):
            pass


def test_of_many_that_begin_at_once_one_works(tmp_path):
    """Among them a stale lock: each looks, one may see through it."""
    (tmp_path / NAME).write_text(json.dumps({"process": 2**22 + 1, "host": socket.gethostname()}))
    inside = tmp_path / "inside"

    def work():
        for _ in range(40):
            try:
                with lock_folder(tmp_path, tmp_path):
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another one is inside
                    inside.unlink()
            except OpenbookError:
                pass

    workers = [fork.Process(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert [each.exitcode for each in workers] == [0] * 4
