"""The life of an import: what is handed in is looked at at once, sampled, proven, named — or gone without a trace."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.engine import AdapterRejected, EngineUnavailable
from server.__main__ import main
from server.adapter_imports import service
from server.adapter_imports.desk import ImportDesk
from server.adapter_imports.importer import AdapterImporter
from server.auth.api_keys import create_key
from server.base_models import BaseModels
from server.bootstrap import build_services
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow, ModelImportRow
from server.errors import Busy, InvalidRequest
from server.fine_tuning.placing import decide, read_facts
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.fine_tuning.service import Offer, create_job
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, LaunchRequest, Lost
from server.models.resolving import find_model
from server.models.service import list_models
from server.placement.facts import EngineState, Holder, JobFacts, Policy, Resources, Turn
from server.placement.machine import count_parameters
from server.placement.repository import write_engine, write_turn
from server.placement.sizing import EngineSize, Placement
from server.placement.standing import Standing
from server.record.imported import ImportedManifest, read_adapter_manifest
from server.record.manifest import find_damaged
from server.vocabulary import ImportStage, ImportStatus
from tests.adapter_files import write_adapter
from tests.foreign_adapters import DEMO, demo_files, tar_of
from tests.golden_files import write_golden_samples
from tests.job_rig import MakeRig, Rig
from tests.running_api import Api, make_settings, serving
from trainer.contract.events import FailureCode
from trainer.contract.examine import ExamineOutcome, ExamineReport
from trainer.contract.report import CheckFailure
from trainer.contract.run_directory import RunDirectory

BASE = "tunesmith-demo"
PATH = "/v1/tunesmith/model_imports"
ARCHIVE = tar_of({f"mine/{name}": data for name, data in demo_files().items()})
REPORT = ExamineReport(base_parameters=3_700_000, adapter_parameters=1_000, base_gap=1.5)


def send(
    http: httpx.Client, archive: bytes = ARCHIVE, headers: dict[str, str] | None = None, **form: str
) -> httpx.Response:
    fields = {"base_model": BASE} | form
    return http.post(PATH, data=fields, files={"file": ("adapter.tar", archive)}, headers=headers)


def test_an_adapter_is_taken_in_and_its_import_can_be_asked_by_its_project_alone(api: Api, http: httpx.Client) -> None:
    created = send(http, suffix="My Own")

    found = created.json()
    assert created.status_code == 200
    assert (found["object"], found["status"], found["rank"]) == ("model.import", "in_progress", 1)
    assert (found["base_model"], found["fine_tuned_model"], found["error"]) == (BASE, None, None)
    assert http.get(f"{PATH}/{found['id']}").json() == found
    with api.http(api.foreign_key) as stranger:
        assert stranger.get(f"{PATH}/{found['id']}").status_code == 404
    left = [path.name for path in (api.services.settings.model_imports / found["id"]).iterdir()]
    assert left == ["adapter"]


FORMS: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "no base model": ({"data": {}}, 400, "base_model"),
    "a base model that is none": ({"data": {"base_model": "gpt-9"}}, 400, "base_model"),
    "a suffix of nothing": ({"data": {"base_model": BASE, "suffix": "!!!"}}, 400, "suffix"),
    "a suffix that is too long": ({"data": {"base_model": BASE, "suffix": "x" * 65}}, 400, "suffix"),
    "another field": ({"data": {"base_model": BASE, "job": "x"}}, 400, "job"),
    "an archive of nothing": ({"data": {"base_model": BASE}, "files": {"file": ("a.tar", b"")}}, 400, "file"),
    "an archive of noise": ({"data": {"base_model": BASE}, "files": {"file": ("a.tar", b"x" * 999)}}, 400, "file"),
    "no file": ({"data": {"base_model": BASE}, "files": {"fil": ("a.tar", ARCHIVE)}}, 400, "fil"),
    "no form": ({"content": ARCHIVE, "files": None, "data": None}, 400, None),
}


@pytest.mark.parametrize(("form", "status", "param"), FORMS.values(), ids=FORMS)
def test_a_form_that_cannot_be_is_refused_and_nothing_of_it_stays(
    api: Api, http: httpx.Client, form: dict[str, Any], status: int, param: str | None
) -> None:
    before = set(api.services.settings.model_imports.glob("*"))

    answer = http.post(PATH, **{"files": {"file": ("adapter.tar", ARCHIVE)}, **form})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert set(api.services.settings.model_imports.glob("*")) == before


def test_an_adapter_beyond_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    services = build_services(make_settings(tmp_path / "home", api_key="k", max_adapter_bytes=1000))
    with serving(services) as url, httpx.Client(headers={"authorization": "Bearer k"}, timeout=30) as http:
        answer = http.post(
            f"{url}/tunesmith/model_imports", data={"base_model": BASE}, files={"file": ("a.tar", ARCHIVE)}
        )
    services.database.dispose()
    assert answer.status_code == 413
    assert "TUNESMITH_MAX_ADAPTER_BYTES" in answer.json()["error"]["message"]


def test_a_request_that_is_sent_again_makes_one_import_and_a_new_one_another(http: httpx.Client) -> None:
    keyed = {"idempotency-key": "an import of my own"}
    first, again, other = send(http, headers=keyed), send(http, headers=keyed), send(http)

    assert again.json() == first.json()
    assert other.json()["id"] != first.json()["id"]
    assert other.json()["sha256"] == first.json()["sha256"]
    reused = send(http, headers=keyed, suffix="other")
    assert reused.json()["error"]["code"] == "idempotency_key_reused"


def test_a_project_has_a_few_unfinished_imports_at_most(api: Api) -> None:
    with api.http(create_key(api.database, "eager").plaintext) as http:
        answers = [send(http).status_code for _ in range(5)]
    assert answers == [200] * 4 + [Busy.status]


def examined(outcome: ExamineOutcome) -> InMemoryLauncher:
    def play(request: LaunchRequest) -> Exited:
        assert request.task == "examine"
        run = RunDirectory(request.run_directory)
        assert run.read_examine_spec().adapter.is_dir()
        if outcome.report is not None:
            write_golden_samples(run.root, of=write_adapter(run.root / "any"))
        run.write_examine_outcome(outcome)
        return Exited(0)

    return InMemoryLauncher(play)


GOOD = ExamineOutcome(report=REPORT)


class Importing:
    """A worker with one import to do."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.importer = AdapterImporter(rig.worker)
        settings = rig.services.settings
        asked = service.read_asked(rig.services.base_models, base_model=BASE, suffix=None)
        with ImportDesk(settings.model_imports, rig.services.locks).new_directory() as directory:
            directory.archive.write_bytes(ARCHIVE)
            rebuilt = service.stage_adapter(directory.archive, directory, asked, settings)
            with project_session(rig.services.database, rig.project_id, write=True) as session:
                self.id = service.create_import(session, directory, asked, rebuilt).id
            directory.is_kept = True

    def tick(self, n: int = 1) -> None:
        for _ in range(n):
            self.importer.tick()
            self.rig.clock.now += 1.0

    def row(self) -> ModelImportRow:
        with project_session(self.rig.services.database, self.rig.project_id) as session:
            row = session.get(ModelImportRow, self.id)
        assert row is not None
        return row

    def model(self) -> FineTunedModelRow | None:
        found = find_model(
            self.rig.services.database, self.rig.services.base_models, self.rig.project_id, self.row().model_name
        )
        return None if found is None else found.row

    def left(self) -> list[Path]:
        settings = self.rig.services.settings
        return [*settings.adapters.glob("*"), *settings.model_imports.glob("*")]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig(examined(GOOD))


