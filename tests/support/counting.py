"""Requests to the cloud, counted by what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.cloud import SOURCE, Cloud
from tests.support.faults import Fault, Request, fault_proxy


class Counted:
    """`requests` counts LIST, GET, HEAD, PUT and DELETE; `sources` are the sources that were read, in order."""

    url = ""

    def __init__(self, delay: float = 0.0) -> None:
        self.requests: Counter[str] = Counter()
        self.sources: list[str] = []
        self.delay = delay
        """of each PUT, in seconds"""

    def rule(self, request: Request) -> Fault:
        target = urlsplit(request.target)
        is_list = "list-type" in parse_qs(target.query)
        kind = "LIST" if is_list else request.method
        if "_runs/" not in target.path:  # the lease of a run
            self.requests[kind] += 1
        if kind == "GET" and target.path.startswith(f"/{SOURCE}/"):
            self.sources.append(unquote(target.path.removeprefix(f"/{SOURCE}/")))
        return Fault("pass", delay=self.delay if kind == "PUT" else 0.0)

    @property
    def env(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.url}


@contextmanager
def counted(cloud: Cloud, delay: float = 0.0) -> Iterator[Counted]:
    """A proxy before the cloud."""
    counts = Counted(delay)
    with fault_proxy(cloud.url, counts.rule) as proxy:
        counts.url = proxy.url
        yield counts
