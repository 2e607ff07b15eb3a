"""``mlpconv serve``: trained networks over HTTP."""

from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.options import MaxPixels
from mlpconv.cli.output import Json, print_json, print_progress, say


def serve(
    models: Annotated[
        list[str],
        Argument(metavar="RUN", help="Run directories, 'latest', .safetensors files, or .onnx files of mlpconv."),
    ],
    host: Annotated[str, Option(help="Address to listen at; 0.0.0.0 for other machines, too.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen at; 0 for any that is free.")] = 8000,
    max_pixels: MaxPixels = None,
    max_body: Annotated[int, Option(min=1, max=1024, metavar="MIB", help="Largest request, in MiB.")] = 32,
    max_waiting: Annotated[
        int, Option(min=1, help="Most requests that wait for a model; more are answered with status 503.")
    ] = 256,
    timeout: Annotated[
        int, Option(min=1, metavar="SECONDS", help="Most seconds that a client takes to send a request.")
    ] = 30,
    json: Json = False,
) -> None:
    """Serve trained networks over HTTP: the exported page, answers for image files, and the Open Inference Protocol.

    Ctrl-C or SIGTERM stops it after the requests that it has received. PyTorch is not needed.

    Example: mlpconv serve latest
    """
    from mlpconv.errors import MissingDependency, RunError

    try:
        from mlpconv.serve.limits import Limits
        from mlpconv.serve.model import ServedModel
        from mlpconv.serve.server import bind, url
        from mlpconv.serve.server import serve as run_server
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'serve: the package {error.name!r} is not installed; pip install "mlpconv[serve]"'
        ) from error

    limits = Limits(body_bytes=max_body << 20, seconds=timeout, waiting=max_waiting)
    with bind(host, port) as listener:  # first: a used port is known at once
        served: dict[str, ServedModel] = {}
        for source in models:
            if not json:
                print_progress(f"loading {source} …")
            model = ServedModel(source, max_pixels=max_pixels)
            if model.name in served:
                raise RunError(
                    f"{source}: {served[model.name].path} has the same name, {model.name!r}, by which clients choose a "
                    "model; rename one of them"
                )
            served[model.name] = model

        def started() -> None:
            if json:
                print_json({"url": url(listener), "models": list(served)}, indent=None)
            else:
                say(f"serving {', '.join(served)} at {url(listener)} (Ctrl-C stops it)")

        run_server(list(served.values()), listener, limits, started)
