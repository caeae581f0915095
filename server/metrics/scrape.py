"""What is looked up when Prometheus asks: engines, jobs, the journals of usage; beside what was counted meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from inference.engine import EngineHealth
from server.metrics.repository import RunningJob
from server.observing.shared_counts import forget_the_dead, shared_directory
from server.vocabulary import JobStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, eq=False)  # a registry keeps it as a key
class Seen:
    """The state of things at one moment."""

    engines: Mapping[str, EngineHealth]
    jobs: Mapping[JobStatus, int]
    running: Sequence[RunningJob]
    unfolded_usage_bytes: int

    def collect(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("tunesmith_engine_ready", "Whether the engine answers.", labels=["base_model"])
        for name, health in self.engines.items():
            ready.add_metric([name], int(health.ready))
        yield ready
        jobs = GaugeMetricFamily("tunesmith_fine_tuning_jobs", "Jobs, by their status.", labels=["status"])
        for status in JobStatus:
            jobs.add_metric([status], self.jobs.get(status, 0))
        yield jobs
        yield from self._running()
        yield GaugeMetricFamily(
            "tunesmith_usage_unfolded_bytes",
            "Of the journals of usage, what is not in the database yet.",
            value=self.unfolded_usage_bytes,
        )

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
