"""Every kind of adapter, trained for real, as the real engine serves it."""

from pathlib import Path
from typing import Any

import pytest
from trainer_runs import checkpoints_saved, make_run, make_spec, train_here

from inference.examination import Proof
from server.fine_tuning.publishing.lora_shape import read_lora
from tests.adapter_files import refer_to
from tests.engine.conftest import BASE, BASE_NAME
from tests.method_rows import KeepRow
from tests.relay_server import RelayServer
from trainer.contract.spec import LoraSettings

KINDS: dict[str, dict[str, Any]] = {
    "rslora": {"rslora": True},
    "dora": {"variant": "dora"},
    "pissa": {"variant": "pissa"},
    "q,v": {"target_modules": ("q_proj", "v_proj")},
    "q,k,v,o": {"target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")},
    "7 modules": {
        "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_says_of_it_what_was_said_on_the_serving_base(
    service: RelayServer, keep_row: KeepRow, tmp_path: Path, kind: str
) -> None:
    lora = LoraSettings(**{"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", **KINDS[kind]})
    variant = kind.replace(",", "").replace(" ", "")
    spec = make_spec(BASE, lora=lora, method={"n_epochs": 2, "batch_size": 2})
    run = train_here(make_run(tmp_path / "run", spec, n_examples=16))
    (epoch,) = [saved for saved in checkpoints_saved(run) if saved.epoch == 1]
    for place, directory in enumerate((run.adapter, run.root / epoch.directory / "adapter")):
        name = f"ft:{BASE_NAME}:acme:{variant}:{place:08d}"
        adapter = refer_to(directory, name, BASE_NAME, rank=read_lora(directory)["lora_rank"])
        service.run(service.engine.ensure_adapter(adapter))
        (report,) = (found for found in service.run(service.engine.report()).adapters if found.name == name)
        service.run(service.engine.forget_adapter(name))
        print(f"{name}: {report.adapter_gap:.1e} from the trainer, {report.base_gap:.2f} from the base")  # noqa: T201
        assert report.proof == Proof.REPRODUCED
        assert report.adapter_gap is not None
        assert report.adapter_gap < 0.001
        assert report.base_gap is not None
        error = f"{report.adapter_gap:.0e} nats a token; to the base alone {report.base_gap:.2f}"
        if directory == run.adapter:
            keep_row("supervised", kind, log_probability_error=error)
