"""The worker process: the reconciler; beside it sweeper, integrations, imports, batches, webhooks and usage."""

import logging
import signal
from threading import Event, Thread

from server.adapter_imports.importer import AdapterImporter
from server.batches.runner import BatchRunner
from server.bootstrap import build_batch_services, build_sweeper, build_webhook_sender, build_worker_services
from server.fine_tuning.worker.reconciler import Reconciler
from server.integrations.follower import IntegrationFollower
from server.metering.folding import Folder
from server.settings import Settings
from server.webhooks.delivering.deliverer import Deliverer


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; then stop the runs, which go on at the next start."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    services = build_worker_services(settings)
    beside = [
        Thread(target=build_sweeper(services).run, args=(stop,), name="sweeper"),
        Thread(target=IntegrationFollower(services.database, settings).run, args=(stop,), name="integrations"),
        Thread(target=AdapterImporter(services).run, args=(stop,), name="imports"),
        Thread(target=BatchRunner(build_batch_services(services)).run, args=(stop,), name="batches"),
        Thread(target=Deliverer(services.database, build_webhook_sender(settings)).run, args=(stop,), name="webhooks"),
        Thread(target=Folder(services.database, settings.usage).run, args=(stop,), name="usage"),
    ]
    for thread in beside:
        thread.start()
    try:
        Reconciler(services).run(stop)
    finally:
        stop.set()
        for thread in beside:
            thread.join()
