"""`mlpconv bench serve`: its clients are answered, errors end it, and its ratios follow from what it measured."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import serve, serve_clients

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/json/bench-serve.schema.json").read_text())


def run(*options):
    for package in ("onnxruntime", "uvicorn", "starlette"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "mlpconv", "bench", "serve", "--rounds=2", "--seconds=0", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_measures_and_writes_what_it_prints(tmp_path):
    ran = run("--model=nin_tiny", "--batch-size=3", "--clients=1", "--clients=5", "--json", "--out", tmp_path)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    jsonschema.validate(result, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert result == json.loads((tmp_path / "serve.json").read_text())
    assert [(row["network"], row["batch_size"], row["clients"]) for row in result["rows"]] == [
        ("nin_tiny", 3, 1),
        ("nin_tiny", 3, 5),
    ]
    page = (tmp_path / "serve.md").read_text()
    assert " | ".join(serve.rows(result)[1]) in page
    assert result["command"] in page


def test_a_ratio_is_the_median_of_those_of_the_rounds():
    row = serve._row("nin", 1, 4, [{"engine": 10, "4": 9}, {"engine": 20, "4": 10}, {"engine": 10, "4": 7}])
    assert (row["images_per_second"], row["engine_images_per_second"], row["to_engine"]) == (9, 10, 0.7)


def test_throughput_is_that_of_the_number_of_clients_that_gets_most():
    rows = [
        serve._row(network, 1, clients, [{"engine": 100, str(clients): speed}])
        for network, clients, speed in (("nin", 1, 30), ("nin", 4, 90), ("nin", 16, 80), ("vgg", 1, 70), ("vgg", 4, 60))
    ]
    assert [(row["network"], row["clients"]) for row in serve._throughput(rows)] == [("nin", 4), ("vgg", 1)]
    result = {"rows": rows, "settings": serve.Settings()._asdict(), "ready_seconds": {"nin": 0.5}}
    assert "0.8 of ONNX Runtime's speed or more, except vgg at batch 1 (0.70);" in serve.facts(result)[1]


def test_a_network_of_another_name_is_refused():
    ran = run("--model=nine")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert ran.stderr.startswith("error: ")


@pytest.mark.parametrize(("status", "reason"), [(500, "HTTP/1.1 500"), (None, "closed a connection")])
def test_an_error_of_the_server_ends_the_measurement(status, reason):
    class Broken(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            if status is not None:
                self.send_error(status)
            self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever).start()
        host, port = server.server_address
        job = serve_clients.Job(host=host, port=port, model="m", shape=(1, 2, 2, 1), clients=1, seconds=0)
        try:
            with pytest.raises(RuntimeError, match=reason):
                serve_clients.measure(job)
        finally:
            server.shutdown()
