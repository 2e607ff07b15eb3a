"""`mlpconv doctor`: what is installed, what is missing, and whether training is possible."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from mlpconv.cli import doctor
from mlpconv.data import list_datasets

ROOT = Path(__file__).parents[2]
PACKAGES = doctor.optional_packages()


def test_a_machine_with_everything_installed(cli):
    said = cli("doctor")
    assert said.code == 0
    for word in ("processor", "memory", "fashion-mnist", "scikit-learn", "would use", "mlpconv train"):
        assert word in said.out


def test_every_name_is_separated_from_its_text(cli):
    names = [*list_datasets(), *PACKAGES]
    lines = cli("doctor").out.splitlines()
    for name in names:
        assert any(line.startswith(f"  {name} ") for line in lines), name


def test_without_pytorch_the_exit_code_is_that_of_train(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "mlpconv.backends.pytorch.backend", raising=False)
    said = cli("doctor")
    assert said.code == 2
    assert 'pip install "mlpconv[torch]"' in said.out
    assert cli("train", "--data", "digits").code == 2


def test_a_broken_pytorch_is_reported_without_a_traceback(cli, monkeypatch):
    def broken(name):
        raise OSError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("mlpconv.backends.registry.get_backend", broken)
    said = cli("doctor")
    assert said.code == 2
    assert "libtorch.so: cannot open shared object file" in said.out
    assert "next:" not in said.out


@pytest.mark.parametrize("name", PACKAGES)
def test_each_missing_package_has_an_install_command(cli, monkeypatch, name):
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == name else "1.0")
    assert f'missing: pip install "mlpconv[{PACKAGES[name]}]"' in cli("doctor").out


def test_the_extras_are_those_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in PACKAGES.items():
        assert any(line.startswith(package) for line in extras[extra])
    brought = {re.split("[<>=]", line)[0] for lines in extras.values() for line in lines}
    assert brought - {"numpy"} == set(PACKAGES)  # the extra mxnet only says which NumPy


def test_a_package_under_another_name_is_found(monkeypatch, tmp_path):
    (tmp_path / "made_up").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor._version("made_up") is None
    (tmp_path / "made_up" / "__init__.py").touch()
    assert doctor._version("made_up") == "installed"
    about = tmp_path / "made_up_cpu-2.18.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up-cpu\nVersion: 2.18.0\n")
    (about / "RECORD").write_text("made_up/__init__.py,,\n")
    assert doctor._version("made_up") == "2.18.0"


def test_a_cache_that_cannot_be_written_is_a_warning(cli, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLPCONV_CACHE", str(tmp_path / "file" / "cache"))
    value = cli("doctor", "--json").json()
    assert value["ok"]
    assert not value["cache"]["writable"]
    assert "MLPCONV_CACHE" in value["warnings"][0]


def test_gpus_are_named(cli, monkeypatch):
    from mlpconv.backends.pytorch.backend import TorchBackend

    monkeypatch.setattr(
        TorchBackend, "list_gpus", lambda self: [("cuda:0", "Made Up", 8 * 2**30), ("mps", "Shared", 0)]
    )
    assert cli("doctor", "--json").json()["gpus"][0] == {
        "device": "cuda:0",
        "name": "Made Up",
        "memory_bytes": 8 * 2**30,
    }
    lines = [line.split("GPU")[-1].strip() for line in cli("doctor").out.splitlines() if line.startswith("  GPU")]
    assert lines == ["cuda:0: Made Up, 8.00 GiB", "mps: Shared"]
