"""Which examples of both files are nearly equal, which prompts and which answers are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.gate.clusters import find_alike
from trainer.gate.signatures import Signatures

NEARLY_EQUAL = 0.85  # of the word triples of a whole example in common
ALIKE = 0.7  # of those of a prompt, or of an answer


@dataclass(frozen=True)
class Likeness:
    """Each entry is the number of the first example that the example is like, or its own."""

    n_training: int
    wholes: npt.NDArray[np.uint32]  # of the training file, then of the validation file
    prompts: npt.NDArray[np.uint32]  # of the training file
    outputs: npt.NDArray[np.uint32]  # likewise


def compare(signatures: Signatures, n_training: int) -> Likeness:
    prompts, outputs = signatures.prompts(), signatures.outputs()
    return Likeness(
        n_training=n_training,
        wholes=find_alike(prompts, outputs, threshold=NEARLY_EQUAL, release=signatures.release),
        prompts=find_alike(prompts[:n_training], threshold=ALIKE, release=signatures.release),
        outputs=find_alike(outputs[:n_training], threshold=ALIKE, release=signatures.release),
    )


def largest_group(leaders: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """The examples of the largest group of those that are alike."""
    chosen: npt.NDArray[np.bool_] = leaders == np.bincount(leaders).argmax()
    return chosen
