"""What clients get for errors, their own and those of the server; the connection can be used after them."""

import asyncio
import json

import pytest
import requests

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route, Router

from mlpconv.errors import DataError, RunError, WeightsError
from mlpconv.serve.limits import LimitedRequests, Limits


def answer(error=None, *, begun=False, path="/x", method="GET"):
    """The messages of the answer, and the error that is left for uvicorn, if the handler of /x raises an error."""
    sent = []

    async def handler(request):
        if error is not None and not begun:
            raise error
        return Response("x")

    class Begins:
        async def __call__(self, scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise error

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    app = LimitedRequests(Router([Route("/x", Begins() if begun else handler)]), Limits())
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b"", "headers": []}
    try:
        asyncio.run(app(scope, receive, send))
    except Exception as left:
        return sent, left
    return sent, None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPException(413, "too large"), 413),
        (DataError("images: too many"), 400),
        (RunError("run: not there"), 404),
        (WeightsError("weights: damaged"), 500),
    ],
)
def test_an_error_with_a_message_is_answered_with_it(error, status):
    (start, body), left = answer(error)
    assert (start["status"], left) == (status, None)
    assert json.loads(body["body"]) == {"error": getattr(error, "detail", None) or str(error)}


def test_any_other_error_is_answered_without_its_message_and_left_for_the_log():
    (start, body), left = answer(ZeroDivisionError("secret"))
    assert start["status"] == 500
    assert json.loads(body["body"]) == {"error": "internal error; the server's log has more"}
    assert isinstance(left, ZeroDivisionError)


@pytest.mark.parametrize("error", [ZeroDivisionError(), DataError("late")])
def test_an_answer_that_has_begun_is_not_followed_by_another(error):
    (start,), left = answer(error, begun=True)
    assert start["status"] == 200
    assert left is error


@pytest.mark.parametrize(("path", "method", "status"), [("/y", "GET", 404), ("/x", "DELETE", 405), ("/x", "GET", 200)])
def test_what_has_no_route(path, method, status):
    (start, body), left = answer(path=path, method=method)
    assert (start["status"], left) == (status, None)
    assert status == 200 or list(json.loads(body["body"])) == ["error"]


def test_a_connection_can_be_used_after_an_error(server, pictures):
    with requests.Session() as session:
        wrong = session.post(f"{server.url}/predict", pictures[0].read_bytes(), headers={"Content-Encoding": "br"})
        assert wrong.status_code == 415
        assert "Connection" not in wrong.headers
        assert session.post(f"{server.url}/predict", pictures[0].read_bytes()).status_code == 200
