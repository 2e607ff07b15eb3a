"""The package as a stranger gets it: built, and installed far from the sources, without the optional parts."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from languages import LANGUAGES, path

import mlpconv

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"

pytestmark = pytest.mark.wheel


class Installed:
    """A fresh environment that holds the wheel, and an empty folder to work in."""

    def __init__(self, folder: Path):
        self.bin = folder / "venv" / "bin"
        self.cwd = folder / "elsewhere"
        self.cwd.mkdir()

    def run(self, program: str, *args: str, status: int = 0, **env: str) -> str:
        """What the program prints; its exit status has to be the one given."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [self.bin / program, *args],
            cwd=self.cwd,
            env=inherited | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, f"{program} {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--dependency-constraints-txt", CONSTRAINTS, "--outdir", out, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    here = Installed(folder)
    (wheel,) = built.glob("*.whl")
    here.run("python", "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), str(wheel))
    return here


def test_the_wheel_holds_every_file_of_the_package(built):
    (wheel,) = built.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for path in (ROOT / "mlpconv").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}


def test_the_source_archive_holds_what_a_packager_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path("README.md", language) for language in LANGUAGES} <= names
    assert {"LICENSE", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "tests/test_wheel.py"} <= names


def test_the_package_comes_from_the_wheel_and_torch_is_absent(installed):
    assert "/site-packages/mlpconv/" in installed.run("python", "-c", "import mlpconv; print(mlpconv.__file__)")
    installed.run("python", "-c", "import torch", status=1)
    installed.run("python", "-m", "pip", "check")


def test_the_command_answers_without_torch(installed):
    assert mlpconv.__version__ in installed.run("mlpconv", "--version")
    assert mlpconv.__version__ in installed.run("python", "-m", "mlpconv", "--version")
    assert "nin" in installed.run("mlpconv", "models")
    assert json.loads(installed.run("mlpconv", "summary", "nin", "--json"))


def test_training_without_torch_says_what_to_install(installed):
    message = installed.run("mlpconv", "train", "--recipe", "quick", "--backend", "torch", status=2)
    assert 'pip install "mlpconv[torch]"' in message


def test_the_wheel_trains(installed):
    # PyTorch is borrowed from the environment that runs the tests: a second copy would take minutes and gigabytes.
    borrowed = {"PYTHONPATH": os.pathsep.join(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))}
    assert "/stranger" in installed.run("python", "-c", "import mlpconv; print(mlpconv.__file__)", **borrowed)
    train = ["train", "--recipe", "quick", "--data", "digits", "--epochs", "1", "--device", "cpu", "--out", "run"]
    installed.run("mlpconv", *train, **borrowed)
    assert (installed.cwd / "run" / "weights.safetensors").stat().st_size > 0
    assert (installed.cwd / "run" / "report.html").stat().st_size > 0
