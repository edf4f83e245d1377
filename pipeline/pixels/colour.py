"""Any picture as sRGB: deep, palette and print pictures scaled to 8 bits, colour profiles applied, alpha on white."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms

from pipeline.pixels import hdr, profiles

ROWS = 512
"""Rows of a transparent picture that are laid on white at once: whole copies of a large one would take gigabytes."""
MOST_PROFILE = 1 << 24
"""Bytes of a colour profile; those of printers with several tables have some 3 million."""
CLASSES = {"scnr", "mntr", "prtr", "spac"}
"""Classes of profiles that say the colours of a picture; others link devices or name single colours."""
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""Pillow's mode for a profile's colour space."""
NAMED = {"RGB": "RGB", "L": "grey", "CMYK": "CMYK", "LAB": "Lab"}
LEAST_CONTRAST = 64
"""Codes of 255 that white must be above black; a profile that gives less would lose the picture."""
IGNORED = "its colour profile is ignored"
"""How the note of a picture begins whose profile is of no use."""
SAME = 1
"""Codes by which two colours may differ and be called the same, since profiles round."""
SRGB_GAMMA = 0.45455
"""PNG's gAMA for sRGB; writers round it in many ways."""
ADOBE_GAMMA = 563 / 256
EXIF, INTEROP, COLOUR_SPACE = 0x8769, 0xA005, 0xA001
"""EXIF's tags for its own part, for that on interoperability, and for the colour space."""


