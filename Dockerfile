# One image per process, and one with all of them; each installs with the script that the Makefile uses.
#
#   docker build --tag tunesmith .                                      everything: runs `tunesmith serve`
#   docker build --tag tunesmith --build-arg DEVICE=cuda .              the same for NVIDIA GPUs (run with --gpus all)
#   docker build --tag tunesmith-trainer --target trainer .             one part: server, trainer or inference
#
#   docker run --publish 8000:8000 --volume tunesmith:/data tunesmith   prints the base URL, and once the keys

FROM python:3.11-slim AS base
ARG DEVICE=cpu
ENV TUNESMITH_VENV=/opt/venv \
    TUNESMITH_HOME=/data \
    TUNESMITH_HOST=0.0.0.0 \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# Triton compiles small C programs on a GPU; a CPU needs no compiler.
RUN if [ "$DEVICE" = cuda ]; then \
      apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi
RUN useradd --create-home tunesmith && install --directory --owner tunesmith --mode 700 /data
WORKDIR /opt/tunesmith
COPY scripts scripts
COPY pyproject.toml README.md LICENSE constraints-cpu.txt constraints-cuda.txt ./

FROM base AS trainer
RUN TUNESMITH_DEVICE=$DEVICE scripts/install.sh trainer
COPY trainer trainer
USER tunesmith
ENTRYPOINT ["python", "-m", "trainer"]

FROM base AS inference
RUN TUNESMITH_DEVICE=$DEVICE scripts/install.sh inference
COPY inference inference
USER tunesmith
# On a GPU the module is inference.vllm.gpu_server.
ENTRYPOINT ["python", "-m"]
CMD ["inference.vllm.cpu_server", "--help"]

FROM base AS server
RUN TUNESMITH_DEVICE=$DEVICE scripts/install.sh server
COPY . .
USER tunesmith
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["tunesmith"]

FROM base AS all
RUN TUNESMITH_DEVICE=$DEVICE scripts/install.sh server trainer inference
COPY . .
USER tunesmith
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready')"]
ENTRYPOINT ["tunesmith"]
CMD ["serve"]
