"""``mlpconv`` and ``python -m mlpconv``: run a command; a user error prints one message and sets the exit code."""

import logging
import os
import sys
from contextlib import suppress

from mlpconv.errors import MlpconvError, limit_message, unknown
from mlpconv.hardware import fit_threads

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong usage or input, 3 training failed, 130 or 143 stopped, 1 a bug."""
    try:
        _run()
    except SystemExit as ended:
        _end_at_once(ended.code)
        raise
    _end_at_once(0)


def _run() -> None:
    from mlpconv.cli import app

    try:
        _set_log_level()
        fit_threads()
        try:
            app()
        finally:
            # Flush here: an error while Python exits could not be handled.
            sys.stdout.flush()
    except MlpconvError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        message = limit_message(error) or (_environment_error(error) if isinstance(error, OSError) else None)
        if message is None:
            raise
        # What is still in the buffer would fail again while Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _end_at_once(code: object) -> None:
    """End one of several processes without Python's own end, during which PyTorch's threads sometimes abort it."""
    processes = sys.modules.get("mlpconv.backends.processes")
    if processes is None or processes.place().size == 1 or not isinstance(code, int | None):
        return
    with suppress(OSError, ValueError):  # a closed pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)


def _environment_error(error: OSError) -> str | None:
    """The message for an error that the machine causes; None for one that could be a bug."""
    from mlpconv.files import REMEDIES, unwritable

    if "temporary directory" in str(error):  # of tempfile, or Matplotlib
        tried = dict.fromkeys((os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp", "the working directory"))
        return f"no directory for temporary files can be written ({', '.join(tried)}); set TMPDIR to one that can"
    if error.errno not in REMEDIES:
        return None
    name = error.filename or "the output"
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    return unwritable(name, error, otherwise="")


def _set_log_level() -> None:
    level = os.environ.get("MLPCONV_LOG", "WARNING").upper()
    if level not in _LEVELS:
        raise MlpconvError(f"MLPCONV_LOG: {unknown('level', level, _LEVELS)}")
    logging.basicConfig(format="%(message)s", level=level)


if __name__ == "__main__":
    main()
