# pyright: reportMissingImports=false
"""What the server counts, for Prometheus."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

_REQUESTS = Counter("mlpconv_requests", "Requests.", ["route", "status"])
_SECONDS = Histogram("mlpconv_request_seconds", "Time from the header of a request to its answer.", ["route"])
BATCH_SIZE = Histogram(
    "mlpconv_batch_size", "Images that were computed at once.", buckets=[1, 2, 4, 8, 16, 32, 64, 1024]
)
WAITING = Gauge("mlpconv_waiting_requests", "Requests that wait while others are computed.")

# Finding the counter of a label takes longer than counting.
_requests, _seconds = cache(_REQUESTS.labels), cache(_SECONDS.labels)


def count_request(route: str, status: int, seconds: float) -> None:
    """Count a request that has been answered. route: its path as in the application, without names."""
    _requests(route, status).inc()
    _seconds(route).observe(seconds)