def test_the_model_is_named_once_the_engine_has_answered_and_has_its_record(rig: Rig) -> None:
    importing = Importing(rig)
    rig.gate.refusals.append(EngineUnavailable("away"))
    importing.tick(2)
    assert importing.model() is None

    importing.tick(3)

    row, model = importing.row(), importing.model()
    assert (row.status, model is not None) == (ImportStatus.SUCCEEDED, True)
    assert model is not None
    assert (model.job_id, model.base_model, model.rank, model.sha256) == (None, BASE, 1, row.sha256)
    assert rig.gate.verified == [model.name]
    (directory,) = importing.left()
    manifest = read_adapter_manifest(directory)
    assert isinstance(manifest, ImportedManifest)
    assert find_damaged(directory, manifest.files) == []
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "golden_samples.json"} <= set(
        manifest.files
    )
    assert "made elsewhere" in (directory / "README.md").read_text()
    listed = list_models(rig.services.database, rig.services.base_models, rig.project_id, owner="me")
    assert model.name in [listing.id for listing in listed]


FAILURES: dict[str, tuple[InMemoryLauncher, str, str]] = {
    "it does not fit": (examined(ExamineOutcome(unfit="The adapter does not fit.")), "unusable_adapter", "not fit"),
    "the base cannot be loaded": (
        examined(ExamineOutcome(failure=CheckFailure(code=FailureCode.DISK_FULL, message="Full.", param=None))),
        "disk_full",
        "Full",
    ),
    "the trainer dies": (InMemoryLauncher(lambda _: Exited(1)), "trainer_crashed", "4 bytes of memory"),
    "memory runs out": (InMemoryLauncher(lambda _: Exited(137, oom_killed=True)), "out_of_memory", "4 bytes"),
}


