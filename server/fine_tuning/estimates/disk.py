"""What training all of a model's weights needs of the disk (pure)."""

_TRAINED_BYTES = 12  # a parameter's weight and its two moments, as a checkpoint has them
_SAVED_BYTES = 4  # of the model that comes of it, at most
_CHECKPOINTS = 2  # the newest, and the one that is being written


def disk_bytes_of_full(parameters: int, *, keeps_best: bool) -> int:
    """At the worst moment. With patience each checkpoint also has the weights of the best step."""
    of_checkpoint = _TRAINED_BYTES + (_SAVED_BYTES if keeps_best else 0)
    return parameters * (_CHECKPOINTS * of_checkpoint + _SAVED_BYTES)


def find_lack_of_disk(parameters: int | None, *, keeps_best: bool, free_bytes: int) -> str | None:
    """Why it does not fit, and what would; None if it does, or the size is not known."""
    needed = 0 if parameters is None else disk_bytes_of_full(parameters, keeps_best=keeps_best)
    if needed <= free_bytes:
        return None
    return (
        f"Training all weights would need {needed / 1e9:.3g} GB of disk for checkpoints and the model, and "
        f"{free_bytes / 1e9:.3g} GB are free. Train an adapter of type 'lora', choose a smaller base model, or have "
        "the operator free some space."
    )
