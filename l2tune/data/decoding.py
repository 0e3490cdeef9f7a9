"""A picture in any format and mode that Pillow reads → pixels of 8 bits, or of 16 where gray has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from l2tune.data.arrays import by
from l2tune.data.picture_stack import Picture, PictureStack
from l2tune.errors import UserError
from l2tune.importing import cause_of

MAX_PIXELS = 89_478_485
"""Of one picture: Pillow's own limit against files that unpack to gigabytes."""

_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Pillow knows these only through other programs, which a data set should not be able to start, or not at all."""

_SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


@cache
def picture_formats() -> tuple[str, ...]:
    """Names of the formats that are read; the content of a file decides which one it is.

    The common ones are tried first: of the others, some find out only by trying.
    """
    Image.init()
    common = [kind for kind in _COMMON if kind in Image.OPEN]
    return (*common, *sorted(set(Image.OPEN) - _NOT_PICTURES - set(common)))


@cache
def picture_suffixes() -> frozenset[str]:
    """Suffixes of files that count as pictures; all other files are passed over."""
    formats = set(picture_formats())
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)


def read_picture(path: Path, side: int | None, *, grayscale: bool) -> Picture:
    """The picture in a file, turned as its EXIF orientation says; the first frame of several.

    Args:
        side: Resize to a square of this side, bilinear with antialiasing.
        grayscale: (H, W, 1) pixels instead of (H, W, 3).

    Raises:
        UserError: The file is damaged, no picture, or too large.
    """
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise OSError("there is no such file" if not path.exists() else "it is no ordinary file")
        with Image.open(path, formats=picture_formats()) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            deep = _is_deep_colour(opened)
            if side is not None:
                opened.draft(None, (2 * side, 2 * side))  # a large JPEG is decoded at a fraction of its size
            picture = ImageOps.exif_transpose(opened)
            return decode(picture, "L" if grayscale else "RGB", side, deep=deep)
    except UserError as error:
        raise UserError(error.what, str(path), error.fix) from None
    except (Image.DecompressionBombError, MemoryError):
        raise UserError("is too large to be opened safely", str(path), "scale it down") from None
    except UnidentifiedImageError:
        raise UserError("is damaged or no picture", str(path), "mend or remove the file") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read as a picture ({cause})", str(path), "mend or remove the file") from None


def decode(picture: Image.Image, mode: str, side: int | None = None, *, deep: bool | None = None) -> Picture:
    """Pixels (H, W, 1) for mode `L`, (H, W, 3) for `RGB`, (H, W, 1) of 16 bits for gray of more than 8 bits.

    Transparent pixels are shown on white, as viewers do; the colour stored under them is arbitrary.

    Args:
        deep: Whether the file had 16 bits a colour; None asks the picture, which knows until it is loaded.

    Raises:
        UserError: Pixels are floating point or wider than 16 bits: their range is unknown.
    """
    if picture.mode in _SIXTEEN_BITS:
        return _decode_wide(picture, side)
    if picture.mode == "F":
        raise UserError("has floating-point pixels, whose range is unknown", fix="save it with 8 or 16 bits")
    top = 0
    if _is_deep_colour(picture) if deep is None else deep:
        colours = picture.convert("L") if picture.mode.startswith("L") else picture.convert("RGB")
        extrema: Any = colours.getextrema()
        upper = max(np.ravel(extrema))
        top = int(upper) << 8 | 255
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    picture = picture.convert(mode)
    if side is not None:
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return Picture(pixels[:, :, None] if pixels.ndim == 2 else pixels, top)


def decode_as_is(picture: Image.Image) -> Picture:
    """A picture in memory: gray if its mode is, otherwise in colour.

    Raises:
        UserError: It cannot be loaded, or the range of its pixels is unknown.
    """
    gray = picture.mode in ("1", "L") or picture.mode.startswith("I")
    try:
        return decode(picture, "L" if gray else "RGB")
    except UserError:
        raise
    except Exception as error:  # its file may be gone or damaged
        raise UserError(f"cannot be read as a picture ({cause_of(error)})", fix="mend or leave it out") from None


def stack_pictures(pictures: Sequence[Image.Image], where: str) -> PictureStack:
    """Pillow's pictures of one size.

    Raises:
        UserError: Sizes or kinds differ, or one cannot be read.
    """
    stack: PictureStack | None = None
    for index, picture in enumerate(pictures):
        try:
            decoded = decode_as_is(picture)
        except UserError as error:
            raise UserError(f"picture {index} {error.what}", where, error.fix) from None
        height, width, channels = decoded.pixels.shape
        stack = stack or PictureStack(len(pictures), (channels, height, width))
        if not stack.fits(decoded):
            shapes = f"picture 0 is {by(stack.shape[1:])}, picture {index} is {by((channels, height, width))}"
            raise UserError(f"images differ: {shapes}", where, "bring them to one size and mode")
        stack.put(index, decoded)
    assert stack is not None
    return stack


def _decode_wide(picture: Image.Image, side: int | None) -> Picture:
    """Gray of 16 bits as it is; Pillow itself would clip it to 255."""
    values = np.asarray(picture).astype(np.int64)
    top = int(values.max(initial=0))
    if top > 65535 or values.min(initial=0) < 0:
        raise UserError("has pixels outside 0..65535", fix="save it with 8 or 16 bits")
    if side is not None:
        large = Image.fromarray(values.astype(np.float32))
        values = np.rint(np.asarray(large.resize((side, side), Image.Resampling.BILINEAR)))
    return Picture(values.astype(np.uint16)[:, :, None], top)


def _is_deep_colour(picture: Image.Image) -> bool:
    """Whether a file that was opened and not yet loaded has 16 bits a colour: Pillow reads the upper 8 only."""
    for tile in getattr(picture, "tile", None) or ():
        arguments = tile[3] if len(tile) > 3 else ()
        raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        if isinstance(raw, str) and _DEEP.fullmatch(raw):
            return True
    return False


_DEEP = re.compile(r"(LA|RGB[AXa]?|CMYK);16[BLN]")
"""Pillow's names of the layouts in files; BGR;16 is another thing: 16 bits a pixel."""
