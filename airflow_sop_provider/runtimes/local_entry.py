"""First program of a local attempt: makes sure it runs once, confines itself, becomes the step.

Started by path with ``python -I -S``, so it may import nothing but a few built-in modules: it costs
every step its start-up time. It decides whether the attempt has run already, because only the
process that will *be* the attempt can do so safely: a starter can be killed at any instruction.
Lock first, then the marker on disk, then exec: whoever finds the marker knows that the program may
have acted; whoever finds neither knows that it has not. The lock stays with the program (an open
file survives exec), so it also says "still running".

Arguments: folder, memory backstop in bytes (0: none), then the program's argv.
Status, one line on descriptor 3: ``started``, ``lost`` (another one runs or ran it), or ``error <errno> <text>``.
"""

# `signal` would import enum and re, which take longer than all else here; this one is loaded anyway, but has no stub
import _signal  # type: ignore[import-not-found]
import fcntl
import os
import resource
import sys
import time

STATUS = 3
EXIT_NOT_EXECUTABLE = 127


def say(text: str) -> None:
    """Tell the starter, which may be dead."""
    try:  # noqa: SIM105 - contextlib would have to be imported
        os.write(STATUS, text.encode())
    except OSError:
        pass


def take_lock() -> int | None:
    """Return the descriptor of the lock, None if the attempt runs or ran elsewhere."""
    descriptor = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return None if os.path.exists("started") else descriptor


def confine(memory_backstop: int) -> None:
    """Set limits that hold even when nobody watches, and offer this process to the OOM killer first."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_backstop:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = memory_backstop if hard == resource.RLIM_INFINITY else min(hard, memory_backstop)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        with open("/proc/self/oom_score_adj", "w") as adjustment:
            adjustment.write("500")
    except OSError:
        pass  # a sandbox may forbid it; it is a preference only


def write_marker() -> None:
    """Put pid, start time (ticks since boot), boot id and time on disk, durably and all or nothing."""
    with open("/proc/self/stat") as stat, open("/proc/sys/kernel/random/boot_id") as boot:
        start = stat.read().rpartition(")")[2].split()[19]
        line = f"{os.getpid()} {start} {boot.read().strip()} {time.time():.6f}\n"
    temporary = f"started.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
        os.rename(temporary, "started")
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def prepare(folder: str, memory_backstop: int) -> bool:
    """Become the attempt in everything but the program; False if another one is it."""
    os.umask(0o077)
    os.chdir(folder)
    os.set_inheritable(STATUS, False)
    lock = take_lock()
    if lock is None:
        return False
    os.closerange(lock + 1, 1 << 20)
    output = os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    confine(memory_backstop)
    write_marker()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.set_inheritable(lock, True)
    os.chdir("work")
    return True


def main() -> None:
    """Run the attempt named by the arguments."""
    try:
        won = prepare(sys.argv[1], int(sys.argv[2]))
    except OSError as error:
        say(f"error {error.errno} {error.strerror}: {error.filename}")
        os._exit(1)
    if not won:
        say("lost")
        os._exit(0)
    say("started")
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    argv = sys.argv[3:]
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the attempt's program, without a shell on purpose
    except OSError as error:
        text = f"{error.errno} cannot execute {argv[0]!r}: {error.strerror}\n".encode()
        os.write(2, text)
        os.write(os.open("../exec-error", os.O_WRONLY | os.O_CREAT, 0o600), text)
        os._exit(EXIT_NOT_EXECUTABLE)


main()
