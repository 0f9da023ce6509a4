"""Images from PNG and JPEG files that anybody may have made, to arrays of one size."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustml.data.dataset import Floats
from trustml.data.gathering import scratch
from trustml.data.npy import DAMAGED
from trustml.data.tables import first_line
from trustml.errors import DataError
from trustml.scenario.sources import Images

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 2**26
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_ORIENTATION = 0x0112  # of EXIF


def read_images(files: Sequence[Path], source: Images) -> tuple[Floats, Counter[str]]:
    """Read all files to one array, in their order, and count what was done to them.

    Returns
    -------
    float32 array of shape (n, height, width, channels)
        In a file without a name where it is large.
    counts : Counter

    Raises
    ------
    DataError
        If one is no image, is damaged or too large, or their sizes differ and none is declared.
    """
    counts: Counter[str] = Counter()
    size = source.size
    found: Floats | None = None
    for number, path in enumerate(files):
        pixels = _pixels(path, source, counts)
        if found is None:
            size = pixels.shape[:2]
            found = scratch((len(files), *pixels.shape))
        elif pixels.shape[:2] != size:
            raise DataError(
                f"{path}: is {_times(pixels.shape)}, but {files[0].name} is {_times(found.shape[1:])}; give "
                "all images one size by data.size"
            )
        found[number] = pixels
    assert found is not None
    return found, counts


def image_warnings(counts: Counter[str], source: Images, *, images: int) -> tuple[str, ...]:
    """Tell in a line what images were like, and in another that grey ones have three channels."""
    told = [f"{count} {what}" for what, count in counts.items()]
    if counts["of another size"] and source.size is not None:
        change = "stretched" if source.fit == "resize" else "scaled and cut"
        told.append(f"those of another size were {change} to {_times(source.size)}")
    warnings = [f"of {images} images: {'; '.join(told)}"] if told else []
    if counts["grey"] == images:
        warnings.append("all images are grey and have three equal channels: set data.colour to grey for one")
    return tuple(warnings)


def _pixels(path: Path, source: Images, counts: Counter[str]) -> Floats:
    """Read one image in [0, 1], height first."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images and odd metadata, which are looked at here
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise DataError(
                        f"{path}: {image.width} x {image.height} is more than {MOST_PIXELS} pixels; shrink it"
                    )
                image.load()
                return _array(_fitted(_plain(image, source, counts), source, counts), source)
    except UnidentifiedImageError:
        raise DataError(f"{path}: is no PNG or JPEG image; remove or convert it") from None
    except (*DAMAGED, IndexError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({first_line(error)}); fix or replace it") from error


def _plain(image: Image, source: Images, counts: Counter[str]) -> Image:
    """Turn an image the right way up, without palette or transparency, to the channels that are declared."""
    from PIL import Image, ImageOps

    if image.getexif().get(_ORIENTATION, 1) != 1:
        counts["turned as their cameras say"] += 1
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BITS:
        counts["of 16 bits, scaled to [0, 1]"] += 1
        return Image.fromarray(np.asarray(image, np.float32) / np.float32(257))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        counts["with transparency, laid on white"] += 1
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "CMYK":
        counts["in CMYK"] += 1
    if source.colour == "rgb" and image.mode in ("1", "L"):
        counts["grey"] += 1
    return image.convert("RGB" if source.colour == "rgb" else "L")


def _fitted(image: Image, source: Images, counts: Counter[str]) -> Image:
    from PIL import Image, ImageOps

    if source.size is None or (image.height, image.width) == source.size:
        return image
    counts["of another size"] += 1
    height, width = source.size
    if source.fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _array(image: Image, source: Images) -> Floats:
    values = np.asarray(image, np.float32) / np.float32(255)
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3 if source.colour == "rgb" else 1, axis=2)
    return values


def _times(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
