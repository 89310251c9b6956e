"""What /metrics counts, for Prometheus."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from openbook.web.serve.registry import ModelRegistry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

GAUGES = {
    "rows_active": "Sequences being decoded.",
    "rows_prefilling": "Sequences whose prompt is being read.",
    "requests_queued": "Requests that wait.",
    "requests_active": "Requests under way.",
    "batch_tokens": "Tokens reserved for the rows under way.",
    "prefix_cache_bytes": "Bytes of keys and values kept for shared prefixes.",
}
COUNTERS = {
    "prefix_lookups": "Prompts looked up among the kept prefixes.",
    "prefix_hits": "Prompts of which a beginning was found.",
    "prefix_tokens_reused": "Prompt tokens that needed no reading.",
    "prompt_tokens": "Prompt tokens.",
    "generated_tokens": "Tokens produced.",
    "steps": "Steps of the engine.",
    "preemptions": "Rows that made room for others and were read again.",
    "requests_finished": "Requests that ended by themselves.",
    "requests_cancelled": "Requests whose client went away.",
    "requests_failed": "Requests that failed in the engine.",
}


class Metrics:
    """Counters of requests, and the gauges of every model that is loaded."""

    def __init__(self, models: ModelRegistry) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "openbook_http_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "openbook_http_seconds",
            "Seconds to the end of an answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.first_token = Histogram(
            "openbook_first_token_seconds", "Seconds to the first token.", buckets=SECONDS, registry=self._registry
        )
        self._registry.register(_ModelCollector(models))

    def count(self, route: str, status: int, seconds: float) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)


class _ModelCollector:
    """Reads the gauges of each model's batches when it is asked."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead: the names depend on nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' client has it."""
        loaded = {entry.id: entry.loaded.batcher.gauges() for entry in self._models.entries if entry.loaded is not None}
        up = GaugeMetricFamily("openbook_model_loaded", "1 for a model in memory.", labels=("model",))
        for entry in self._models.entries:
            up.add_metric([entry.id], float(entry.id in loaded))
        yield up
        for name, sentence in GAUGES.items():
            gauge = GaugeMetricFamily(f"openbook_{name}", sentence, labels=("model",))
            for model, gauges in loaded.items():
                gauge.add_metric([model], float(getattr(gauges, name)))
            yield gauge
        for name, sentence in COUNTERS.items():
            counter = CounterMetricFamily(f"openbook_{name}", sentence, labels=("model",))
            for model, gauges in loaded.items():
                counter.add_metric([model], float(getattr(gauges.counters, name)))
            yield counter
