"""``mlpconv`` and ``python -m mlpconv``: run a command; a user's mistake ends in one message and its exit code."""

import logging
import os
import sys

from mlpconv.errors import MlpconvError


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong usage or input, 3 training failed, 130 or 143 stopped, 1 a bug."""
    from mlpconv.cli import app

    logging.basicConfig(format="%(message)s", level=os.environ.get("MLPCONV_LOG", "WARNING").upper())
    try:
        app()
    except MlpconvError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