@pytest.mark.parametrize(("launcher", "code", "words"), FAILURES.values(), ids=FAILURES)
def test_an_import_that_fails_says_why_and_leaves_nothing(
    make_rig: MakeRig, launcher: InMemoryLauncher, code: str, words: str
) -> None:
    importing = Importing(make_rig(launcher))

    importing.tick(3)

    row = importing.row()
    assert (row.status, row.error_code) == (ImportStatus.FAILED, code)
    assert words in (row.error_message or "")
    assert importing.left() == []
    assert importing.model() is None


def test_an_adapter_that_the_engine_refuses_gets_no_name(rig: Rig) -> None:
    importing = Importing(rig)
    rig.gate.refusals.append(AdapterRejected("the engine says something else"))

    importing.tick(3)

    assert (importing.row().error_code, importing.left()) == ("model_not_servable", [])


def test_a_base_model_that_is_taken_away_ends_the_import(rig: Rig) -> None:
    importing = Importing(rig)
    importing.importer = AdapterImporter(replace(rig.worker, base_models=BaseModels((), {})))

    importing.tick()

    assert (importing.row().error_code, importing.left()) == ("base_model_unavailable", [])


def test_a_killed_worker_leaves_nothing_that_its_successor_does_not_finish(rig: Rig) -> None:
    """Killed while the trainer ran, and again between the files and the row."""
    importing = Importing(rig)
    stopped = InMemoryLauncher(lambda _: Lost())
    importing.importer = AdapterImporter(replace(rig.worker, launcher=stopped))
    importing.tick()
    assert len(stopped.launched) == 1

    importing.importer = AdapterImporter(rig.worker)
    rig.gate.refusals.append(EngineUnavailable("away"))
    importing.tick(2)
    published = [path.name for path in rig.services.settings.adapters.iterdir()]
    rig.restart()  # which sweeps adapters that nothing stands for
    importing.importer = AdapterImporter(rig.worker)
    importing.tick(2)

    assert importing.row().status is ImportStatus.SUCCEEDED
    assert [path.name for path in importing.left()] == published


def test_what_a_process_was_killed_over_is_swept_and_what_one_still_receives_is_not(rig: Rig) -> None:
    settings = rig.services.settings
    script = (
        "import pathlib, sys, time\n"
        "from server.adapter_imports.desk import ImportDesk\n"
        "from server.name_locks import NameLocks\n"
        "with ImportDesk(pathlib.Path(sys.argv[1]), NameLocks(pathlib.Path(sys.argv[2]))).new_directory() as work:\n"
        "    work.archive.write_bytes(b'half of an archive')\n"
        "    print(flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(settings.model_imports), str(settings.locks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    (abandoned,) = settings.model_imports.iterdir()

    with ImportDesk(settings.model_imports, rig.services.locks).new_directory() as receiving:
        AdapterImporter(rig.worker).tick()

        assert not abandoned.exists()
        assert receiving.root.exists()
    assert not receiving.root.exists()


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "ranks": ({"rank_pattern": {"q_proj": 2}}, "different ranks"),
    "scalings": ({"alpha_pattern": {"q_proj": 2}}, "different ranks or scalings"),
    "an alpha": ({"lora_alpha": 1.5}, "its alpha is 1.5"),
    "layers": ({"target_modules": ["model.layers.0.self_attn.q_proj"]}, "in some blocks"),
}


@pytest.mark.parametrize(("config", "reason"), ODD.values(), ids=ODD)
def test_training_does_not_go_on_from_an_imported_adapter_of_a_shape_that_is_not_trained_here(
    rig: Rig, config: dict[str, Any], reason: str
) -> None:
    importing = Importing(rig)
    importing.tick(2)
    _change_config(rig, importing, config)

    with pytest.raises(InvalidRequest, match=reason) as refusal:
        _go_on(rig, importing)
    assert refusal.value.param == "model"


def test_training_goes_on_from_an_imported_adapter_as_from_any_other(rig: Rig) -> None:
    importing = Importing(rig)
    importing.tick(2)
    _change_config(rig, importing, {"lora_alpha": 16.0, "target_modules": ["q_proj"]})

    with pytest.raises(InvalidRequest, match="file-x"):
        _go_on(rig, importing)  # nothing but the file is missed


def _change_config(rig: Rig, importing: Importing, config: dict[str, Any]) -> None:
    model = importing.model()
    assert model is not None
    path = rig.services.settings.adapters / model.directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def _go_on(rig: Rig, importing: Importing) -> None:
    services, name = rig.services, importing.row().model_name
    model = find_model(services.database, services.base_models, rig.project_id, name)
    asked = CreateFineTuningJobRequest(model=name, training_file="file-x")
    offer = Offer(services.base_models, on_gpu=False, adapters=services.settings.adapters)
    with project_session(services.database, rig.project_id, write=True) as session:
        create_job(session, offer, model, asked)


