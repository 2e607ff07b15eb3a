"""Network in Network: learn it, train it fast and reliably, explain it, ship it."""

__version__ = "0.1.0"
