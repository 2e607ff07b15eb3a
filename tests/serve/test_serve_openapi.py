"""The OpenAPI document describes the routes of a real server, and requests drawn from it find no server error."""

import contextlib
import json
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

EXAMPLES = 8
"""Requests for each operation; tests/serve with 200 of them takes some minutes."""


@pytest.fixture(scope="module")
def document(server):
    answer = server.get("/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def test_it_is_the_file_of_the_package(document):
    assert document == json.loads(files("mlpconv.serve").joinpath("openapi.json").read_text(encoding="utf-8"))


def test_it_names_every_route(model_files, document):
    from mlpconv.serve.app import make_app
    from mlpconv.serve.limits import Limits
    from mlpconv.serve.model import ServedModel

    app = make_app({"gray": ServedModel(model_files / "gray.safetensors")}, Limits())
    routes = {(route.path, method) for route in app.router.routes for method in route.methods if method != "HEAD"}
    assert routes == {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}


def test_answers_are_as_described(server, document, pictures):
    said = server.post("/predict", files=[("files", (path.name, path.read_bytes())) for path in pictures]).json()
    jsonschema.validate(said, {**document, "$ref": "#/components/schemas/Predictions"})
    metadata = server.get("/v2/models/gray").json()
    jsonschema.validate(metadata, {**document, "$ref": "#/components/schemas/Metadata"})
    jsonschema.validate(server.get("/v2/models/x").json(), {**document, "$ref": "#/components/schemas/Error"})


def test_schemathesis_finds_no_server_error(server, document):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

    for path in document["paths"].values():  # else nearly every request would be for an unknown model
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("name", "model", "version"):
                    parameter["schema"] = {"enum": ["1"] if parameter["name"] == "version" else ["gray", "color"]}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case):
                nonlocal count
                count += 1
                answer = case.call()
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)
                if answer.status_code >= 400:
                    assert "\n" not in answer.json()["error"]

            with contextlib.suppress(Unsatisfiable):  # without parameters, every request is valid
                ask()
    assert count > 100
