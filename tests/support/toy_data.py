"""A small data set with the shape of Fashion-MNIST, and a web server on this machine to fetch it from."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from mlpconv.data import Source, SourceFile
from support.idx_files import write_idx

ROLES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class Toy:
    """The files of a small data set in a directory, and Sources that describe them."""

    def __init__(self, directory, **arrays):
        self.directory = directory
        directory.mkdir()
        generator = np.random.default_rng(5)
        self.arrays = {
            "train_images": generator.integers(0, 256, (50, 6, 7), np.uint8),
            "train_labels": np.arange(50, dtype=np.uint8) % 3,
            "test_images": generator.integers(0, 256, (20, 6, 7), np.uint8),
            "test_labels": np.arange(20, dtype=np.uint8) % 3,
        } | arrays
        files = []
        for role, name in ROLES.items():
            write_idx(directory / f"{name}.gz", self.arrays[role])
            contents = gzip.decompress(self.stored(name))
            digest = hashlib.sha256(contents).hexdigest()
            files.append(SourceFile(role=role, name=name, size=len(contents), sha256=digest))
        self.files = tuple(files)

    def stored(self, name):
        return (self.directory / f"{name}.gz").read_bytes()

    def source(self, **fields):
        return Source(
            **{
                "name": "toy",
                "title": "Toy",
                "class_names": ("a", "b", "c"),
                "image_shape": (6, 7, 1),
                "counts": (50, 20),
                "licence": "none",
                "citation": "none",
                "files": self.files,
            }
            | fields
        )


class Server(ThreadingHTTPServer):
    """Serves `pages`: path → (status, body, announced length).

    `gate` stops every answer in the middle until it is set.
    """

    daemon_threads = True

    def __init__(self):
        self.pages = {}
        self.requests = []
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def put(self, path, body, status=200, length=None):
        self.pages[path] = (status, body, len(body) if length is None else length)

    def put_all(self, folder, toy):
        for name in ROLES.values():
            self.put(f"/{folder}/{name}.gz", toy.stored(name))
        return self.url(folder)

    def url(self, folder):
        return f"http://127.0.0.1:{self.server_address[1]}/{folder}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.asked.set()
        status, body, length = self.server.pages.get(self.path, (404, b"no", 2))
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.server.gate.wait(60)
            self.wfile.write(body[half:])
        except ConnectionError:
            self.close_connection = True  # the client was killed, or stopped reading

    def log_message(self, format, *args):
        pass
