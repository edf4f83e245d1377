"""Pictures that are held until their film has ended are the same afterwards."""

import numpy as np
import pytest

from pipeline.films import stills


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (7, 5000), (360, 640)])
def test_a_held_picture_comes_back_as_it_was(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(stills.unpacked(stills.packed(image)), image)


def test_a_drawn_picture_takes_less_room_than_its_pixels():
    image = np.full((360, 640, 3), (40, 80, 160), np.uint8)
    assert len(stills.packed(image)) < image.nbytes / 4
