"""What is looked up when Prometheus asks: engines, jobs, the journals of usage; beside what was counted meanwhile."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from inference.report import EngineReport
from server.metrics.repository import RunningJob
from server.observing.shared_counts import forget_the_dead, shared_directory
from server.vocabulary import DeliveryStatus, JobStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, eq=False)  # a registry keeps it as a key
class Seen:
    """The state of things at one moment."""

    engines: Mapping[str, EngineReport]
    jobs: Mapping[JobStatus, int]
    running: Sequence[RunningJob]
    unfolded_usage_bytes: int
    webhooks: Mapping[DeliveryStatus, int] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        yield from self._engines()
        jobs = GaugeMetricFamily("tunesmith_fine_tuning_jobs", "Jobs, by their status.", labels=["status"])
        for status in JobStatus:
            jobs.add_metric([status], self.jobs.get(status, 0))
        yield jobs
        webhooks = GaugeMetricFamily("tunesmith_webhook_deliveries", "Those in the log.", labels=["status"])
        for delivery_status in DeliveryStatus:
            webhooks.add_metric([delivery_status], self.webhooks.get(delivery_status, 0))
        yield webhooks
        yield from self._running()
        yield GaugeMetricFamily(
            "tunesmith_usage_unfolded_bytes",
            "Of the journals of usage, what is not in the database yet.",
            value=self.unfolded_usage_bytes,
        )

    def _engines(self) -> Iterator[Metric]:
        """By base model; which adapters there are, an operator sees with `tunesmith engines`."""
        of_base = ["base_model"]
        ready = GaugeMetricFamily("tunesmith_engine_ready", "Whether the engine answers.", labels=of_base)
        resident = GaugeMetricFamily("tunesmith_adapters_resident", "Adapters the engine holds.", labels=of_base)
        in_use = GaugeMetricFamily("tunesmith_adapters_in_use", "Of them, those that answer now.", labels=of_base)
        load_s = GaugeMetricFamily("tunesmith_adapter_load_seconds", "Mean of what they took.", labels=of_base)
        rejected = GaugeMetricFamily("tunesmith_adapters_rejected", "Adapters it will not serve.", labels=of_base)
        for name, engine in self.engines.items():
            ready.add_metric([name], int(engine.ready))
            resident.add_metric([name], len(engine.adapters))
            in_use.add_metric([name], sum(adapter.pins > 0 for adapter in engine.adapters))
            rejected.add_metric([name], len(engine.rejected))
            if engine.adapters:
                load_s.add_metric([name], statistics.mean(adapter.load_s for adapter in engine.adapters))
        yield from (ready, resident, in_use, load_s, rejected)

    def _running(self) -> Iterator[Metric]:
        """One series a running job, gone when it ends: as many as run at once."""
        of_job = ["fine_tuning_job"]
        step = GaugeMetricFamily("tunesmith_training_step", "Steps that are done.", labels=of_job)
        loss = GaugeMetricFamily("tunesmith_training_loss", "Training loss of the last step.", labels=of_job)
        speed = GaugeMetricFamily("tunesmith_training_tokens_per_second", "Tokens trained on.", labels=of_job)
        for job in self.running:
            step.add_metric([job.id], job.step)
            if job.train_loss is not None:
                loss.add_metric([job.id], job.train_loss)
            if job.tokens_per_s is not None:
                speed.add_metric([job.id], job.tokens_per_s)
        yield from (step, loss, speed)


def render(seen: Seen) -> bytes:
    """In Prometheus' text. Of CPU and memory the process that answers shows its own."""
    registry = CollectorRegistry()
    registry.register(seen)
    counted = CollectorRegistry()
    shared = shared_directory()
    if shared is not None:
        forget_the_dead(shared)
        MultiProcessCollector(counted, str(shared))  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
    else:
        counted = REGISTRY
    return generate_latest(counted) + generate_latest(registry)
