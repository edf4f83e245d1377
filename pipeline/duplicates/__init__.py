"""Finds pictures that show the same thing: of equal bytes, equal pixels, alike by perceptual hash or by vector.

    exact        the same bytes, whatever the names; the same pixels in files of other bytes
    perceptual   another size, compression or crop of a few pixels, mirrored or turned: 64-bit hashes, and colours alike
    vectors      another crop or moment of the same thing: vectors of a scorer, and colours alike
    index        what is near what among many hashes, in nearly linear time

Which copy stays does not depend on the order of the pictures: the largest, then the sharpest, then the first by source.
Copies say nothing about what belongs together, and what belongs together may be copies: an edit may change little.
"""
