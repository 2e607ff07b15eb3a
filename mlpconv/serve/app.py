# pyright: reportMissingImports=false
"""The routes of the server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from mlpconv.inference.classifier import make_prediction
from mlpconv.inference.predictions import Unreadable, as_json
from mlpconv.serve import protocol
from mlpconv.serve.batching import Batcher
from mlpconv.serve.limits import LimitedRequests, Limits
from mlpconv.serve.model import ServedModel, Upload
from mlpconv.serve.page import make_page
from mlpconv.version import __version__

_HEADER_LENGTH = protocol.HEADER_LENGTH.lower().encode()
MAX_FILES = 256
"""The most image files of a request."""


def make_app(models: dict[str, ServedModel], limits: Limits) -> LimitedRequests:
    """The application that serves models by their names."""
    batchers = {name: Batcher(model, limits.waiting) for name, model in models.items()}
    decoding = asyncio.Lock()  # one worker process decodes for all requests

    def find(request: Request) -> str:
        named = request.query_params.get("model") or next(iter(models))
        return _checked(models, {"name": named} | request.path_params)

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def server_metadata(request: Request) -> Response:
        return JSONResponse({"name": "mlpconv", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def list_models(request: Request) -> Response:
        return JSONResponse({"models": list(models)})

    async def metadata(request: Request) -> Response:
        return JSONResponse(models[find(request)].metadata())

    async def model_ready(request: Request) -> Response:
        return JSONResponse({"name": find(request), "ready": True})

    async def predict(request: Request) -> Response:
        name = find(request)
        model, top = models[name], request.query_params.get("top", "3")
        if not (top.isascii() and top.isdecimal()) or len(top) > 9 or not int(top):
            raise HTTPException(400, f"top: expected a whole number from 1, received {top[:50]!r}")
        uploads = await _uploads(request)
        async with decoding:
            images = await asyncio.to_thread(model.read, uploads)
        pixels = [image for image in images if isinstance(image, np.ndarray)]
        if not pixels:
            reasons = [image for image in images if isinstance(image, Unreadable)]
            too_large = any("refused before decoding" in each.reason for each in reasons)
            raise HTTPException(413 if too_large else 400, "; ".join(f"{file}: {why}" for file, why in reasons[:3]))
        computed = await batchers[name].compute(np.stack(pixels), ["probabilities"])
        probabilities = iter(computed["probabilities"])
        answers = [
            image
            if isinstance(image, Unreadable)
            else make_prediction(model.stored, upload.name, image, next(probabilities), int(top))
            for upload, image in zip(uploads, images, strict=True)
        ]
        return JSONResponse({"model": name, "predictions": [as_json(answer) for answer in answers]})

    cached_page = cache(lambda name: make_page(models[name]))

    async def page(request: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(cached_page, find(request)))

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(request: Request) -> Response:
        text = resources.files("mlpconv.serve").joinpath("openapi.json").read_text(encoding="utf-8")
        return Response(text, media_type="application/json")

    get: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        ("/", page),
        ("/metrics", metrics),
        ("/openapi.json", openapi),
        ("/v2", server_metadata),
        ("/v2/health/live", live),
        ("/v2/health/ready", ready),
        ("/v2/models", list_models),
    ]
    post: list[tuple[str, Any]] = []
    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        get += [(prefix, metadata), (f"{prefix}/ready", model_ready)]
        post.append((f"{prefix}/infer", _Infer(models, batchers)))
    post.append(("/predict", predict))
    # Routes are tried in their order: predictions first.
    routes = [Route(path, handler, methods=["POST"]) for path, handler in post]
    return LimitedRequests(Router(routes + [Route(path, handler) for path, handler in get]), limits)


class _Infer:
    """Predictions of the Open Inference Protocol, without Starlette's requests and responses: with a small network,
    these take about as long as its computation."""

    def __init__(self, models: dict[str, ServedModel], batchers: dict[str, Batcher]) -> None:
        self._models, self._batchers = models, batchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _checked(self._models, scope["path_params"])
        model = self._models[name]
        length = next((value.decode("latin-1") for key, value in scope["headers"] if key == _HEADER_LENGTH), None)
        message = protocol.decode(model, (await receive())["body"], length)
        values = await self._batchers[name].compute(message.images, list(message.outputs))
        body, json_length = protocol.encode(model, message, values)
        headers = [(b"content-length", b"%d" % len(body))]
        if json_length is None:
            headers.append((b"content-type", b"application/json"))
        else:
            headers += [(b"content-type", b"application/octet-stream"), (_HEADER_LENGTH, b"%d" % json_length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _checked(models: Mapping[str, ServedModel], parameters: Mapping[str, str]) -> str:
    """The name of the model that the parameters of a path choose."""
    name, version = parameters["name"], parameters.get("version", "1")
    if name not in models:
        raise HTTPException(404, f"there is no model {name[:99]!r}; there are: {', '.join(models)}")
    if version != "1":
        raise HTTPException(404, f"the model {name!r} has version 1 only, not {version[:99]!r}")
    return name


async def _uploads(request: Request) -> list[Upload]:
    """The image files of a request: those of a form, or its body as one file."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=MAX_FILES, max_fields=0) as form:
            files = [part for _, part in form.multi_items() if not isinstance(part, str)]
            uploads = [Upload(file.filename or f"file {k}", await file.read()) for k, file in enumerate(files, 1)]
    else:
        body = await request.body()
        uploads = [Upload("body", body)] if body else []
    if not uploads:
        raise HTTPException(
            400, "no image file; send one as the body, or several as files of a multipart/form-data form"
        )
    return uploads
