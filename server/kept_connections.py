"""uvicorn's protocol, but whether a connection is idle for too long is looked at now and then, not timed each time."""

from server.one_write import OneWriteProtocol


class KeptConnection(OneWriteProtocol):
    """`timeout_keep_alive_task` is armed by the first answer and looks again when it rings too early."""

    _idle_since: float | None = None  # of the loop's clock; None: it is busy

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.wire.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the next answer arms it again
        left_s = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._arm(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        """It looks by itself whether it is required."""

    def _arm(self, after_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(after_s, self.timeout_keep_alive_handler)

    def _disarm(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
