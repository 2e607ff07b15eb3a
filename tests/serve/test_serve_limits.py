"""A real server and clients that are slow, greedy, or not HTTP: what they get, and that others are served."""

import contextlib
import gzip
import socket
import time
import zlib

import numpy as np
import pytest

from support.served import POST_HEADER, received


def test_a_header_that_does_not_end(connection):
    start = time.monotonic()
    connection.sendall(b"GET / HTTP/1.1\r\nHost:")
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error": "the header did not arrive within 2 s"}' in answer
    assert 1.9 < time.monotonic() - start < 20


def test_a_header_that_arrives_byte_by_byte(connection):
    start = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - start < 20:
            connection.sendall(b"GET / HTTP/1.1\r\n" if time.monotonic() - start < 0.1 else b"A: b\r\n")
            time.sleep(0.1)
    assert time.monotonic() - start < 15


def test_the_second_header_of_a_connection_is_timed_too(connection):
    connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v2 HTT")
    first, _, second = received(connection).partition(b"binary_tensor_data")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in second


def test_a_connection_without_a_request_is_closed(connection):
    assert received(connection) == b""


def test_a_header_that_is_too_long(connection):
    with contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % k for k in range(20_000)))
    assert b"HTTP/1.1 431 " in received(connection)


def test_a_body_that_does_not_arrive(connection):
    connection.sendall(POST_HEADER % 100 + b"x" * 50)
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within 2 s" in answer


def test_a_body_that_arrives_byte_by_byte(connection):
    connection.sendall(POST_HEADER % 1000)
    start = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - start < 20:
            connection.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() - start < 15


def test_a_body_without_a_length_that_is_too_large(connection):
    connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        connection.sendall(b"%x\r\n%b\r\n" % (1 << 16, b"x" * (1 << 16)))
    connection.sendall(b"0\r\n\r\n")
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body is larger than 1.00 MiB" in answer


def test_a_client_that_asks_first_is_refused_at_once(connection):
    connection.sendall(POST_HEADER[:-2] % (1 << 40) + b"Expect: 100-continue\r\n\r\n")
    assert received(connection).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_goes_away(server, connection):
    connection.sendall(POST_HEADER % 100 + b"x" * 50)
    connection.close()


def test_no_http(connection):
    connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    assert received(connection).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_does_not_read_is_dropped(server):
    host, port = server.address.split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        for _ in range(40):  # more than the buffers of both systems hold
            connection.sendall(b"GET /?model=gray HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(4)
        connection.settimeout(30)
        size = len(received(connection))
    assert size < 40 * len(server.get("/").content)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_compressed_body(server, pictures, compress):
    encoding = "gzip" if compress is gzip.compress else "deflate"
    plain, headers = pictures[0].read_bytes(), {"Content-Encoding": encoding}
    answer = server.post("/predict", compress(plain), headers=headers)
    assert answer.json() == server.post("/predict", plain).json()


def test_a_gzip_bomb(server):
    bomb = gzip.compress(bytes(200 << 20))
    assert len(bomb) < 1 << 20
    start = time.monotonic()
    answer = server.post("/predict", bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body is larger than 1.00 MiB, the limit of this server"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("change", [lambda body: body[:-9], lambda body: body + b"more", lambda body: b"x" + body])
def test_a_damaged_gzip_body(server, change):
    answer = server.post("/predict", change(gzip.compress(b"abc" * 99)), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "cannot be decompressed" in answer.json()["error"]


def test_images_with_many_pixels(server):
    body = np.zeros((1, 1001, 1000, 1), np.uint8).tobytes()
    text = (
        b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1001,1000,1],"parameters":{"binary_data_size":%d}}]}'
        % len(body)
    )
    headers = {"Inference-Header-Content-Length": str(len(text))}
    answer = server.post("/v2/models/gray/infer", text + body, headers=headers)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "images: 1001×1000 are more than the limit of 1,000,000 pixels"},
    )
