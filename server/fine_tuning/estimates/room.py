"""How much memory a job may count on: what placing leaves to trainers."""

from server.fine_tuning.estimates.memory import Device
from server.fine_tuning.estimates.planner import Room
from server.placement.facts import Resources


def room_for_a_job(resources: Resources, device: Device, *, allow_4bit: bool) -> Room | None:
    """On whichever GPU it comes to train. None: a GPU does not say what it has."""
    available = [n_bytes for n_bytes in resources.trainer_bytes.values() if n_bytes is not None]
    if len(available) < len(resources.trainer_bytes):
        return None
    return Room(device, min(available), allow_4bit)
