"""The command line: ``fastconv train | evaluate | predict | info | warmup | explain | tune | bench``.

What a user gets wrong ends with exit code 2 and one line on standard error, Ctrl-C with 130; 1 says that ``bench`` found
something wrong or slower.  Results go to standard output,
everything said along the way to standard error.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

from fastconv.errors import FastconvError

from .arguments import parser

USER_ERROR, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``fastconv``; by default those of this process.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        With code 2 after words that make no command, with 0 after ``--help`` and ``--version``.
    """
    arguments = parser().parse_args(argv)
    module = import_module(f"fastconv.cli.{arguments.module}")  # only what this command needs: starting stays quick
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int | None = getattr(module, arguments.command)(arguments)
            sys.stdout.flush()
            return code or 0
    except FastconvError as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("fastconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_output()  # whoever read it, as ``head``, has seen enough
    except OSError as error:  # a file that may not be read, a full disk beneath standard output
        try:
            sys.stdout.flush()
        except OSError:
            _abandon_output()
        return _fail(error)
    return 0


def _abandon_output() -> None:
    """Send nowhere what could not be written: Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception) -> int:
    line = "; ".join(part.strip() for part in str(error).splitlines())
    print(f"fastconv: error: {line}", file=sys.stderr)
    return USER_ERROR


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write a warning as one line, without the place in the source that Python adds."""
    print(f"fastconv: warning: {message}", file=file or sys.stderr)