def test_an_import_waits_for_memory_that_trainers_have_and_gives_back_what_it_took(rig: Rig) -> None:
    importing = Importing(rig)
    needs = importing.row().needed_bytes
    assert needs == 4 * (count_parameters(str(DEMO)) or 0) + 700_000_000
    other = JobFacts("j", "p", 1, needed_bytes=1, has_slot=True, holds_memory=True)
    for room, may_start in ((needs, False), (needs + 1, True)):
        placement = Placement(resources=Resources(slots=1, trainer_bytes={0: room}))
        with system_session(rig.services.database) as session:
            facts = read_facts(session, placement, rig.clock.now, [other])
        assert [start.job_id for start in decide(placement, facts, rig.clock.now).start_jobs] == [
            importing.id
        ] * may_start
        with system_session(rig.services.database) as session:
            facts = read_facts(session, replace(placement, on_gpu=True), rig.clock.now, [other])
        assert facts.jobs == [other], "there it is the memory of GPUs that is placed"

    importing.tick()
    assert importing.row().stage == ImportStage.LOOKING
    with system_session(rig.services.database) as session:
        (facts_of_import,) = read_facts(session, Placement(), rig.clock.now).jobs
    assert (facts_of_import.holds_memory, facts_of_import.needed_bytes) == (True, needs)
    rig.gate.refusals.append(EngineUnavailable("away"))
    importing.tick()
    with system_session(rig.services.database) as session:
        (facts_of_import,) = read_facts(session, Placement(), rig.clock.now).jobs
    assert (facts_of_import.holds_memory, facts_of_import.is_being_published) == (False, True)


def test_under_yield_an_import_waits_until_the_engines_have_left(rig: Rig) -> None:
    launcher = examined(GOOD)
    sizes = (EngineSize(BASE, 0),)
    placement = Placement(Policy.YIELD, Resources(trainer_bytes={0: None}), sizes=sizes)
    importing = Importing(rig)
    importing.importer = AdapterImporter(replace(rig.worker, placement=placement, launcher=launcher))
    _stand(rig, EngineState.READY)
    importing.tick()
    assert (importing.row().stage, launcher.launched) == (ImportStage.WAITING, [])
    _stand(rig, EngineState.STOPPED)
    importing.tick(2)
    assert (importing.row().stage, len(launcher.launched)) == (ImportStage.LOOKING, 1)


def _stand(rig: Rig, state: EngineState) -> None:
    with system_session(rig.services.database, write=True) as session:
        write_engine(session, BASE, Standing(state, rig.clock.now))
        write_turn(session, Turn(Holder.JOBS, rig.clock.now))


@pytest.fixture
def working(rig: Rig) -> Iterator[Rig]:
    """The worker's thread, and the private door of an API process."""
    stop = threading.Event()
    thread = threading.Thread(target=AdapterImporter(rig.worker).run, args=(stop,))
    door = rig.services.settings.control_socket
    door.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))
        listener.listen()
        thread.start()
        yield rig
        stop.set()
        thread.join()


def test_the_command_imports_a_directory_and_prints_the_name(
    working: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in demo_files().items():
        (tmp_path / name).write_bytes(data)
    create_key(working.services.database, "theirs")
    words = ["models", "import", str(tmp_path), "--base", BASE, "--project", "theirs", "--suffix", "Old One"]

    assert main([*words, "--home", str(working.services.settings.home)]) == 0

    printed = capsys.readouterr().out.strip()
    assert printed.startswith(f"ft:{BASE}:theirs:old-one:")
    assert find_model(working.services.database, working.services.base_models, working.project_id, printed) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--project": "nobody"}, "there is no project nobody"),
        ({"--base": "gpt-9"}, "no base model"),
        ({"DIR": "/nowhere"}, "there is nothing at /nowhere"),
        ({"DIR": str(DEMO)}, "There is no adapter_config.json"),
    ],
)
def test_what_the_command_cannot_import_is_one_line(
    working: Rig, capsys: pytest.CaptureFixture[str], changes: dict[str, str], words: str
) -> None:
    asked = {"DIR": str(DEMO), "--base": BASE, "--project": "default"} | changes
    options = [word for name in ("--base", "--project") for word in (name, asked[name])]

    code = main(["models", "import", asked["DIR"], *options, "--home", str(working.services.settings.home)])

    shown = capsys.readouterr().err
    assert (code, shown.count("\n")) == (1, 1)
    assert words in shown


def test_the_command_needs_the_service(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["models", "import", str(DEMO), "--base", BASE, "--home", str(rig.services.settings.home)])

    assert (code, "the service is not running" in capsys.readouterr().err) == (1, True)
