"""The first program of an attempt, run by path as the runtime runs it, but seen by coverage (no ``-I -S``)."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from pathlib import Path

import pytest

from airflow_sop_provider.runtimes import local_spawn

ENTRY = str(Path(local_spawn.__file__).with_name("local_entry.py"))


class Ended:
    """What an entry program said on descriptor 3, and how the program it became ended."""

    def __init__(self, folder: Path, backstop: int, *argv: str) -> None:
        read_end, write_end = os.pipe()
        environment = {"PATH": os.environ["PATH"]}
        command = [sys.executable, ENTRY, str(folder), str(backstop), *argv]
        moved = [(os.POSIX_SPAWN_DUP2, write_end, 3), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        pid = os.posix_spawn(sys.executable, command, environment, file_actions=moved)
        os.close(write_end)
        with os.fdopen(read_end) as status:
            self.said = status.read()
        self.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        log = folder / "output.log"
        self.log = log.read_text() if log.exists() else ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path


def test_becomes_the_program_in_its_own_folder(folder: Path) -> None:
    ended = Ended(folder, 0, "sh", "-c", "pwd; echo err >&2; umask; ulimit -c; cat /proc/self/oom_score_adj; exit 7")
    assert (ended.said, ended.code) == ("started", 7)
    assert ended.log.splitlines() == [str(folder / "work"), "err", "0077", "0", "500"]
    pid, start, boot, moment = (folder / "started").read_text().split()
    assert int(pid) > 0
    assert int(start) > 0
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert float(moment) > 0
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "output.log", "started", "work"]


def test_keeps_the_lock_while_the_program_runs(folder: Path) -> None:
    program = (
        "import fcntl, os\n"
        "lock = os.open('../lock', os.O_RDWR)\n"
        "try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: print('held')\n"
    )
    assert Ended(folder, 0, sys.executable, "-c", program).log == "held\n"


def test_a_second_one_is_lost_and_does_nothing(folder: Path) -> None:
    assert Ended(folder, 0, "sh", "-c", "echo one").said == "started"
    again = Ended(folder, 0, "sh", "-c", "echo two")
    assert (again.said, again.code, again.log) == ("lost", 0, "one\n")


def test_it_is_lost_while_another_one_holds_the_lock(folder: Path) -> None:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = Ended(folder, 0, "sh", "-c", "echo ran")
    assert (ended.said, ended.code, ended.log) == ("lost", 0, "")
    assert not (folder / "started").exists()


def test_a_program_that_does_not_exist_is_told_twice(folder: Path) -> None:
    ended = Ended(folder, 0, "no-such-program")
    assert (ended.said, ended.code) == ("started", 127)
    said = "2 cannot execute 'no-such-program': No such file or directory\n"
    assert ended.log == (folder / "exec-error").read_text() == said


def test_a_folder_that_is_gone_is_an_error_with_its_number(tmp_path: Path) -> None:
    ended = Ended(tmp_path / "gone", 0, "true")
    assert ended.code == 1
    assert ended.said == f"error 2 No such file or directory: {tmp_path / 'gone'}"


def test_whatever_has_the_name_of_the_marker_counts(folder: Path) -> None:
    (folder / "started").mkdir()
    ended = Ended(folder, 0, "sh", "-c", "echo ran")
    assert (ended.said, ended.log) == ("lost", "")


def test_the_backstop_is_a_limit_of_the_program(folder: Path) -> None:
    assert int(Ended(folder, 300 * 1024 * 1024, "sh", "-c", "ulimit -d").log) == 300 * 1024
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 300 * 1024 * 1024
