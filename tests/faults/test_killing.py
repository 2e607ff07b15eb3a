"""Case 1 over and over: `kill -9` at random moments, each survived; the end is that of a run never interrupted."""

import random
import signal
import time

from support.command_processes import KILLED, KILLS, training_arguments
from support.run_contents import contents_without_times


def test_01_kills_at_random_moments(processes, tmp_path, faults):
    # Enough steps that a kill falls into training more often than into its beginning; saved after each.
    command = training_arguments(tmp_path, epochs=3, **{"batch-size": 40, "checkpoint-every": "1steps"})
    assert processes.run(*command, "--out", tmp_path / "whole").code == 0
    expected = contents_without_times(tmp_path / "whole")
    draw = random.Random(KILLS)
    runs = 0
    while faults.put_in < KILLS:
        runs += 1
        path = tmp_path / f"run-{runs}"
        while not (path / "result.json").exists():
            begun = (path / "config.json").exists()
            more = ["train", "--json", "--resume", "--checkpoint-every", "1steps"] if begun else command
            process = processes.start(*more, "--out", path)
            if faults.put_in >= KILLS:
                assert process.wait().code == 0
                break
            time.sleep(draw.uniform(0, 0.35))
            process.send(signal.SIGKILL)
            ended = process.wait()
            if ended.code == KILLED:
                with faults:
                    assert "Traceback" not in ended.err
            else:  # it was done before
                assert ended.code == 0, ended.err
        done = processes.run("train", "--json", "--resume", "--out", path)
        assert done.code == 0, done.err
        assert contents_without_times(path) == expected
