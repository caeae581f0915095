"""The door before the engine: none of its private fields goes in, none of its other routes is reached."""

import ast
import importlib.util
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from sqlalchemy import Engine

from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from server.auth.api_keys import create_key, revoke_key
from server.bootstrap import build_services
from server.chat.request import read_request
from server.chat.request_fields import KNOWN
from server.errors import InvalidRequest
from tests.running_api import make_settings, serving

HELLO = [{"role": "user", "content": "Hello"}]
BODY = orjson.dumps({"model": "tunesmith-demo", "messages": HELLO, "max_tokens": 1})
# vLLM 0.32's ChatCompletionRequest and CompletionRequest, without what is OpenAI's of a chat request.
_PRIVATE = """
    add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_salt chat_template
    chat_template_kwargs continue_final_message continuous_usage_stats documents ec_transfer_params echo
    guided_choice guided_grammar guided_json guided_regex ignore_eos include_reasoning include_stop_str_in_output
    kv_transfer_params length_penalty logits_processors logprob_token_ids media_io_kwargs min_p min_tokens
    mm_payload mm_processor_kwargs priority prompt prompt_embeds prompt_logprobs repetition_detection
    repetition_penalty request_id return_mm_kwargs return_prompt_text return_token_ids return_token_offsets
    return_tokens_as_token_ids routed_experts_prompt_start session_id skip_special_tokens
    spaces_between_special_tokens stop_token_ids stream_interval structured_outputs suffix thinking_token_budget
    top_k truncate_prompt_tokens truncation_side use_beam_search vllm_xargs watermarking
"""
PRIVATE = _PRIVATE.split()
# Every route of vLLM 0.32 but the one that is spoken to.
_ROUTES = """
    /abort_requests /classify /cohere/v2/chat /collective_rpc /derender /detokenize /docs /fault_tolerance/apply
    /fault_tolerance/status /finish_weight_update /generate /generative_scoring /get_world_size /health
    /inference/v1/generate /init_weight_transfer_engine /invocations /is_paused /is_scaling_elastic_ep /is_sleeping
    /kv_event_sources /load /metrics /openapi.json /pause /ping /pooling /redoc /release_kv_cache_memory /rerank
    /reset_encoder_cache /reset_mm_cache /reset_prefix_cache /resume /resume_kv_cache_memory /scale_elastic_ep
    /score /server_info /shutdown_weight_transfer_engine /sleep /start_draft_weight_update /start_profile
    /start_weight_update /stop_profile /tokenize /tokenizer_info /update_weight_version /update_weights
    /v1/audio/speech /v1/audio/transcriptions /v1/audio/translations /v1/chat/completions/batch
    /v1/chat/completions/derender /v1/chat/completions/render /v1/completions /v1/completions/derender
    /v1/completions/render /v1/embeddings /v1/load_lora_adapter /v1/messages /v1/messages/count_tokens
    /v1/messages/render /v1/models /v1/models/x /v1/moderations /v1/pooling /v1/realtime /v1/rerank /v1/responses
    /v1/responses/render /v1/responses/x /v1/responses/x/cancel /v1/score /v1/systemone /v1/tokenize
    /v1/unload_lora_adapter /v2/embed /v2/rerank /version /wake_up /weight_checker /weight_info /adapters
    /adapters/verify /adapters/forget /engines
"""
ROUTES = _ROUTES.split()
OURS = {"/health": 200, "/v1/models": 200, "/metrics": 403}  # of the same name, and answered without an engine


def test_the_lists_are_long_enough_to_mean_something() -> None:
    assert len(set(PRIVATE)) >= 40
    assert len(set(ROUTES)) >= 80


