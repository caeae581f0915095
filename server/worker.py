"""The worker process: the reconciler until it is told to stop."""

import logging
import signal
from threading import Event

from server.bootstrap import build_worker_services
from server.fine_tuning.reconciler import Reconciler
from server.settings import Settings


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; then stop the runs, which go on at the next start."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Reconciler(build_worker_services(settings)).run(stop)
