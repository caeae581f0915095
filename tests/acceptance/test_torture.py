"""Kills at random moments, over and over: `make torture`."""

import random
import time

import pytest

from tests.acceptance.conftest import running_service
from tests.acceptance.test_kills import assert_ended_whole, make_job

ROUNDS = 10
ENDS = ("worker", "api", "trainer", "engine", "parent", "tree", "interrupt")


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "api_processes"), [(1, "1"), (2, "2")])
def test_a_job_survives_kills_at_any_moment(seed: int, api_processes: str) -> None:
    """Anything may be dead or just starting when the next one is killed."""
    chance = random.Random(seed)
    with running_service({"TUNESMITH_API_PROCESSES": api_processes}) as service, service.client() as client:
        for _ in range(ROUNDS):
            job = make_job(client)
            for _ in range(chance.randint(1, 3)):
                time.sleep(chance.uniform(0.0, 12.0))  # the moment is the point: any will do
                end = chance.choice(ENDS)
                if end in ("parent", "tree", "interrupt"):
                    {"parent": service.kill_parent, "tree": service.kill_tree, "interrupt": service.interrupt}[end]()
                    service.assert_no_orphans()
                    service.start()
                elif service.processes(end):
                    service.kill(end)
            service.wait_until_ready()
            assert_ended_whole(service, client, job)
