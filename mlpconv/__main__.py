"""``mlpconv`` and ``python -m mlpconv``: run a command; a user error prints one message and sets the exit code."""

import errno
import logging
import os
import sys

from mlpconv.errors import MlpconvError, unknown

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong usage or input, 3 training failed, 130 or 143 stopped, 1 a bug."""
    from mlpconv.cli import app

    try:
        _set_log_level()
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        name = error.filename or "the output"
        print(f"error: {name}: cannot be written: {error.strerror}; free some space", file=sys.stderr)
        sys.exit(2)


def _set_log_level() -> None:
    level = os.environ.get("MLPCONV_LOG", "WARNING").upper()
    if level not in _LEVELS:
        raise MlpconvError(f"MLPCONV_LOG: {unknown('level', level, _LEVELS)}")
    logging.basicConfig(format="%(message)s", level=level)


if __name__ == "__main__":
    main()
