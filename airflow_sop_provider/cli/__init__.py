"""The command line, `sop`: write, check and understand SOPs without an Airflow at hand; run and follow them with one.

`main` is the console script. It is the one place that turns what can go wrong outside a
command's own work into an exit code: Ctrl-C is 130, a reader that went away (`sop validate
sops | head`) is 141 as for any Unix program, and nothing prints a stack trace. The commands
themselves stand in `cli.app`, each importing its work only when it is called, so that
`sop --help` and shell completion answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

EXIT_INTERRUPTED = 130
"""128 + SIGINT."""

EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE."""

_BUG_HELP = "This is a bug of `sop`; SOP_TRACEBACK=1 in the environment shows where."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process.

    :param arguments: the arguments after the program's name; None takes those of the process.
    :raises SystemExit: always; code 0 done, 1 an error in a file or work that failed, 2 wrong usage, 3 to 5 and 124 as
        `cli.connection` says, 130 interrupted, 141 broken pipe.
    """
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201 - click may be what was being imported
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        code = EXIT_BROKEN_PIPE
    except Exception as error:  # a bug of ours: one line, and how to see more
        if os.environ.get("SOP_TRACEBACK"):
            raise
        print(f"Error: {type(error).__name__}: {error}\n{_BUG_HELP}", file=sys.stderr)  # noqa: T201 - as above
        code = 1
    raise SystemExit(code)


def _run(arguments: Sequence[str] | None) -> int:
    import click

    from airflow_sop_provider.cli.app import ReaderGoneError, app

    try:
        code = app.main(arguments, prog_name="sop", standalone_mode=False)
    except click.exceptions.Abort as abort:  # what click makes of Ctrl-C
        raise KeyboardInterrupt from abort
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ReaderGoneError as error:
        raise BrokenPipeError from error
    except OSError as error:
        click.echo(f"Error: {_describe(error)}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _silence_stdout() -> None:
    """Point stdout at nothing, else Python complains about the pipe once more while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
