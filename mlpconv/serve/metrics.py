# pyright: reportMissingImports=false
"""What the server counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("mlpconv_requests", "Requests.", ["route", "status"])
SECONDS = Histogram("mlpconv_request_seconds", "Time from the header of a request to its answer.", ["route"])
BATCH_SIZE = Histogram(
    "mlpconv_batch_size", "Images that were computed at once.", buckets=[1, 2, 4, 8, 16, 32, 64, 1024]
)
WAITING = Gauge("mlpconv_waiting_requests", "Requests that wait while others are computed.")
