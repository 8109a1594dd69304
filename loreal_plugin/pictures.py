"""Pictures as people have them, read in one way everywhere: training, tests, prediction, devices.

What a file holds becomes 8-bit RGB. A camera's turn (EXIF) is applied. More than 8 bits a colour
and fractions are scaled, palettes looked up, CMYK is converted. What is transparent shows white.
Pillow and numpy are all that this needs.

Shapes: H height, W width of a picture, pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from loreal_plugin.errors import DataError

# Part of the identity of pictures that Pillow's own `open(...).convert("RGB")` reads in another
# way. Raise it with any change of what `as_rgb` gives.
READING = 1
# Pillow's own limit, which other libraries may have switched off.
MAX_PIXELS = 178_956_970
# A model's square is cut from a picture whose shorter side became that of the square: at 224 pixels
# one of this shape has as many pixels then as the limit allows.
MAX_RATIO = MAX_PIXELS // 224**2
_ORIENTATION = 0x0112
# Source: Exif 2.32, tag Orientation; what brings each of its values upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_WHITE = (255, 255, 255, 255)
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1")
_FULL_16 = 65535
# PostScript is a program, which Pillow would give to Ghostscript to run
_PROGRAMS = ("EPS",)
# one of these is in a PNG that says how the camera was held
_PNG_NOTES = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")


def read_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Return the picture of a file, upright, in 8-bit RGB, fully decoded.

    Raises:
        DataError: the file is missing or broken, or no picture (it is named).
    """
    try:
        return decode(_regular(path))
    except FileNotFoundError as error:
        raise DataError(f"picture '{path}' does not exist; was it moved or renamed?") from error
    except (DataError, OSError) as error:
        fault = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"picture '{path}' cannot be read: {fault}; replace or remove it"
        ) from error


