"""Connections to a real server: what is sent in advance, in parts, or never, and in how many packets answers come."""

import time

import pytest

from support.served import POST_HEADER, received

pytest.importorskip("uvicorn")
from mlpconv.serve.connections import _Transport


class Written:
    """A transport that keeps what is written to it."""

    def __init__(self):
        self.parts, self.closed = [], False

    def write(self, data):
        self.parts.append(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


def test_a_header_is_sent_with_the_body():
    written = Written()
    transport = _Transport(written)
    for data in (ANSWER, b"body", ANSWER, b"", ANSWER, b"HTTP/1.1 is no header\r\n\r\n"):
        transport.write(data)
    assert written.parts == [ANSWER + b"body", ANSWER, ANSWER + b"HTTP/1.1 is no header\r\n\r\n"]


def test_what_is_not_followed_by_a_body_is_sent():
    written = Written()
    transport = _Transport(written)
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written.parts == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    transport.write(ANSWER)
    transport.send_header()
    transport.send_header()
    assert written.parts[1:] == [ANSWER]
    transport.write(ANSWER)
    transport.close()
    transport.write(b"body")
    assert written.parts[2:] == [ANSWER]


def test_an_answer_without_a_body(connection):
    connection.sendall(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_client_that_waits_for_100_continue(connection, pictures):
    content = pictures[0].read_bytes()
    connection.sendall(POST_HEADER[:-2] % len(content) + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(content)
    assert b'"predictions":[{' in received(connection)


def test_requests_that_are_sent_in_advance(connection):
    connection.sendall(b"GET /v2/models HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = received(connection)
    assert answer.count(b'{"models":["gray","color"]}') == 50
    assert b'"name":"mlpconv"' in answer.rpartition(b'{"models":["gray","color"]}')[2]


def test_a_body_that_is_sent_in_advance_and_never_ends(connection):
    connection.sendall(b"GET /v2/models HTTP/1.1\r\nHost: x\r\n\r\n" + POST_HEADER % 100 + b"x" * 50)
    first, _, second = received(connection).partition(b'{"models":["gray","color"]}')
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within 2 s" in second


def test_a_body_in_parts_that_arrives_in_time(connection, pictures):
    content = pictures[0].read_bytes()
    connection.sendall(POST_HEADER[:-2] % len(content) + b"Connection: close\r\n\r\n" + content[:9])
    connection.sendall(content[9:40])
    connection.sendall(content[40:])
    assert b'"predictions":[{' in received(connection)


def test_the_time_of_a_body_begins_with_its_header(connection, pictures):
    content = pictures[0].read_bytes()
    connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    time.sleep(1.3)
    connection.sendall(POST_HEADER % len(content))
    time.sleep(1.3)
    connection.sendall(content)
    assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
