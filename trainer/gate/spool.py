"""A list of records of one type that grows on disk, so that a million of them cost no memory until they are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Spool:
    def __init__(self, path: Path, dtype: npt.DTypeLike, *, shape: tuple[int, ...] = ()) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._shape = shape  # of one record
        self._file = path.open("wb")
        self._n_records = 0

    def __len__(self) -> int:
        return self._n_records

    def append(self, records: npt.NDArray[Any] | Sequence[Any]) -> None:
        """Add some; better many at once."""
        data = np.asarray(records, dtype=self._dtype).reshape(-1, *self._shape)
        self._file.write(data.tobytes())
        self._n_records += len(data)

    def read(self) -> npt.NDArray[Any]:
        """All of them, as a view of the file; nothing can be added afterwards."""
        self._file.close()
        if self._n_records == 0:
            return np.empty((0, *self._shape), dtype=self._dtype)
        return np.memmap(self._path, dtype=self._dtype, mode="r", shape=(self._n_records, *self._shape))

    def close(self) -> None:
        self._file.close()
