"""What the tests of data share."""

import threading

import pytest

from support.toy_data import Server, Toy


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    """Neither the tester's own cache and data nor a proxy take part; what reaches the default cache is thrown away."""
    for name in ("MLPCONV_DATA", "MLPCONV_CACHE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path / "published")


@pytest.fixture
def make_toy(tmp_path):
    return lambda **arrays: Toy(tmp_path / "published", **arrays)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()
