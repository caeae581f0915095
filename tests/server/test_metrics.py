import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from inference.examination import Proof
from inference.report import AdapterReport, EngineReport
from server.metrics.repository import RunningJob
from server.metrics.scrape import Seen, render
from server.observing.chat_metrics import shared_chat_metrics
from server.observing.shared_counts import SHARED_VARIABLE, empty_directory, forget_the_dead
from server.vocabulary import DeliveryStatus
from tests.factories import make_job
from tests.running_api import ADMIN_KEY, Api


def _samples(text: str) -> dict[str, float]:
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_admin_key_sees_requests_engines_and_jobs(api: Api) -> None:
    with api.client() as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    make_job(api.services, api.project_id)
    shared_chat_metrics().of("tunesmith-demo").show(under_way=0, waiting=0)
    with api.http(ADMIN_KEY) as http:
        answer = http.get("/metrics")
    shown = _samples(answer.text)

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert shown["tunesmith_chat_requests_total[('base_model', 'tunesmith-demo'), ('status', '2xx')]"] >= 1
    assert shown["tunesmith_engine_ready[('base_model', 'tunesmith-demo')]"] == 1
    assert shown["tunesmith_fine_tuning_jobs[('status', 'validating_files')]"] >= 1
    assert shown["process_resident_memory_bytes[]"] > 0
    assert api.project_id not in answer.text


def test_a_project_s_own_key_sees_no_metrics(api: Api) -> None:
    with api.http() as http:
        answer = http.get("/metrics")

    assert answer.status_code == 403


def test_running_jobs_are_shown_with_their_progress_and_engines_with_what_they_hold() -> None:
    running = [RunningJob("ftjob-1", 7, 120.5, 0.25), RunningJob("ftjob-2", 0, None, None)]
    adapter = AdapterReport("ft:a", "00", 0.0, 2.5, 1.0, None, Proof.REPRODUCED, None, None, pins=1)
    engines = {"base": EngineReport(False, "no", (adapter,))}
    webhooks = {DeliveryStatus.FAILED: 3}
    shown = _samples(render(Seen(engines, {}, running, 12, webhooks)).decode())
    of_first, of_second = "[('fine_tuning_job', 'ftjob-1')]", "[('fine_tuning_job', 'ftjob-2')]"

    assert shown[f"tunesmith_training_loss{of_first}"] == 0.25
    assert shown[f"tunesmith_training_tokens_per_second{of_first}"] == 120.5
    assert shown[f"tunesmith_training_step{of_second}"] == 0
    assert f"tunesmith_training_loss{of_second}" not in shown
    assert shown["tunesmith_usage_unfolded_bytes[]"] == 12
    assert shown["tunesmith_webhook_deliveries[('status', 'failed')]"] == 3
    assert shown["tunesmith_webhook_deliveries[('status', 'pending')]"] == 0
    assert shown["tunesmith_engine_ready[('base_model', 'base')]"] == 0
    assert shown["tunesmith_adapters_resident[('base_model', 'base')]"] == 1
    assert shown["tunesmith_adapters_in_use[('base_model', 'base')]"] == 1
    assert shown["tunesmith_adapter_load_seconds[('base_model', 'base')]"] == 2.5
    assert shown["tunesmith_adapters_rejected[('base_model', 'base')]"] == 0


def test_processes_count_together_and_a_dead_one_has_nothing_under_way(
    tmp_path: Path,
) -> None:
    directory = empty_directory(tmp_path / "metrics")

    def run(program: str) -> int:
        first = "from server.observing.chat_metrics import shared_chat_metrics; metrics = shared_chat_metrics().of('b')"
        environment = {**os.environ, SHARED_VARIABLE: str(directory)}
        return subprocess.run([sys.executable, "-c", f"{first}\n{program}"], env=environment, check=False).returncode

    counting = "metrics.count('2xx', None); metrics.show(under_way=3, waiting=0)"
    assert [run(counting) for _ in range(2)] == [0, 0]
    forget_the_dead(directory)

    assert (
        run(
            "from server.metrics.scrape import Seen, render;"
            "text = render(Seen({}, {}, [], 0)).decode();"
            'assert \'tunesmith_chat_requests_total{base_model="b",status="2xx"} 2.0\' in text, text;'
            "assert 'tunesmith_answers_under_way{base_model=\"b\"} 0.0' in text, text"
        )
        == 0
    )
    empty_directory(directory)
    assert list(directory.iterdir()) == []
