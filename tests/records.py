"""A manifest for tests; every part has a default."""

from typing import Any

from server.record.manifest import BaseModelRecord, BestStep, DataRecord, Manifest, MetricsRecord
from trainer.contract.reproduction import Agreement, Reproduction

BASE = BaseModelRecord(
    name="tunesmith-demo",
    repository=None,
    revision="sha256:" + "0" * 64,
    chat_template_sha256=None,
    parameters=3_700_000,
    license="apache-2.0",
)
DATA = DataRecord(
    sha256="a" * 64,
    bytes=12_345,
    n_examples=300,
    n_tokens=9_000,
    n_trained_tokens=3_000,
    longest_tokens=1_100,
    n_truncated=2,
    n_dropped=0,
)

REPRODUCTION = Reproduction(
    variant="dora",
    rank=64,
    dtype="float32",
    on_prompts=Agreement(n_tokens=160, effect=1.5, error=0.06, relative_error=0.04),
    on_examples=Agreement(n_tokens=200, effect=2.0, error=0.01, relative_error=0.005),
    bound=0.1,
)


def make_manifest(**changes: Any) -> Manifest:
    return Manifest(
        **{
            "name": "ft:tunesmith-demo:personal:desk:AbCd1234",
            "created_at": 1_800_000_000,
            "job_id": "ftjob-1",
            "is_checkpoint": False,
            "step": 20,
            "total_steps": 20,
            "base_model": BASE,
            "parent_model": None,
            "training_data": DATA,
            "validation_data": None,
            "requested_hyperparameters": {"n_epochs": "auto"},
            "settings": {"method": {"n_epochs": 3, "learning_rate": 0.005}, "context_length_tokens": 1024},
            "seed": 1234567,
            "threads": 1,
            "trained_tokens": 27_000,
            "packages": {"torch": "2.13.0", "trl": None},
            "metrics": MetricsRecord(
                last={"train_loss": 0.12345678}, best=BestStep(by="train_loss", step=19, value=0.1)
            ),
            "data_gate": None,
            "estimate": None,
            "measured": None,
            "known_limits": ("It is small.",),
            "files": {},
            **changes,
        }
    )
