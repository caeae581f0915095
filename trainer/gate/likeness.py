"""Which examples of both files are nearly equal, which prompts and which answers are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.contract.report import FileKind
from trainer.gate.clusters import find_alike
from trainer.gate.signatures import Signatures

NEARLY_EQUAL = 0.85  # of the word triples of a whole example in common
ALIKE = 0.7  # of those of a prompt, or of an answer


@dataclass(frozen=True)
class Likeness:
    """Each entry is the number of the first example that the example is like, or its own."""

    places: Mapping[FileKind, slice]  # of each file among all examples; the training file's are the first
    wholes: npt.NDArray[np.uint32]  # of all files
    prompts: npt.NDArray[np.uint32]  # of the training file
    outputs: npt.NDArray[np.uint32]  # likewise

    @property
    def n_training(self) -> int:
        return int(self.places["training"].stop)

    def wholes_of(self, kind: FileKind) -> npt.NDArray[np.uint32]:
        return self.wholes[self.places[kind]]


def compare(signatures: Signatures, places: Mapping[FileKind, slice]) -> Likeness:
    n_training = places["training"].stop
    prompts, outputs = signatures.prompts(), signatures.outputs()
    return Likeness(
        places=places,
        wholes=find_alike(prompts, outputs, threshold=NEARLY_EQUAL, release=signatures.release),
        prompts=find_alike(prompts[:n_training], threshold=ALIKE, release=signatures.release),
        outputs=find_alike(outputs[:n_training], threshold=ALIKE, release=signatures.release),
    )


def largest_group(leaders: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """The examples of the largest group of those that are alike."""
    chosen: npt.NDArray[np.bool_] = leaders == np.bincount(leaders).argmax()
    return chosen
