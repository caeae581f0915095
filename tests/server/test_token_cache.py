"""What a file tokenises to is kept until the file goes: the next job on it tokenises nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest

from server.db.project_session import project_session
from server.db.tables import FileRow
from server.files.service import delete_file
from server.fine_tuning.dry_runs.estimating import EstimateDesk, Question
from server.fine_tuning.dry_runs.sampling import Portion
from server.storage.blob_store import BlobKey
from server.storage.token_cache import TokenCache
from server.vocabulary import JobStatus
from tests.factories import EXAMPLE, make_file
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import report_of
from tests.real_checks import Check, make_real_check
from trainer.contract.checkpoint import is_complete, seal
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.tokens import TokensKey, TokensSummary, read_summary, write_summary

NAMES = {"ids", "mask", "offsets", "lines", "desirable", "first_trained", "tokens.json", "manifest.json"}


def make_tokens(directory: Path, number: int = 0, *, content: bytes = b"ids") -> Path:
    """Arrays of a key of their own, as far as a cache looks at them."""
    directory.mkdir(parents=True)
    (directory / "ids").write_bytes(content)
    key = TokensKey(data_sha256=str(number), tokenizer_sha256="", template_sha256="", redacts=False, libraries={})
    write_summary(
        directory, TokensSummary(key=key, n_examples=1, sequences_per_example=1, n_tokens=1, longest_tokens=1)
    )
    seal(directory)
    return directory


def names_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_is_kept_is_offered_again_as_the_same_files(tmp_path: Path) -> None:
    cache, tokens = TokenCache(tmp_path / "cache"), make_tokens(tmp_path / "made")
    cache.keep("file-1", tokens)
    cache.keep("file-1", tokens)
    cache.offer("file-1", tmp_path / "offered")
    (offered,) = (tmp_path / "offered").iterdir()
    assert is_complete(offered)
    assert (offered / "ids").samefile(tokens / "ids")
    cache.offer("file-2", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_what_was_made_anew_takes_the_place_of_what_was_damaged(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    cache.keep("file-1", make_tokens(tmp_path / "damaged", content=b"\0"))
    cache.keep("file-1", make_tokens(tmp_path / "whole"))
    cache.offer("file-1", tmp_path / "offered")
    (offered,) = (tmp_path / "offered").iterdir()
    assert (offered / "ids").read_bytes() == b"ids"


def test_deleting_a_file_leaves_what_was_linked(tmp_path: Path) -> None:
    cache, tokens = TokenCache(tmp_path / "cache"), make_tokens(tmp_path / "made")
    cache.keep("file-1", tokens)
    cache.delete("file-1")
    cache.delete("file-1")
    assert names_of(tmp_path / "cache") == set()
    assert is_complete(tokens)


def test_of_one_file_only_the_newest_few_are_kept(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    for number in range(7):
        cache.keep("file-1", make_tokens(tmp_path / str(number), number))
    assert len(list((tmp_path / "cache" / "file-1").iterdir())) == 4


def test_something_else_is_not_kept(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "cache")
    cache.keep("file-1", tmp_path / "not there")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokens.json").write_text("{}")
    cache.keep("file-1", tmp_path / "other")
    assert not (tmp_path / "cache").exists()


def test_a_sweep_takes_what_is_half_done_and_what_no_file_stands_for(tmp_path: Path) -> None:
    cache, tokens = TokenCache(tmp_path / "cache"), make_tokens(tmp_path / "made")
    for file_id in ("file-1", "file-2"):
        cache.keep(file_id, tokens)
    make_tokens(tmp_path / "cache" / ".staged-x")
    cache.sweep(is_known={"file-1"}.__contains__)
    assert names_of(tmp_path / "cache") == {"file-1"}


def test_a_sweep_lets_go_what_was_used_least_recently_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    for number in range(4):
        tokens = make_tokens(tmp_path / str(number), number)
        TokenCache(tmp_path / "cache").keep(f"file-{number % 2}", tokens)
        size_bytes = sum(path.stat().st_size for path in tokens.iterdir())
        shutil.rmtree(tokens)  # its job has ended
    kept = {read_key(path): path for path in (tmp_path / "cache").glob("*/*")}
    for age, key in enumerate("2031"):  # as they were used, the last one first
        os.utime(kept[key], (1000.0 - age, 1000.0 - age))
    TokenCache(tmp_path / "cache").offer("file-1", tmp_path / "of a job")  # it has 1 and 3

    def after_a_sweep(limit: int) -> str:
        TokenCache(tmp_path / "cache", limit_bytes=limit * size_bytes).sweep(is_known=lambda _: True)
        return "".join(sorted(read_key(path) for path in (tmp_path / "cache").glob("*/*")))

    assert [after_a_sweep(4), after_a_sweep(3)] == ["0123", "123"]
    shutil.rmtree(tmp_path / "of a job")
    assert [after_a_sweep(3), after_a_sweep(2), after_a_sweep(1), after_a_sweep(0)] == ["123", "23", "2", ""]


def read_key(directory: Path) -> str:
    summary = read_summary(directory)
    assert summary is not None
    return summary.key.data_sha256


@pytest.fixture(scope="module")
def real_check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    return make_real_check(tmp_path_factory.mktemp("base"))


class Recorded:
    """A rig whose checks are real; what each said and the directories it left are remembered."""

    def __init__(self, make_rig: MakeRig, check: Check) -> None:
        launcher, trainer = playing({})
        trainer.check = self._check
        self._real = check
        self.n_tokenised: list[int] = []
        self.rig: Rig = make_rig(launcher)

    def _check(self, run: RunDirectory) -> CheckReport:
        report = self._real(run)
        assert report.training is not None
        self.n_tokenised.append(report.training.n_tokenised)
        return report

    def queue(self, file_id: str, **columns: object) -> RunDirectory:
        """Make a job and work until its first attempt is staged."""
        job = self.rig.make_job(training_file=file_id, **columns)
        self.rig.work_until(lambda: self.rig.worker.run_directory(self.rig.job(job)).spec.exists())
        return self.rig.worker.run_directory(self.rig.job(job))

    def cache(self, file_id: str) -> Path:
        return self.rig.services.settings.tokenized / file_id


@pytest.fixture
def recorded(make_rig: MakeRig, real_check: Check) -> Recorded:
    return Recorded(make_rig, real_check)


def test_the_second_job_on_a_file_tokenises_nothing(recorded: Recorded) -> None:
    file = make_file(recorded.rig.services, recorded.rig.project_id)
    inodes = []
    for _ in range(2):
        run = recorded.queue(file.id)
        assert is_complete(run.tokens(run.training_file))
        inodes.append((run.tokens(run.training_file) / "ids").stat().st_ino)
    assert recorded.n_tokenised == [10, 0]
    (kept,) = recorded.cache(file.id).iterdir()
    assert names_of(kept) == NAMES
    assert inodes == [(kept / "ids").stat().st_ino] * 2


def test_an_estimate_and_a_job_use_each_others_tokens(recorded: Recorded) -> None:
    services, project_id = recorded.rig.services, recorded.rig.project_id
    base = services.base_models.find("tunesmith-demo")
    assert base is not None
    desk = EstimateDesk(
        services.database,
        services.blobs,
        recorded.rig.worker.launcher,
        services.planning,
        services.settings.estimates,
        services.tokens,
        services.locks,
        portion=Portion(whole_up_to_bytes=3000, head_bytes=500, spread_bytes=500),
    )

    def estimate(file: FileRow) -> None:
        desk.answer(Question(base, file, None, requested={}, pii="warn", lora={}))

    asked_first, queued_first = (make_file(services, project_id) for _ in range(2))
    estimate(asked_first)
    recorded.queue(asked_first.id)
    recorded.queue(queued_first.id)
    estimate(queued_first)
    assert recorded.n_tokenised == [10, 0, 10, 0]
    large = make_file(services, project_id, (json.dumps(EXAMPLE).encode() + b"\n") * 60)
    estimate(large)
    assert not recorded.cache(large.id).exists()  # a part of it was looked at


def test_a_flipped_byte_in_the_cache_is_noticed_and_put_right(recorded: Recorded) -> None:
    file = make_file(recorded.rig.services, recorded.rig.project_id)
    recorded.queue(file.id)
    (kept,) = recorded.cache(file.id).iterdir()
    data = bytearray((kept / "ids").read_bytes())
    whole = bytes(data)
    data[5] ^= 1
    (kept / "ids").write_bytes(data)
    recorded.queue(file.id)
    recorded.queue(file.id)
    assert recorded.n_tokenised == [10, 10, 0]
    assert (kept / "ids").read_bytes() == whole


def test_another_policy_for_personal_data_is_tokenised_for_itself(recorded: Recorded) -> None:
    file = make_file(recorded.rig.services, recorded.rig.project_id)
    for pii in ("warn", "redact", "redact", "off"):
        recorded.queue(file.id, data_options={"pii": pii})
    assert recorded.n_tokenised == [10, 10, 0, 0]
    assert len(list(recorded.cache(file.id).iterdir())) == 2


def test_a_job_that_is_on_its_way_keeps_the_tokens_of_a_file_that_is_deleted(recorded: Recorded) -> None:
    rig = recorded.rig
    file = make_file(rig.services, rig.project_id)
    run = recorded.queue(file.id)
    rig.services.blobs.delete(BlobKey(file.id))
    rig.services.tokens.delete(file.id)
    assert is_complete(run.tokens(run.training_file))


def test_the_tokens_of_a_file_deleted_during_the_check_are_not_kept(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    file = make_file(rig.services, rig.project_id)

    def check(run: RunDirectory) -> CheckReport:
        make_tokens(run.tokens(run.training_file))
        delete_row(rig, file.id)
        return report_of(run)

    trainer.check = check
    job = rig.make_job(training_file=file.id)
    rig.work_until(lambda: rig.job(job).status != JobStatus.VALIDATING_FILES)
    assert not (rig.services.settings.tokenized / file.id).exists()


def delete_row(rig: Rig, file_id: str) -> None:
    with project_session(rig.services.database, rig.project_id, write=True) as session:
        delete_file(session, file_id)


def test_a_job_whose_cache_is_gone_trains_all_the_same(recorded: Recorded) -> None:
    file = make_file(recorded.rig.services, recorded.rig.project_id)
    recorded.queue(file.id)
    shutil.rmtree(recorded.rig.services.settings.tokenized)
    job = recorded.rig.make_job(training_file=file.id)
    assert recorded.rig.finish(job).status == JobStatus.SUCCEEDED
