"""Many clients at the same time: nobody gets another's answer, memory stays flat, and the queue has an end."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import requests

from support.served import Server

CLIENTS = 64


def body(x):
    text = (
        b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[%d,%d,%d,%d],"parameters":{"binary_data_size":%d}}],'
        b'"outputs":[{"name":"logits","parameters":{"binary_data":true}}]}' % (*x.shape, x.nbytes)
    )
    return text + x.tobytes(), {"Inference-Header-Content-Length": str(len(text))}


def infer(server, session, x):
    content, headers = body(x)
    answer = session.post(f"{server.url}/v2/models/gray/infer", content, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["Inference-Header-Content-Length"])
    return np.frombuffer(answer.content[length:], np.float32).reshape(len(x), -1)


def check_answers(server, count, before=lambda: None):
    """Two bursts of ``count`` requests from each of 64 clients, with images that differ, one to three at a time and in
    two sizes: every answer is that which one client got before, and memory does not grow."""
    draw = np.random.default_rng(0)
    shapes = [(1 + k % 3, 28 + 4 * (k % 2), 28, 1) for k in range(CLIENTS)]
    images = [draw.integers(0, 256, shape, np.uint8) for shape in shapes]
    with requests.Session() as session:
        expected = [infer(server, session, x) for x in images]
    distances = [np.abs(a[0] - b[0]).max() for k, a in enumerate(expected) for b in expected[:k]]
    assert min(distances) > 2e-3  # a swapped answer would differ by more than the tolerance

    def client(number):
        with requests.Session() as session:
            for _ in range(count):
                before()
                answer = infer(server, session, images[number])
                np.testing.assert_allclose(answer, expected[number], rtol=1e-4, atol=1e-4)

    def burst():
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(CLIENTS)))
        return psutil.Process(server.process.pid).memory_info().rss

    first = burst()
    assert burst() - first < 20 << 20


def test_64_clients_each_get_their_own_answers_of_a_batch(model_files):
    server = Server(model_files, "gray.safetensors")

    def hold():
        """Stop the server until the clients have asked, so that requests wait together on any machine."""
        server.process.send_signal(signal.SIGSTOP)
        threading.Timer(0.3, server.process.send_signal, [signal.SIGCONT]).start()

    try:
        check_answers(server, 4, threading.Barrier(CLIENTS, hold, timeout=60).wait)
        text = server.get("/metrics").text
        total = next(
            float(line.split()[1]) for line in text.splitlines() if line.startswith("mlpconv_batch_size_count")
        )
        assert total < CLIENTS * (2 * 4 + 1) / 2  # requests were computed together
    finally:
        assert server.stop() == 0


@pytest.mark.slow
def test_100_000_requests_from_64_clients(model_files):
    server = Server(model_files, "gray.safetensors")
    try:
        check_answers(server, 782)
    finally:
        assert server.stop() == 0


def test_uploads_at_the_same_time_are_not_swapped(server, pictures):
    alone = [server.post("/predict?top=10", path.read_bytes()).json() for path in pictures]
    assert len({str(answer) for answer in alone}) == len(pictures)

    def ask(number):
        return server.post("/predict?top=10", pictures[number % len(pictures)].read_bytes()).json()

    with ThreadPoolExecutor(16) as pool:
        for number, answer in enumerate(pool.map(ask, range(64))):
            (given,), (wanted,) = answer["predictions"], alone[number % len(pictures)]["predictions"]
            assert [guess["label"] for guess in given["top"]] == [guess["label"] for guess in wanted["top"]]
            for one, other in zip(given["top"], wanted["top"], strict=True):
                assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_a_full_queue_is_answered_with_503(model_files):
    server = Server(model_files, "gray.safetensors", "--max-waiting", "1")
    content, headers = body(np.zeros((1024, 28, 28, 1), np.uint8))
    try:
        with ThreadPoolExecutor(16) as pool:
            answers = list(
                pool.map(lambda _: server.post("/v2/models/gray/infer", content, headers=headers), range(16))
            )
        assert {answer.status_code for answer in answers} == {200, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.json() == {"error": "1 requests are waiting already; try again later"}
        assert refused.headers["Retry-After"] == "1"
        assert server.post("/v2/models/gray/infer", content, headers=headers).status_code == 200
    finally:
        assert server.stop() == 0
