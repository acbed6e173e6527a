"""Starts a program that cannot outlive its starter: ``python -I -S guard.py PARENT_PID PROGRAM ARGUMENT...``.

Standard library only and run as a file, so that it costs some 15 ms. The kernel kills the
program when the runner dies, however it dies. Needed because MCP's stdio transport starts servers in a
session of their own, where a signal to the attempt's process group would not reach them.
Preparing this between fork and exec in the runner itself is not safe once it has threads.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above took effect
        sys.exit(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
    os.execv(program, arguments)  # noqa: S606 - becoming that program is the purpose


if __name__ == "__main__":
    main()
