"""A picture in any format and mode that Pillow reads → uint8 pixels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from l2tune.errors import UserError

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


def read_picture(path: Path, side: int | None, *, grayscale: bool) -> NDArray[np.uint8]:
    """(H, W, 1) or (H, W, 3) pixels of a file, turned as its EXIF orientation says; the first frame of several.

    Args:
        side: Resize to a square of this side, bilinear with antialiasing.

    Raises:
        UserError: The file is damaged, no picture, or too large.
    """
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise OSError("there is no such file" if not path.exists() else "it is no ordinary file")
        with Image.open(path, formats=picture_formats()) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if side is not None:
                opened.draft(None, (2 * side, 2 * side))  # a large JPEG is decoded at a fraction of its size
            picture = ImageOps.exif_transpose(opened)
            return pixels_of(picture, "L" if grayscale else "RGB", side)
    except UserError as error:
        raise UserError(error.what, str(path), error.fix) from None
    except (Image.DecompressionBombError, MemoryError):
        raise UserError("is too large to be opened safely", str(path), "scale it down") from None
    except UnidentifiedImageError:
        raise UserError("is damaged or no picture", str(path), "mend or remove the file") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read as a picture ({cause})", str(path), "mend or remove the file") from None


def pixels_of(picture: Image.Image, mode: str, side: int | None = None) -> NDArray[np.uint8]:
    """(H, W, 1) for mode `L`, (H, W, 3) for `RGB`.

    16-bit gray is scaled to 8 bits (Pillow would clip it). Transparent pixels are shown on white, as viewers do; the
    colour stored under them is arbitrary.

    Raises:
        UserError: Pixels are floating point or wider than 16 bits: their range is unknown.
    """
    if picture.mode in _SIXTEEN_BITS:
        values = np.asarray(picture).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UserError("has pixels outside 0..65535", fix="save it with 8 or 16 bits")
        picture = Image.fromarray((values >> 8).astype(np.uint8))
    elif picture.mode == "F":
        raise UserError("has floating-point pixels, whose range is unknown", fix="save it with 8 or 16 bits")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    picture = picture.convert(mode)
    if side is not None:
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
