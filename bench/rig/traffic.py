"""Counters of the traffic that passed a proxy."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from typing import Any

from bench.result import percentile


class Counts:
    """Traffic since the last reset. Byte counts are of bodies, as they came over the wire."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        """by method and fault name; ("GET", "unreachable") if the server refused the connection"""
        self.statuses: Counter[str] = Counter()
        self.connections = 0
        self.most_at_once = 0
        self.broken = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.stored_at = array("d")
        """time.monotonic(), which all processes of a machine share, after each successful PUT"""
        self.asked: dict[str, array[float]] = {"get": array("d"), "put": array("d")}
        self.first_byte: dict[str, array[float]] = {"get": array("d"), "put": array("d")}
        self.cpu_before = time.process_time()

    def of(self, method: str) -> int:
        """All requests with this method."""
        return sum(count for (asked, _), count in self.requests.items() if asked == method)

    @property
    def faults(self) -> int:
        """Requests that the proxy did not simply pass."""
        return sum(count for (_, fault), count in self.requests.items() if fault != "pass")

    def report(self) -> dict[str, Any]:
        served: Counter[str] = Counter()
        for (method, fault), count in self.requests.items():
            served["unreachable" if fault == "unreachable" else method] += count
        return {
            "unreachable": served.pop("unreachable", 0),
            "requests": dict(+served),
            "statuses": dict(self.statuses),
            "connections": self.connections,
            "most_at_once": self.most_at_once,
            "broken": self.broken,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "stored_at": list(self.stored_at),
            "asked_ms": {kind: _percentiles(values) for kind, values in self.asked.items() if values},
            "first_byte_ms": {kind: _percentiles(values) for kind, values in self.first_byte.items() if values},
            "cpu_seconds": time.process_time() - self.cpu_before,
        }


def _percentiles(seconds: array[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(1000 * percentile(seconds, share), 3) for name, share in shares.items()}
