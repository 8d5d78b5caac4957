"""Do two outputs say the same? CPUs round differently, so neither text nor pictures are compared bit by bit.

Another order of float32 sums changes results by a millionth or so. What that can do to an output is allowed
here, and nothing else:

- A number written with decimals or an exponent may differ by one unit of its last digit, or by RELATIVE.
  All other text, whole numbers included, has to be equal. So a rounding error, such as 3e-16, is nothing to
  print: print that it is below a bound, or give the cell the tag "measured".
- A pixel may move to its neighbour, for lines and bars are drawn on whole pixels, and its colour may differ
  by COLOUR. A curve that moves by two pixels, has another colour or is missing, is noticed.
"""

import re
from base64 import b64decode
from decimal import Decimal
from io import BytesIO

import numpy as np
from PIL import Image

RELATIVE = Decimal("1e-5")  # ten times what another order of float32 sums changes
COLOUR = 16  # of 255, per channel

_ROUNDED = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+)(?!\.?\d)")


def same_number(first: str, second: str) -> bool:
    """Whether two numbers, as they are written, may be one number that was rounded in two ways."""
    a, b = (Decimal(text.replace(",", "")) for text in (first, second))
    last_digit = Decimal(1).scaleb(max(number.as_tuple().exponent for number in (a, b)))
    return abs(a - b) <= max(last_digit, RELATIVE * max(abs(a), abs(b)))


def same_text(first: str, second: str, *, ellipsis: bool = False) -> bool:
    """Whether two texts are equal but for the rounding of their numbers.

    With `ellipsis`, three dots in the first stand for anything, as in a doctest.
    """
    between = [re.escape(text) for text in _ROUNDED.split(first)]
    if ellipsis:
        between = [text.replace(re.escape("..."), ".*?") for text in between]
    match = re.fullmatch(f"({_ROUNDED.pattern})".join(between), second, re.DOTALL)
    return match is not None and all(map(same_number, _ROUNDED.findall(first), match.groups()))


def same_picture(first: str, second: str) -> bool:
    """Whether two PNG files, in base64, look the same but for the rounding of what they draw."""
    a, b = (_pixels(picture) for picture in (first, second))
    return a.shape == b.shape and not _strays(a, b) and not _strays(b, a)


def _pixels(picture: str) -> np.ndarray:
    """Colours of a PNG file in base64, (height, width, 4)."""
    with Image.open(BytesIO(b64decode(picture))) as image:
        return np.asarray(image.convert("RGBA"), np.int16)


def _strays(a: np.ndarray, b: np.ndarray) -> int:
    """How many pixels of `a` have a colour that `b` has neither there nor beside it."""
    height, width, _ = a.shape
    around = np.pad(b, ((1, 1), (1, 1), (0, 0)), mode="edge")
    least = np.full((height, width), 255, np.int16)
    for y in range(3):
        for x in range(3):
            apart = np.abs(around[y : y + height, x : x + width] - a).max(axis=-1)
            np.minimum(least, apart, out=least)
    return int((least > COLOUR).sum())
