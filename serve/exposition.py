"""The server's numbers in Prometheus' words.

Knows names, labels and what they mean. Knows nothing about how what is counted comes about.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from serve.metrics import BUCKETS_S, Seconds
from serve.state import Live


def text(live: Live) -> bytes:
    """All metrics of a server, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Numbers(live))
    return generate_latest(registry)


class _Numbers:
    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """The values as they are now."""
        live, counts = self._live, self._live.metrics
        yield _model(live)
        yield _requests(live)
        for name, about, seconds in (
            ("queue", "Time that a photo waited for a thread.", counts.queue_s),
            ("decode", "Time from a photo's bytes to the model's input.", counts.decode_s),
            ("inference", "Time of the model itself.", counts.inference_s),
            ("total", "Time of a photo from the queue to its answer.", counts.total_s),
        ):
            yield _histogram(f"pawloop_{name}_seconds", about, seconds)
        for name, about, value in (
            ("requests_in_flight", "HTTP requests being answered.", live.in_flight),
            ("queue_photos", "Photos that wait for a thread.", live.engine.waiting),
            ("busy_threads", "Inference threads at work.", live.engine.running),
            ("threads", "Inference threads.", live.engine.thread_count),
            ("behind", "Whether the champion is refused, or not known.", live.watcher.is_behind),
        ):
            yield GaugeMetricFamily(f"pawloop_{name}", about, value)
        for name, about, value in (
            ("swaps", "Models that came into service after the first.", counts.swaps),
            ("refusals", "Model versions that were not taken into service.", counts.refusals),
            ("journal_lost", "Predictions that the journal lost.", live.recorder.lost),
            ("shadow_answers", "Photos that the challenger answered.", live.shadow.answered),
            ("shadow_disagreements", "Those that it answered otherwise.", live.shadow.disagreed),
        ):
            yield CounterMetricFamily(f"pawloop_{name}", about, value)


def _model(live: Live) -> Metric:
    labels = ["name", "version", "precision", "provider"]
    model = GaugeMetricFamily("pawloop_model_info", "The model in service, by its labels.", labels=labels)
    if live.engine.has_model:
        serving = live.engine.serving
        name, number = serving.version.card.name, str(serving.number)
        model.add_metric([name, number, serving.precision, serving.provider], 1)
    return model


def _requests(live: Live) -> Metric:
    labels = ["route", "method", "status"]
    about = "HTTP requests by route, method and status."
    requests = CounterMetricFamily("pawloop_requests", about, labels=labels)
    for (route, method, status), count in live.metrics.requests.items():
        requests.add_metric([route, method, str(status)], count)
    return requests


def _histogram(name: str, about: str, seconds: Seconds) -> Metric:
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    buckets = list(zip(bounds, accumulate(seconds.counts), strict=True))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=seconds.sum_s)
