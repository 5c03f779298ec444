"""Counts and times of requests, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from search.web.service import Service

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One server's counters; labels are routes, never what a client sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "toonsearch_requests", "Requests by route and status.",
            ("route", "status"), registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "toonsearch_request_seconds", "Time to the last byte by route.",
            ("route",), buckets=BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.pictures = Gauge(
            "toonsearch_pictures", "Pictures in the index that answers.", registry=self.registry
        )
        self.opened = Gauge(
            "toonsearch_index_opened_timestamp_seconds", "When that index was opened.",
            registry=self.registry,
        )  # fmt: skip
        self.refused = Gauge(
            "toonsearch_index_refused", "1 while a newer index is refused.", registry=self.registry
        )
        self.restarts = Gauge(
            "toonsearch_decoder_restarts", "Decoder processes that were replaced.",
            registry=self.registry,
        )  # fmt: skip


class Measure:
    """ASGI middleware that fills the counters."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)


def exposition(service: Service) -> bytes:
    """The text that Prometheus reads."""
    metrics, engines = service.metrics, service.engines
    metrics.pictures.set(engines.pictures_count)
    metrics.opened.set(engines.opened_at.timestamp() if engines.opened_at else 0)
    metrics.refused.set(engines.refused is not None)
    metrics.restarts.set(service.decoders.restarts_count)
    return generate_latest(metrics.registry)
