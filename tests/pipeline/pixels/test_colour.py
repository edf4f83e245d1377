"""Colours: whatever curve, primaries or depth a picture has, its patches come out as in the sRGB original."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from pipeline import pixels
from pipeline.pixels import colour, hdr, profiles

pillow_heif.register_heif_opener()

COLOURS = np.array(
    [(200, 40, 40), (40, 180, 60), (50, 60, 210), (255,) * 3, (128,) * 3, (230, 200, 40), (200, 60, 190), (16,) * 3],
    np.uint8,
)
SIDE = 32
ADOBE = profiles.made(profiles.ADOBE, colour.ADOBE_GAMMA)
P3 = profiles.made(profiles.BY_NUMBER[12])
PROPHOTO = profiles.made(((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8)
WIDE = {"Adobe RGB": ADOBE, "Display P3": P3, "ProPhoto": PROPHOTO}


def patches() -> Image.Image:
    return Image.fromarray(np.repeat(np.repeat(COLOURS.reshape(2, 4, 3), SIDE, axis=0), SIDE, axis=1))


def stored_in(profile: bytes, mode: str = "RGB") -> Image.Image:
    """The patches as a program stores them with a profile."""
    to = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(patches(), ImageCms.createProfile("sRGB"), to, outputMode=mode)
    assert made is not None
    return made


def error(path: Path) -> int:
    """The largest difference of a patch's middle from the original."""
    found = np.asarray(pixels.open_image(path), int)[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE]
    return int(np.abs(found - COLOURS.reshape(2, 4, 3)).max())


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_patches_with_an_embedded_profile_are_those_of_the_original(kind: str, name: str, tmp_path: Path) -> None:
    more = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    more |= {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else {}
    more |= {"quality": -1, "chroma": 444} if kind == "HEIF" else {}
    stored_in(WIDE[name]).save(tmp_path / "a", kind, icc_profile=WIDE[name], **more)
    # Eight bits of ProPhoto's gamma of 1.8 are coarse in dark colours; Pillow's AVIF is never without loss.
    assert error(tmp_path / "a") <= (6 if name == "ProPhoto" else 3) + (6 if kind == "AVIF" else 0)
    assert not pixels.open_sized(tmp_path / "a").notes


def test_transparency_is_laid_on_white_after_colours_are_converted(tmp_path: Path) -> None:
    picture = stored_in(P3)
    picture.putalpha(Image.new("L", picture.size, 255))
    picture.paste((0, 0, 0, 0), (0, 0, SIDE, SIDE))
    picture.save(tmp_path / "a.png", icc_profile=P3)
    found = np.asarray(pixels.open_image(tmp_path / "a.png"), int)
    assert found[4, 4].tolist() == [255, 255, 255]
    assert np.abs(found[4, SIDE + 4] - COLOURS[1]).max() <= 3


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    patches().save(tmp_path / "a.png", icc_profile=own)
    assert pixels.open_image(tmp_path / "a.png").tobytes() == patches().tobytes()


def grey_profile(gamma: float) -> bytes:
    """A profile for grey pictures, made from one for RGB."""
    full = profiles.made(profiles.SRGB, gamma)
    curve = b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, round(gamma * 65536))
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in profiles.D50))
    tags, start, table, body = [(b"wtpt", white), (b"kTRC", curve)], 128 + 4 + 24, struct.pack(">I", 2), b""
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    head = full[:16] + b"GRAY" + full[20:128]
    return struct.pack(">I", 128 + len(table) + len(body)) + head[4:] + table + body


def test_a_grey_profile_is_applied_to_grey_pictures_alone(tmp_path: Path) -> None:
    profile = grey_profile(1.0)
    Image.new("L", (64, 48), 55).save(tmp_path / "grey.png", icc_profile=profile)  # linear 0.2157 is 128 in sRGB
    assert pixels.open_image(tmp_path / "grey.png").getpixel((9, 9)) == pytest.approx((128,) * 3, abs=1)
    patches().save(tmp_path / "colour.png", icc_profile=profile)
    opened = pixels.open_sized(tmp_path / "colour.png")
    assert opened.image.tobytes() == patches().tobytes()
    assert opened.notes == ("its colour profile is ignored: it is for grey pictures, and this is a picture in RGB",)


def test_a_grey_picture_may_have_a_profile_for_colours(tmp_path: Path) -> None:
    Image.new("L", (64, 48), 55).save(tmp_path / "a.png", icc_profile=profiles.made(profiles.SRGB, 1.0))
    opened = pixels.open_sized(tmp_path / "a.png")
    assert opened.image.getpixel((9, 9)) == pytest.approx((128,) * 3, abs=1) and not opened.notes


