"""An API with a worker that works while a client waits: where the client would sleep, a test lets the worker go on."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest

from tests.job_rig import MakeRig, Rig
from tests.running_api import serving


@dataclass(frozen=True)
class Habitat:
    rig: Rig
    client: openai.OpenAI
    url: str  # ends with /v1

    def sleep(self) -> None:
        self.rig.tick()

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": "Bearer test key"}, timeout=30)


@pytest.fixture
def habitat(make_rig: MakeRig) -> Iterator[Habitat]:
    rig = make_rig()
    with serving(rig.services) as url, openai.OpenAI(base_url=url, api_key="test key", max_retries=0) as client:
        yield Habitat(rig, client, url)
