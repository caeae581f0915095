from dataclasses import replace
from pathlib import Path

import pytest

from inference.vllm.command import EngineSettings, build_command
from inference.vllm.process import choose_cpu_dtype, engine_cpu_threads, free_socket, is_ready

ON_CPU = EngineSettings(
    model="/models/demo",
    revision=None,
    served_name="demo",
    context_length=1024,
    socket=Path("/run/engine-0.sock"),
    cache_directory=Path("/venv/cache"),
    device="cpu",
    max_loras=4,
    max_resident_adapters=16,
    max_lora_rank=32,
    gpu_memory_share=0.45,
    kv_cache_gib=2,
    cpu_threads=3,
    cpu_dtype="float32",
)
ON_GPU = replace(ON_CPU, device="cuda")


def build(settings: EngineSettings, **inherited: str) -> tuple[str, dict[str, str]]:
    command = build_command(settings, python="/venv/bin/python", inherited=inherited)
    return " ".join(command.argv), dict(command.environment)


def test_it_listens_on_its_socket_alone() -> None:
    argv, _ = build(ON_CPU)
    assert "--uds /run/engine-0.sock" in argv
    assert "--port" not in argv
    assert "--host" not in argv


def test_the_engine_keeps_more_adapters_than_we_ever_hold_there() -> None:
    argv, _ = build(ON_CPU)
    assert "--max-loras 4 --max-lora-rank 32 --max-cpu-loras 20" in argv


def test_nothing_of_a_request_is_logged_and_no_usage_is_reported() -> None:
    argv, environment = build(ON_CPU)
    assert "--no-enable-log-requests" in argv
    assert "--disable-uvicorn-access-log" in argv
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"


def test_prefixes_are_told_apart_by_a_hash_without_collisions() -> None:
    assert "--prefix-caching-hash-algo sha256" in build(ON_CPU)[0]


def test_code_of_a_model_is_never_trusted() -> None:
    assert "trust-remote-code" not in build(ON_CPU)[0]


def test_sampling_defaults_are_openais_not_the_models() -> None:
    assert "--generation-config vllm" in build(ON_CPU)[0]


def test_an_embedding_model_is_pooled_and_has_no_adapters() -> None:
    argv, _ = build(replace(ON_CPU, embeds=True))
    assert "--runner pooling" in argv
    assert "lora" not in argv
    assert "--runner" not in build(ON_CPU)[0]


def test_on_a_cpu_no_compiler_is_needed_and_one_process_computes() -> None:
    argv, environment = build(ON_CPU)
    assert environment["TORCHDYNAMO_DISABLE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert "--dtype float32 --enforce-eager --distributed-executor-backend uni" in argv
    assert "--gpu-memory-utilization" not in argv


def test_on_a_gpu_the_trainer_is_left_its_share_of_memory() -> None:
    argv, environment = build(ON_GPU)
    assert "--gpu-memory-utilization 0.45" in argv
    assert "--enforce-eager" not in argv
    assert "TORCHDYNAMO_DISABLE" not in environment


def test_an_engine_that_has_a_gpu_of_its_own_sees_no_other() -> None:
    assert build(replace(ON_GPU, gpu=2), CUDA_VISIBLE_DEVICES="0,1,2,3")[1]["CUDA_VISIBLE_DEVICES"] == "2"
    assert build(ON_GPU, CUDA_VISIBLE_DEVICES="1")[1]["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in build(ON_GPU)[1]


def test_a_local_model_is_served_without_the_network_and_a_hub_model_at_its_revision() -> None:
    assert build(ON_CPU)[1]["HF_HUB_OFFLINE"] == "1"
    argv, environment = build(replace(ON_CPU, model="org/model", revision="abc"))
    assert "--revision abc --tokenizer-revision abc" in argv
    assert "HF_HUB_OFFLINE" not in environment


def test_a_model_that_comes_in_two_formats_is_rendered_as_it_was_trained() -> None:
    """Mistral's own files beside the usual ones would have vLLM take another tokenizer and no chat template."""
    assert "--tokenizer-mode hf --config-format hf" in build(ON_CPU)[0]


def test_tools_and_a_chat_template_are_passed_on_where_the_base_has_them() -> None:
    argv, _ = build(replace(ON_CPU, tool_call_parser="hermes", chat_template=Path("/t.jinja")))
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in argv
    assert "--chat-template /t.jinja" in argv
    assert "--enable-auto-tool-choice" not in build(ON_CPU)[0]


@pytest.mark.parametrize(
    "name", ["TUNESMITH_ADMIN_KEY", "TUNESMITH_API_KEY", "OPENAI_API_KEY", "VLLM_API_KEY", "PYTHONOPTIMIZE"]
)
def test_secrets_and_dangerous_switches_of_the_surroundings_do_not_reach_it(name: str) -> None:
    assert name not in build(ON_CPU, **{name: "x"})[1]


def test_what_it_needs_of_the_surroundings_reaches_it() -> None:
    environment = build(ON_CPU, PATH="/bin", HF_TOKEN="t", TUNESMITH_LIFELINE_FD="7")[1]
    assert (environment["PATH"], environment["HF_TOKEN"], environment["TUNESMITH_LIFELINE_FD"]) == ("/bin", "t", "7")


def test_a_stale_socket_makes_way_and_nobody_answers_on_it(tmp_path: Path) -> None:
    socket = tmp_path / "run" / "engine.sock"
    free_socket(socket)
    socket.touch()
    assert not is_ready(socket)
    free_socket(socket)
    assert not socket.exists()
    assert socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_tiny_model_has_one_thread_and_so_a_quick_start(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    assert engine_cpu_threads(str(tmp_path)) == 1
    assert engine_cpu_threads("org/model") >= 1


@pytest.mark.parametrize(
    ("weights", "flags", "dtype"),
    [
        (1000, "avx2 avx512_bf16", "float32"),
        (1000, "avx2", "float32"),
        (2 * 1024**3, "avx2 avx512_bf16", "bfloat16"),
        (2 * 1024**3, "avx2", "float32"),
        (0, "amx_bf16", "bfloat16"),
    ],
)
def test_a_small_model_is_served_as_exactly_as_it_was_trained(
    tmp_path: Path, weights: int, flags: str, dtype: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags : fpu {flags}\n")
    if weights:
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(weights)
    assert choose_cpu_dtype(str(tmp_path), cpuinfo=cpuinfo) == dtype
