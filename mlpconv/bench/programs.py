"""Programs that a benchmark starts, and that print their result."""

import subprocess
from collections.abc import Mapping, Sequence

from mlpconv.errors import BenchmarkFailed

LAST_LINES = 15
"""Lines of standard error that the message of a failure shows."""


def output_of(command: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed.

    Args:
        command: The program and its arguments.
        name: What the message of a failure begins with.
        environment: Its environment variables; by default those of this process.

    Raises:
        BenchmarkFailed: The program cannot be started, or it failed; the message has the last lines of its errors.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except OSError as error:
        raise BenchmarkFailed(f"{name}: cannot be started: {error}") from None
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-LAST_LINES:])
        raise BenchmarkFailed(f"{name}: ended with {done.returncode}:\n{last}")
    return done.stdout
