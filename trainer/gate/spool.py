"""A list of records of one type that grows on disk, so that a million of them cost no memory until they are read."""

import mmap
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
        self._mapping: mmap.mmap | None = None

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
        if self._mapping is None:
            with self._path.open("rb") as file:
                self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(self._mapping, dtype=self._dtype).reshape(self._n_records, *self._shape)

    def release(self) -> None:
        """Give back the memory of what has been read; the view stays good, and reads from the disk again."""
        if self._mapping is not None:
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        self._file.close()
