"""The script that measures on a GPU: its parts are real commands, and it continues where it was stopped."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
RECIPE = (
    'model = "nin_28"\ndata = "digits"\nimage_size = 8\nepochs = {epochs}\nbatch_size = 256\nprecision = "float32"\n'
)


@pytest.fixture
def script(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", "out", *arguments])
        return module.main()

    return module, run


def recipe(epochs):
    path = Path("few.toml")
    path.write_text(RECIPE.format(epochs=epochs))
    return f"bench recipe {path} --seeds 1"


def test_every_part_is_a_command_with_known_options(script):
    module, _ = script
    for part in module.PARTS.values():
        words = part.command.split()
        command = words[: 2 if words[0] == "bench" else 1]
        said = subprocess.run([sys.executable, "-m", "mlpconv", *command, "--help"], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        options = [word for word in module.arguments_of(part, Path("out"), "cuda:1") if word.startswith("--")]
        assert all(option.replace("--no-", "--") in said.stdout for option in options), (part, options)


def test_a_part_is_measured_once(script, monkeypatch, capsys):
    module, run = script
    monkeypatch.setattr(module, "PARTS", {"few": module.Part("a test", recipe(epochs=1))})
    assert run() == 0
    assert list(json.loads(Path("out/parts.json").read_text())) == ["few"]
    written = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.json")}
    assert len(written) == 2  # with the result of the part
    assert run() == 0
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*.json")} == written
    assert run("--list") == 0
    assert "1 of 1 parts are measured" in (said := capsys.readouterr().out)
    assert "few             done, " in said


def test_a_part_that_is_stopped_is_not_done(script, monkeypatch, capsys):
    module, run = script
    monkeypatch.setattr(module, "PARTS", {"few": module.Part("a test", recipe(epochs=10_000))})
    assert run("--minutes", "0.05") == 0
    assert "few: stopped after " in (said := capsys.readouterr().out)
    assert "0 of 1 parts are measured; left: few" in said
    assert not Path("out/parts.json").exists()


WITH_OTHER_PARTS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("gpu_script", sys.argv.pop(1))
module = sys.modules["gpu_script"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.PARTS = {"few": module.Part("a test", sys.argv.pop(1))}
sys.exit(module.main())
"""


def test_ctrl_c_stops_a_part_which_keeps_its_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", WITH_OTHER_PARTS, str(SCRIPT), recipe(epochs=10_000), "--out", "out"]
    script = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while not (found := list(Path("out").rglob("config.json"))) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does
    _, said = script.communicate(timeout=120)
    assert found
    assert script.returncode == 130
    assert said.endswith("stopped; run the same command to continue\n")
    assert not Path("out/parts.json").exists()


def test_a_part_that_fails_is_reported(script, monkeypatch, capsys):
    module, run = script
    monkeypatch.setattr(module, "PARTS", {"none": module.Part("a test", "bench recipe none.toml")})
    assert run() == 2
    assert "none: ended with exit code 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("other")
    assert "unknown part 'other'; known: none" in capsys.readouterr().err
