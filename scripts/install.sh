#!/usr/bin/env bash
# Install Tunesmith into a virtual environment of its own; quick when there is nothing to do.
#
#   scripts/install.sh [server] [trainer] [inference] [test]    without a word: server trainer inference
#
# Needs Linux on x86-64 and Python 3.11; no compiler, no GPU, no root. Reads:
#   TUNESMITH_VENV     where the environment goes; default: .venv in this directory
#   TUNESMITH_DEVICE   cpu or cuda; default: cuda where an NVIDIA driver is, else cpu
#   TORCH_CPU_INDEX    where PyTorch publishes its CPU builds; asked only if pip's own settings lead to none
#   PYTHON             the interpreter to use; default: python3.11, else python3
# Everything else comes from wherever pip is set up to look. What is installed is fixed by constraints-cpu.txt and
# constraints-cuda.txt, down to the hash of each file; the CPU build of torch alone is fixed by its version.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${TUNESMITH_VENV:-$root/.venv}
index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}
unset PYTHONPATH PYTHONHOME # they would reach into the new environment

trap 'kill 0' INT # the shell's background processes would ignore Ctrl-C

main() {
  local wanted=("$@")
  [ ${#wanted[@]} -gt 0 ] || wanted=(server trainer inference)
  local part device lock
  for part in "${wanted[@]}"; do
    [[ $part =~ ^(server|trainer|inference|test)$ ]] || fail "there is no part '$part': say server, trainer, inference or test"
  done
  device=${TUNESMITH_DEVICE:-$(find_device)}
  [[ $device =~ ^(cpu|cuda)$ ]] || fail "TUNESMITH_DEVICE: expected cpu or cuda, got '$device'"
  lock=$root/constraints-$device.txt
  stamp=$venv/.installed-$device # the builds for the other device do not go away by themselves: it starts afresh

  mkdir -p "$(dirname "$venv")"
  exec 9<"$(dirname "$venv")"
  flock 9 # two installs at once: the second waits, then finds its work done

  local fingerprint installed=()
  fingerprint=$(cat "$lock" "$root/pyproject.toml" "${BASH_SOURCE[0]}" <(echo "$root $venv") | sha256sum | cut -d' ' -f1)
  if is_whole && [ "$(head -n1 "$stamp")" = "$fingerprint" ]; then
    read -ra installed <<<"$(tail -n1 "$stamp")"
    if [ -z "$(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(printf '%s\n' "${installed[@]}" | sort))" ]; then
      return
    fi
  fi

  SECONDS=0
  echo "Installing $(IFS=,; echo "${wanted[*]}") for $device into $venv"
  is_whole || make_venv
  touch "$venv/.unfinished"
  local parts
  parts=$(printf '%s\n' server "${wanted[@]}" "${installed[@]}" | sort -u | xargs)
  install_packages "$device" "$parts" "$lock"
  pip_install --no-build-isolation --editable "$root"
  compile_bytecode
  printf '%s\n%s\n' "$fingerprint" "$parts" >"$stamp"
  rm "$venv/.unfinished"
  echo "Installed in $SECONDS s"
}

find_device() {
  if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; then echo cuda; else echo cpu; fi
}

is_whole() { # an interrupted install leaves .unfinished behind; a moved or removed Python, a python that does not start
  [ -f "$stamp" ] && [ ! -e "$venv/.unfinished" ] && "$venv/bin/python" -c '' 2>/dev/null
}

make_venv() {
  local python
  if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ -z "$(ls -d "$venv"/.installed-* "$venv/.unfinished" 2>/dev/null)" ]; then
    fail "$venv is there and is not ours: remove it, or name another place with TUNESMITH_VENV"
  fi
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments: install its venv package (on Debian and Ubuntu: apt-get install python3.11-venv)"
  rm -rf "$venv"
  mkdir "$venv"
  touch "$venv/.unfinished"
  "$python" -m venv "$venv"
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 is needed and was not found: install it, or name it with PYTHON=/path/to/python3.11"
}

install_packages() { # pip uses one core, so two of them share the list, and torch is a third
  local device=$1 parts=$2 lock=$3 half one failed='' running=()
  select_parts "$parts" <"$lock" |
    awk -v to="$venv/.packages-" '/^[^ #]/ { half = 1 - half } { print >(to half + 0 ".txt") }'
  if [ "$device" = cpu ] && [ "$parts" != server ]; then
    install_torch_cpu &
    running+=($!)
  fi
  for half in "$venv"/.packages-*.txt; do
    pip_install --require-hashes --requirement "$half" &
    running+=($!)
  done
  for one in "${running[@]}"; do wait "$one" || failed=yes; done
  [ -z "$failed" ] || fail "not everything could be installed; pip says why above, docs/operations.md what to do"
  rm "$venv"/.packages-*.txt
}

select_parts() { # keep what stands under a heading "# [part part]" that names one of ours
  awk -v parts="$1" '
    BEGIN { n = split(parts, part, " ") }
    /^# \[/ { keep = 0; for (i = 1; i <= n; i++) if ($0 ~ "[[ ]" part[i] "[] ]") keep = 1 }
    keep'
}

install_torch_cpu() { # the public package index has only CUDA builds for Linux; some machines are set up to find a CPU build
  local version
  version="torch==$(sed -n 's/.*"torch==\([0-9.]*\)".*/\1/p' "$root/pyproject.toml")+cpu"
  pip_install "$version" 2>/dev/null || {
    echo "pip's own settings lead to no $version: asking $index"
    pip_install --index-url "$index" "$version"
  }
}

pip_install() { # everything needed is listed, so pip resolves nothing; built files only, so no compiler is ever asked for
  "$venv/bin/python" -m pip --disable-pip-version-check --no-input install \
    -qq --no-deps --only-binary :all: --no-compile "$@"
}

compile_bytecode() { # on all cores, which pip cannot; what hardly any process imports is left to its first import
  "$venv/bin/python" -m compileall -qq -j 0 -x '/(tests?|testing|models)/' "$venv/lib" || true # some files are for other versions
}

fail() {
  echo "install: $1" >&2
  exit 1
}

main "$@"