def to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The decoded picture as RGB in sRGB, transparency on white, and what a person should know, a phrase each.

    A profile is applied with relative colorimetric intent and black-point compensation, as photographers expect. One
    that is broken, or not for such pixels, is left out and named: it never loses a picture.

    The given picture may be changed.
    """
    info, kind, exif = image.info, image.format, image
    image = _simple(image)
    notes: tuple[str, ...] = ()
    cicp = info.get("cicp")
    if cicp and cicp[1] in (hdr.PQ, hdr.HLG):
        image = hdr.to_srgb(_plain(image), cicp[0], cicp[1])
        notes = ("HDR, toned down to sRGB",)
    elif profile := _profile_of(exif, info, kind):
        image, fault = _converted(image, profile)
        notes = (f"{IGNORED}: {fault}",) if fault else ()
    return _on_white(_plain(image)), notes


# ---- modes


def _simple(image: Image.Image) -> Image.Image:
    """The picture in one of the modes L, LA, RGB, RGBA, CMYK and LAB; deep pictures are scaled, not clipped."""
    mode, info = image.mode, image.info
    if mode.startswith("I") or mode == "F":
        image = _eight_bits(image)
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or _is_transparent(image) else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if "transparency" in info and image.mode in ("L", "RGB"):
        return image.convert("LA" if image.mode == "L" else "RGBA")
    targets = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
    return image.convert(targets[image.mode]) if image.mode in targets else image


def _is_transparent(image: Image.Image) -> bool:
    return "transparency" in image.info or (image.palette is not None and image.palette.mode.endswith("A"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits as L.

    Whole numbers are of 16 bits, or else go up to the picture's largest; other numbers go from 0 to 1, or to what
    their largest fits in (1, 255, 65535, itself).
    """
    key, whole = image.info.get("transparency"), image.mode != "F"  # the grey that means transparent
    inverted = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0 and whole  # white is 0
    image = image.convert("F")
    largest = float(image.getextrema()[1])  # type: ignore[arg-type]
    top = next((top for top in ((65535,) if whole else (1, 255, 65535)) if largest <= top), largest)
    if not math.isfinite(top):
        top = 1
    image = image.point(lambda value: value * (255 / top)).convert("L")
    if inverted:
        image = image.point(lambda value: 255 - value)
    if isinstance(key, int):
        image.info["transparency"] = int(key * 255 // top)
    return image


def _plain(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where it has alpha."""
    if image.mode in ("RGB", "RGBA"):
        return image
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _from_lab()) or image
    return image.convert("RGBA" if image.mode == "LA" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """A transparent picture on white, row by row."""
    if image.mode == "RGB":
        return image
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, ROWS):
        strip = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        flat.paste(Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB"), (0, top))
    return flat


# ---- profiles


def _profile_of(image: Image.Image, info: dict[Any, Any], kind: str | None) -> bytes:
    """The ICC profile of a picture, its own or one made of what it says; empty for sRGB and where nothing is said.

    The order for PNG is that of its specification (third edition, 4.3): cICP, iCCP, sRGB, gAMA with cHRM.
    """
    try:
        if (cicp := info.get("cicp")) and cicp[0] in profiles.BY_NUMBER:
            return _unless_srgb(profiles.BY_NUMBER[cicp[0]], profiles.GAMMAS.get(cicp[1]))
        if (found := info.get("icc_profile")) or "srgb" in info:
            return bytes(found or b"")
        if kind == "PNG" and ("gamma" in info or "chromaticity" in info):
            gamma = info.get("gamma") or SRGB_GAMMA
            curve = None if abs(gamma / SRGB_GAMMA - 1) < 0.06 else 1 / gamma  # noqa: PLR2004
            return _unless_srgb(_chromaticities(info.get("chromaticity")), curve)
        if kind in ("JPEG", "MPO", "TIFF", "HEIF") and _is_adobe_rgb(image):
            return profiles.made(profiles.ADOBE, ADOBE_GAMMA)
    except (ValueError, ZeroDivisionError):  # what it says is nonsense
        pass
    return b""


def _chromaticities(said: tuple[float, ...] | None) -> profiles.Primaries:
    if not said:
        return profiles.SRGB
    white, red, green, blue = zip(said[::2], said[1::2], strict=True)
    return white, red, green, blue


def _unless_srgb(primaries: profiles.Primaries, gamma: float | None) -> bytes:
    pairs = zip(primaries, profiles.SRGB, strict=True)
    near = all(abs(a - b) < 0.005 for one, other in pairs for a, b in zip(one, other, strict=True))  # noqa: PLR2004
    return b"" if near and gamma is None else profiles.made(primaries, gamma)


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether a camera says so in EXIF, as those do that embed no profile (DCF 2.0, 3.3.3: the mark R03)."""
    try:
        exif = Image.Image.getexif(image)
        return exif.get_ifd(INTEROP).get(1) == "R03" or exif.get_ifd(EXIF).get(COLOUR_SPACE) == 2  # noqa: PLR2004
    except Exception:  # Pillow reads what strangers wrote
        return False


def _converted(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The picture in sRGB, or as it was and why its profile is of no use."""
    mode, transform, fault = _transform(profile)
    bands = {"RGB": ("RGB", "RGBA", "L", "LA"), "L": ("L", "LA")}.get(mode, (mode,))
    if not fault and image.mode not in bands:
        named = NAMED.get(image.mode.rstrip("A"), image.mode)
        fault = f"it is for {NAMED[mode]} pictures, and this is a picture in {named}"
    if fault or transform is None:
        return image, fault
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if mode == "RGB":
        image = image.convert("RGB")
        ImageCms.applyTransform(image, transform, inPlace=True)
    else:
        image = ImageCms.applyTransform(image.getchannel(0) if mode == "L" else image, transform) or image
    if alpha:
        image.putalpha(alpha)
    return image, ""


@lru_cache(32)
def _transform(content: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None, str]:
    """The mode that a profile is for, the way to sRGB (None if it changes nothing), and why it is of no use, if so."""
    if len(content) > MOST_PROFILE:
        return "", None, f"it has {len(content):,} bytes, more than {MOST_PROFILE:,}"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        kind, space = profile.profile.device_class.strip(), profile.profile.xcolor_space
        if kind not in CLASSES or space not in MODES:
            return "", None, f"it is of the class '{kind}' for colours in '{space.strip()}'"
        mode = MODES[space]
        transform = _built(profile, mode)
        before, after = _probe(mode), ImageCms.applyTransform(_probe(mode), transform)
    except Exception as error:  # whatever is in a stranger's profile
        return "", None, f"it can't be read ({str(error).strip() or type(error).__name__})"
    assert after is not None
    if after.getpixel((0, 0))[1] - after.getpixel((1, 0))[1] < LEAST_CONTRAST:  # type: ignore[index]
        return "", None, "it makes white as dark as black"
    same = mode in ("RGB", "L") and _largest_difference(before.convert("RGB"), after) <= SAME
    return mode, None if same else transform, ""


def _built(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


@lru_cache(1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    return _built(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")


def _probe(mode: str) -> Image.Image:
    """Colours by which a profile is judged: white, black, and for RGB and grey those between them."""
    steps, greys = np.arange(0, 256, 51), np.arange(0, 256, 5)
    colours = {
        "CMYK": np.array([[0, 0, 0, 0], [0, 0, 0, 255]]),
        "LAB": np.array([[255, 0, 0], [0, 0, 0]]),
        "L": np.array([255, 0, *greys]),
        "RGB": np.concatenate(
            [
                [[255] * 3, [0] * 3],
                np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3),
                np.stack([greys] * 3, -1),
            ]
        ),
    }[mode]
    return Image.frombytes(mode, (len(colours), 1), colours.astype(np.uint8).tobytes())


def _largest_difference(one: Image.Image, other: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(one, other).getextrema())  # type: ignore[misc]
