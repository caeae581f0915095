#!/usr/bin/env bash
# Write constraints-cpu.txt and constraints-cuda.txt from pyproject.toml. For maintainers: needs uv and the network.
#
#   scripts/lock.sh                 keep every version that still fits
#   scripts/lock.sh --upgrade       move every version
#
# uv must be able to find the CPU build of torch: through UV_FIND_LINKS or the index that TORCH_CPU_INDEX names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

torch=$(sed -n 's/.*"torch==\([0-9.]*\)".*/\1/p' pyproject.toml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# vLLM asks for three packages that only serve pictures, sound and films, and that have no build for a CPU-only torch.
# Its plugin asks for vLLM by the name of the CUDA build.
cat >"$work/cpu-overrides.txt" <<EOF
torch==$torch+cpu
torchvision ; sys_platform == 'never'
torchaudio ; sys_platform == 'never'
torchcodec ; sys_platform == 'never'
vllm ; sys_platform == 'never'
EOF
: >"$work/cuda-overrides.txt"
echo "cuda-python>=13" >"$work/bounds.txt" # of the CUDA that torch is built for; older ones forgot to say what they need

# The build backend is locked too, so that installing the project itself downloads nothing.
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml >"$work/build.in"

resolve() { # resolve cpu|cuda OUTPUT [option ...]
  local device=$1 output=$2
  shift 2
  uv pip compile --quiet --no-config --python-version 3.11 --python-platform x86_64-manylinux_2_34 \
    --only-binary :all: \
    --no-annotate --no-header --override "$work/$device-overrides.txt" --constraint "$work/bounds.txt" \
    --output-file "$output" "$@" pyproject.toml "$work/build.in"
}

lock() { # lock cpu|cuda INFERENCE_EXTRA [option ...]
  local device=$1 inference=$2
  shift 2
  local full=$work/$device.txt
  grep -v '^#' "constraints-$device.txt" >"$full" 2>/dev/null || true # uv keeps the versions it finds there
  resolve "$device" "$full" --generate-hashes --extra trainer --extra "$inference" --extra test "$@"
  resolve "$device" "$work/server" --constraint "$full"
  resolve "$device" "$work/trainer" --constraint "$full" --extra trainer
  resolve "$device" "$work/inference" --constraint "$full" --extra "$inference"
  python3 scripts/group_constraints.py "$full" "$work"/{server,trainer,inference} >"constraints-$device.txt"
}

UV_INDEX="${UV_INDEX:-} ${TORCH_CPU_INDEX:-}" lock cpu inference-cpu "$@"
UV_FIND_LINKS='' UV_INDEX='' lock cuda inference "$@" # a CPU build would be taken for the one that is meant