def test_every_field_of_the_installed_engine_is_openais_or_on_the_list() -> None:
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    protocol = Path(found.origin).parent / "entrypoints" / "openai" / "chat_completion" / "protocol.py"
    tree = ast.parse(protocol.read_text("utf-8"))
    (request,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ChatCompletionRequest"]
    fields = {node.target.id for node in request.body if isinstance(node, ast.AnnAssign) and hasattr(node.target, "id")}
    private = {name for name in fields if not name.startswith("_")} - KNOWN
    assert len(fields) > 60
    assert private <= set(PRIVATE)


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_request(raw)
    return caught.value


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_field_is_refused_by_name_however_it_is_spelt(name: str) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
    for spelling in (name, escaped, name[:-1] + escaped[-6:]):
        field = f'"{spelling}":1'.encode()
        for raw in (
            BODY[:-1] + b"," + field + b"}",
            b"{" + field + b"," + BODY[1:],
            b"{" + field + b"," + BODY[1:-1] + b"," + field + b"}",
            BODY[:-1] + b"," + field.replace(b":1", b":null") + b"}",
        ):
            error = refusal(raw)
            assert (error.param, error.code) == (name, "unknown_parameter")
            assert name in error.message


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_field_is_refused_inside_of_others(name: str) -> None:
    function = {"type": "function", "function": {"name": "f"}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    places: dict[str, dict[str, object]] = {
        f"stream_options.{name}": {"stream": True, "stream_options": {name: True}},
        f"messages[0].{name}": {"messages": [{**HELLO[0], name: 1}]},
        f"messages[0].content[0].{name}": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x", name: 1}]}]
        },
        f"tools[0].{name}": {"tools": [{**function, name: 1}]},
        f"tools[0].function.{name}": {"tools": [{"type": "function", "function": {"name": "f", name: 1}}]},
        f"tool_choice.{name}": {"tools": [function], "tool_choice": {**function, name: 1}},
        f"response_format.{name}": {"response_format": {"type": "json_object", name: 1}},
        f"response_format.json_schema.{name}": {
            "response_format": {"type": "json_schema", "json_schema": {**schema["json_schema"], name: 1}}  # type: ignore[dict-item]
        },
    }
    for path, fields in places.items():
        error = refusal(orjson.dumps({"model": "m", "messages": HELLO, **fields}))
        assert (error.param, error.code) == (path, "unknown_parameter")


def test_what_the_engine_would_compile_or_multiply_is_bounded() -> None:
    deep: object = {}
    for _ in range(70):
        deep = {"properties": {"a": deep}}
    wide = {"enum": ["x" * 1000] * 300}
    for fields, code in (
        ({"n": 129}, "integer_above_max_value"),
        ({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "object_above_max_properties"),
        ({"stop": ["a"] * 5}, "array_above_max_length"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": deep}}]}, "schema_too_large"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wide}}},
            "schema_too_large",
        ),
    ):
        assert refusal(orjson.dumps({"model": "m", "messages": HELLO, **fields})).code == code


@dataclass
class Door:
    url: str
    key: str
    listener: socket.socket  # in the engine's place
    database: Engine

    def request(self, method: str, target: str, host: str = "127.0.0.1") -> int:
        """Send a request line as it is given. Gives the status."""
        where = urlsplit(self.url)
        head = (
            f"{method} {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {self.key}\r\nconnection: close\r\n"
        )
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as connection:
            connection.sendall(f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return int(answer.split(b" ", 2)[1])

    def was_passed(self) -> bool:
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    home = tmp_path_factory.mktemp("door")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(home / "e.sock"))
        listener.listen()
        listener.setblocking(False)
        engine = VllmEngine(
            base_model="tunesmith-demo",
            socket=home / "e.sock",
            limits=AdapterLimits(max_resident=1, max_rank=8),
            silence_timeout_s=0.2,
        )
        services = build_services(make_settings(home), {"tunesmith-demo": engine})
        key = create_key(services.database, "mine").plaintext
        with serving(services) as url:
            yield Door(url, key, listener, services.database)
        services.database.dispose()


def spellings(route: str) -> list[str]:
    return [
        route,
        f"/{route}",
        f"/.{route}",
        f"/v1/..{route}",
        f"/v1/chat/completions/../../..{route}",
        f"/v1/chat/completions/..%2f..%2f..{route.replace('/', '%2f')}",
        f"/v1/chat/completions%2f..{route}",
        f"/v1/chat/completions;{route}",
        f"/v1/chat/completions%00{route}",
        route.replace("/", "%2F"),
        route.replace("/", "%252F"),
        route.replace("/", "\\"),
        route.upper(),
        f"{route}/",
        f"{route}?path=/v1/chat/completions",
        f"http://engine{route}",
        f"http://engine/v1/chat/completions/..{route}",
    ]


@pytest.mark.parametrize("route", ROUTES)
def test_no_other_route_of_the_engine_is_reached_however_it_is_spelt(door: Door, route: str) -> None:
    for method in ("GET", "POST"):
        for target in spellings(route):
            status = door.request(method, target)
            assert status in (400, 401, 404, 405) or status == OURS.get(route), (method, target, status)
    assert not door.was_passed()


@pytest.mark.parametrize(
    "host", ["engine", "127.0.0.1/v1/chat/completions", "x/v1/chat/completions?", "x#", "a b", "[", "x:0/..", ""]
)
def test_the_host_header_opens_nothing(door: Door, host: str) -> None:
    for route in ("/tokenize", "/v1/load_lora_adapter", "/pause", "/metrics"):
        assert door.request("POST", route, host) in (400, 404, 405)
    assert not door.was_passed()


def test_the_one_route_that_is_spoken_to_is_reached(door: Door) -> None:
    assert door.request("POST", "/v1/chat/completions") == 503  # nobody answers there
    assert door.was_passed()


def test_without_a_key_not_even_that_one_is(door: Door) -> None:
    assert httpx.post(f"{door.url}/chat/completions", content=BODY).status_code == 401
    assert not door.was_passed()


def test_a_key_revoked_while_its_request_is_still_coming_is_refused(door: Door) -> None:
    key = create_key(door.database, "mine")
    where = urlsplit(door.url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key.plaintext}\r\n"
        f"expect: 100-continue\r\nconnection: close\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # the key was found, and the body is asked for
        revoke_key(door.database, key.id)
        connection.sendall(BODY)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert not door.was_passed()
