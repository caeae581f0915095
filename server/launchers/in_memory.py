"""Runs that are plain functions, for tests."""

from collections.abc import Callable

from server.launchers.launcher import Exited, LaunchRequest, Lost, RunHandle, RunState

Script = Callable[[LaunchRequest], Exited | Lost]


class InMemoryLauncher:
    """Plays `script` at launch, to its end; what it returns is what `poll` says."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._ended: dict[str, Exited | Lost] = {}
        self.launched: list[LaunchRequest] = []
        self.stopped: list[RunHandle] = []

    def launch(self, request: LaunchRequest) -> RunHandle:
        key, mark = str(request.run_directory), request.run_directory / "launched"
        if not mark.exists():  # a directory that was made anew can be launched again
            mark.touch()
            self.launched.append(request)
            self._ended[key] = self._script(request)
        return RunHandle("in_memory", {"run_directory": key})

    def poll(self, handle: RunHandle) -> RunState:
        return self._ended.get(handle.data["run_directory"], Lost())

    def stop(self, handle: RunHandle, grace_s: float) -> None:  # noqa: ARG002  # the port's signature; a played run has ended
        self.stopped.append(handle)
