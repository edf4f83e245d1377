"""Rows of numbers, one per picture, that take little memory: the vectors of a million pictures would be 2 GB."""

from __future__ import annotations

import itertools
import tempfile
import weakref
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import BadInput


class Rows(Protocol):
    """Rows x numbers, wherever they are kept; an array is one of these."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and numbers per row."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any:
        """Some of the rows as an array: by a number, a slice, or an array of numbers, none of them negative."""


class OnDisk:
    """Rows of 32-bit numbers in a file without a name, which is gone with the process, however that ends.

    What is read of it lies in memory only for as long as the reader has it. A row that was never put is NaN.
    """

    def __init__(self, folder: Path, count: int) -> None:
        """
        Args:
            folder: where there is room for the file; made if it isn't there.

        Raises:
            BadInput: nothing can be written there.
        """
        self._folder, self._count, self._width = folder, count, 0
        self._known = np.zeros(count, bool)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: Any = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115  (as long as this is)
        except OSError as error:
            raise self._failed(error) from error
        weakref.finalize(self, self._file.close)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._count, max(1, self._width)

    def __len__(self) -> int:
        return self._count

    def fits(self, row: np.ndarray) -> bool:
        """Whether it is as long as the first that was put; any other is not what was written."""
        return self._width in (0, len(row))

    def put(self, place: int, row: np.ndarray) -> None:
        """
        Raises:
            BadInput: the disk is full.
            ValueError: the row does not fit, so that it would lie where others do.
        """
        if not self.fits(row):
            raise ValueError(f"a row of {len(row)} numbers among rows of {self._width}")
        self._width = self._width or len(row)
        content = memoryview(row.astype(np.float32).tobytes())
        try:
            self._file.seek(place * len(content))
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            raise self._failed(error) from error
        self._known[place] = True

    def __getitem__(self, places: Any, /) -> np.ndarray:
        """
        Raises:
            BadInput: the file can't be read.
        """
        wanted = _numbers(places, self._count)
        flat = wanted.ravel()
        found = np.full((len(flat), self.shape[1]), np.nan, np.float32)
        known = np.flatnonzero(self._known[flat])
        apart = np.flatnonzero((np.diff(flat[known]) != 1) | (np.diff(known) != 1)) + 1
        for first, last in itertools.pairwise([0, *apart.tolist(), len(known)] if len(known) else ()):
            self._read(int(flat[known[first]]), found[known[first] : known[last - 1] + 1])
        return found.reshape(*wanted.shape, self.shape[1])

    def _read(self, first: int, into: np.ndarray) -> None:
        """Reads rows that follow one another in the file."""
        try:
            self._file.seek(first * into.itemsize * self._width)
            read = self._file.readinto(into)
        except OSError as error:
            raise self._failed(error) from error
        if read != into.nbytes:
            raise self._failed(OSError("it is shorter than what was written"))

    def _failed(self, error: OSError) -> BadInput:
        return BadInput(
            f"a temporary file in {self._folder} can't be used ({error.strerror or error}); free some space, or choose "
            "another folder with --out."
        )


class Chosen:
    """Some rows of others, which are not copied."""

    def __init__(self, of: Rows, places: np.ndarray) -> None:
        self._of, self._places = of, places

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._places), self._of.shape[1]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, places: Any, /) -> np.ndarray:
        found: np.ndarray = self._of[self._places[places]]
        return found


class Without:
    """All rows but some, in their order."""

    def __init__(self, of: Rows, gone: np.ndarray) -> None:
        """
        Args:
            gone: places of those that are left out, each once.
        """
        self._of, self._gaps = of, np.sort(gone) - np.arange(len(gone))

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self._of.shape[1]

    def __len__(self) -> int:
        return len(self._of) - len(self._gaps)

    def __getitem__(self, places: Any, /) -> np.ndarray:
        wanted = _numbers(places, len(self))
        found: np.ndarray = self._of[wanted + np.searchsorted(self._gaps, wanted, "right")]
        return found


class Joined:
    """The rows of two, one after the other."""

    def __init__(self, first: Rows, second: Rows) -> None:
        self._first, self._second = first, second

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), max(self._first.shape[1], self._second.shape[1])

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, places: Any, /) -> np.ndarray:
        wanted = _numbers(places, len(self))
        flat, border = wanted.ravel(), len(self._first)
        found = np.empty((len(flat), self.shape[1]), np.float32)
        found[flat < border] = self._first[flat[flat < border]]
        found[flat >= border] = self._second[flat[flat >= border] - border]
        return found.reshape(*wanted.shape, self.shape[1])


def _numbers(places: Any, count: int) -> np.ndarray:
    """Places, however they are given, as numbers.

    Args:
        count: of all rows.
    """
    return np.arange(*places.indices(count)) if isinstance(places, slice) else np.asarray(places, int)