def decode(source: str | bytes | BinaryIO) -> Image.Image:
    """Return a picture, upright, in 8-bit RGB, from a file's name, its bytes or an open file.

    Raises:
        DataError: what is wrong with the content, in words that go behind "cannot be read:".
        OSError: the file cannot be opened.
    """
    source = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(source) as image:
            return as_rgb(image)
    except UnidentifiedImageError as error:
        raise DataError(_no_picture(source)) from error
    except (FileNotFoundError, PermissionError, DataError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{error} (at most {MAX_PIXELS:,} pixels are read)") from error
    # Pillow's decoders raise many kinds: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture that Pillow has opened or made, upright, in 8-bit RGB.

    Raises:
        DataError: it has too many pixels, or none, or is far too thin, has no finite value, or is a
            program that draws.
    """
    if image.format in _PROGRAMS:
        raise DataError("it is PostScript, a program, which is not run; save it as JPEG or PNG")
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}; make it smaller"
        )
    short, long = sorted(image.size)
    if long > MAX_RATIO * short or not long:
        raise DataError(
            f"it is {image.width} x {image.height} pixels; no side may be more than"
            f" {MAX_RATIO:,} times the other: cut it"
        )
    image.load()  # Pillow turns a TIFF here, and then no longer reports an orientation
    turn = _UPRIGHT.get(_orientation(image))
    upright = image if turn is None else image.transpose(turn)
    if image.mode[0] in "IF":
        # Pillow's 16-bit modes are "I;16..."; PNG and PPM open 16 bits as "I", too
        sixteen = image.mode != "F" and (len(image.mode) > 1 or image.format in ("PNG", "PPM"))
        values = np.asarray(upright)
        return Image.fromarray(_scaled(values, _FULL_16 if sixteen else None)).convert("RGB")
    if _has_alpha(image):
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
        seen = (upright.convert(straight) if straight else upright).convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", seen.size, _WHITE), seen)
    return upright.convert("RGB")


def from_array(values: Any) -> Image.Image:
    """Return an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as a picture in 8-bit RGB.

    8-bit values are taken as they are; 16-bit and other values are scaled as in a file, all colours
    alike. The last of four is opacity.

    Raises:
        DataError: another shape, no pixel, or no finite value.
    """
    array = np.asarray(values)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise DataError(
            f"an array must have the shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        array = _scaled(array, _FULL_16 if array.dtype == np.uint16 else None)
    return as_rgb(Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array))


def picture_identity(content: bytes) -> str:
    """Return a SHA-256 that identifies a picture file's pixels, for keys of caches and runs.

    It is the content's own hash where Pillow alone reads the same pixels. Where it does not, it
    depends on `READING`, too: embeddings from before this module are then not taken for new ones.
    """
    own = hashlib.sha256(content).hexdigest()
    try:
        with Image.open(io.BytesIO(content)) as image:
            plain = _read_alike(image, content)
    # no picture: whoever reads it says so
    except Exception:
        plain = True
    return own if plain else hashlib.sha256(f"{own}/{READING}".encode()).hexdigest()


def _read_alike(image: Image.Image, content: bytes) -> bool:
    """Return whether `convert("RGB")` alone gives the pixels of `as_rgb`."""
    if image.mode[0] in "IF" or _has_alpha(image):
        return False
    # Pillow decodes a whole PNG to find its notes
    if image.format == "PNG" and not any(note in content for note in _PNG_NOTES):
        return True
    return _orientation(image) not in _UPRIGHT


def _has_alpha(image: Image.Image) -> bool:
    """Return whether a picture has opacity, of its pixels or of a colour."""
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    """Return how a camera was held (EXIF, 1 to 8); 1 where the picture does not say so."""
    # a broken note is no reason to refuse the picture
    with suppress(Exception):
        return int(image.getexif().get(_ORIENTATION, 1))
    return 1


def _scaled(values: np.ndarray, full: float | None) -> np.ndarray:
    """Return numbers as 0 to 255, uint8.

    Args:
        full: the number that is white, where the format says so. Else the numbers decide: white is
            1 for fractions, 255 or 65535 for larger numbers; with numbers below 0 or above 65535
            the least is black and the greatest white.

    Raises:
        DataError: no number is finite.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise DataError("none of its values is a finite number")
    known = values[finite].astype(np.float64)
    low, high = float(known.min()), float(known.max())
    if full is not None:
        low, high = 0.0, full
    elif low >= 0 and high <= _FULL_16:
        low, high = 0.0, _white(values.dtype, high)
    numbers = np.where(finite, values, low).astype(np.float64)
    share = (numbers - low) / (high - low) if high > low else np.zeros(values.shape)
    return np.rint(share.clip(0, 1) * 255).astype(np.uint8)


def _white(kind: np.dtype, high: float) -> float:
    """Return which number is white among numbers from 0 to `high`."""
    if kind.kind == "f" and high <= 1:
        return 1.0
    return 255.0 if high <= 255 else float(_FULL_16)


def _regular(path: str | os.PathLike[str]) -> str:
    """Return a path of a file; a pipe or a device would wait for ever.

    Raises:
        DataError: it is another thing.
        OSError: it does not exist.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise DataError("it is a folder")
    if not stat.S_ISREG(mode):
        raise DataError("it is no regular file")
    return os.fspath(path)


def _no_picture(source: str | BinaryIO) -> str:
    """Return what a content is that Pillow does not know."""
    if isinstance(source, str):
        with Path(source).open("rb") as file:
            head = file.read(32)
    else:
        source.seek(0)
        head = source.read(32)
    if not head:
        return "the file is empty"
    if head[4:12] in _HEIC:
        return "it is in HEIC format; save it as JPEG or PNG"
    text = head.decode("utf-8", errors="replace")
    if text.isprintable() or not any(byte < 9 or 13 < byte < 32 for byte in head):
        return f"it is no picture; it begins with the text '{' '.join(text.split())[:24]}'"
    return f"it is in no picture format that is known here; it begins with {head[:8]!r}"