def test_lab_and_print_pictures_are_read(tmp_path: Path) -> None:
    lab = ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(patches(), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert made is not None
    made.save(tmp_path / "lab.tif")
    assert error(tmp_path / "lab.tif") <= 3
    patches().convert("CMYK").save(tmp_path / "print.jpg", quality=97)
    assert error(tmp_path / "print.jpg") <= 4


HEADER = struct.pack(">I4xI", 132, 0x04300000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(92)
EVIL = {
    "nothing": b"x",
    "zeros": bytes(4_000),
    "only a header": HEADER + bytes(4),
    "cut off": P3[:300],
    "of another class": P3[:12] + b"link" + P3[16:],
    "of named colours": P3[:12] + b"nmcl" + P3[16:],
    "for CMYK": P3[:16] + b"CMYK" + P3[20:],
    "for fifteen channels": P3[:16] + b"FCLR" + P3[20:],
    "tags far beyond its end": P3[:148] + b"\xff\xff\xff\x00" + P3[152:],
    "millions of tags": P3[:128] + b"\x7f\xff\xff\xff" + P3[132:],
    "gigantic": P3 + bytes(colour.MOST_PROFILE),
    "all black": P3.replace(b"para", b"para", 1).replace(
        struct.pack(">HH", 3, 0) + profiles._fixed(profiles.SRGB_CURVE),
        struct.pack(">HH", 3, 0) + profiles._fixed((2.4, 0, 0, 0, 1.0)),
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_an_evil_profile_never_loses_the_picture(name: str, tmp_path: Path) -> None:
    patches().save(tmp_path / "a.tif", icc_profile=EVIL[name])
    opened = pixels.open_sized(tmp_path / "a.tif")
    assert opened.image.tobytes() == patches().tobytes()
    (note,) = opened.notes
    assert note.startswith("its colour profile is ignored: it ") and "\n" not in note


def png_with(picture: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    content = buffer.getvalue()
    more = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    start = content.index(b"IDAT") - 4
    return content[:start] + more + content[start:]


def chromaticities(primaries: profiles.Primaries) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for pair in primaries for value in pair))


def test_pngs_may_say_their_colours_by_gamma_and_primaries_or_by_code_points(tmp_path: Path) -> None:
    gamma = struct.pack(">I", round(100_000 / colour.ADOBE_GAMMA))
    wide = png_with(stored_in(ADOBE), (b"gAMA", gamma), (b"cHRM", chromaticities(profiles.ADOBE)))
    linear = png_with(stored_in(profiles.made(profiles.SRGB, 1.0)), (b"gAMA", struct.pack(">I", 100_000)))
    coded = png_with(stored_in(P3), (b"cICP", bytes((12, 13, 0, 1))))
    usual = png_with(patches(), (b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", chromaticities(profiles.SRGB)))
    sure = png_with(patches(), (b"sRGB", b"\0"), (b"gAMA", gamma), (b"cHRM", chromaticities(profiles.ADOBE)))
    nonsense = png_with(patches(), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)))
    for name, content, most in [
        ("wide", wide, 3),
        ("linear", linear, 6),
        ("coded", coded, 3),
        ("usual", usual, 0),
        ("sure", sure, 0),
        ("nonsense", nonsense, 0),
    ]:
        (tmp_path / name).write_bytes(content)
        assert error(tmp_path / name) <= most, name


def test_a_cameras_mark_for_adobe_rgb_in_exif_counts_where_no_profile_is_embedded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[colour.EXIF] = {colour.COLOUR_SPACE: 65535, colour.INTEROP: {1: "R03"}}
    stored_in(ADOBE).save(tmp_path / "a.jpg", quality=97, subsampling=0, exif=exif)
    assert error(tmp_path / "a.jpg") <= 3


def as_hdr(transfer: int) -> Image.Image:
    """The patches as BT.2020 with PQ or HLG, white at 203 candela per square metre."""
    codes = np.asarray(patches()) / 255
    linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    to_2020 = np.linalg.solve(
        profiles.to_xyz(profiles.BY_NUMBER[9], adapted=False), profiles.to_xyz(profiles.SRGB, adapted=False)
    )
    light = np.clip(linear @ to_2020.T, 0, None)
    if transfer == hdr.PQ:
        power = (light * 203 / 10_000) ** (1305 / 8192)
        stored = ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        luminance = (light @ [0.2627, 0.6780, 0.0593])[..., None] * 203 / 1000
        scene = light * 203 / 1000 * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        stored = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return Image.fromarray(np.round(255 * np.clip(stored, 0, 1)).astype(np.uint8))


@pytest.mark.parametrize("transfer", [hdr.PQ, hdr.HLG])
def test_hdr_pictures_have_the_tones_of_the_original(transfer: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_with(as_hdr(transfer), (b"cICP", bytes((9, transfer, 0, 1)))))
    found = np.asarray(pixels.open_image(tmp_path / "a.png"), int)[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE].reshape(8, 3)
    red, white, grey = found[0], found[3], found[4]
    assert (red.max() - red.min()) / red.max() >= 0.7 and grey.mean() / white.mean() <= 0.6
    assert np.abs(found - COLOURS).max() <= 16  # 8 bits of such a curve are coarse
    assert pixels.open_sized(tmp_path / "a.png").notes == ("HDR, toned down to sRGB",)


def test_highlights_of_hdr_are_compressed_and_keep_their_order() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    toned = np.asarray(hdr.to_srgb(Image.fromarray(ramp), 9, hdr.PQ), int)[0, :, 0]
    assert (np.diff(toned) >= 0).all() and toned[0] == 0 and toned[-1] >= 254


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128 * 257, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 127, 255]),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 128 * 257, 65535]], np.float32), [0, 128, 255]),
        (np.array([[-5, 1e6, 2e6]], np.float32), [0, 127, 255]),
        (np.array([[0, 1 << 20, 1 << 21]], np.int32), [0, 127, 255]),
        (np.array([[np.nan, 1, np.inf]], np.float32), [0, 255, 255]),
    ],
)
def test_deep_grey_pictures_are_scaled(values: np.ndarray, expected: list[int], tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = np.asarray(pixels.open_image(tmp_path / "a.tif"), int)[0, :, 0]
    assert found[1:] == pytest.approx(expected[1:], abs=1)
    assert found[0] == expected[0] or not np.isfinite(values).all()


def test_a_palette_is_converted_like_colours(tmp_path: Path) -> None:
    stored_in(P3).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png", icc_profile=P3)
    assert error(tmp_path / "a.png") <= 3
