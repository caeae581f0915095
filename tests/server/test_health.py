import httpx

from tests.running_api import Api


def test_health_and_readiness_need_no_key(api: Api) -> None:
    with httpx.Client(base_url=api.url.removesuffix("/v1")) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {
            "status": "ready",
            "engines": {"tunesmith-demo": "ready", "tiny-embedder": "ready"},
        }


def test_the_service_is_not_ready_while_an_engine_is_not(api: Api) -> None:
    api.engine.faults.unavailable = True
    try:
        answer = httpx.get(api.url.removesuffix("/v1") + "/ready")
        health = httpx.get(api.url.removesuffix("/v1") + "/health")
    finally:
        api.engine.faults.unavailable = False

    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert answer.json()["error"]["message"].startswith("The engine of tunesmith-demo is not ready")
    assert answer.headers["retry-after"] == "2"
    assert health.status_code == 200
