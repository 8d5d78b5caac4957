"""Comparing outputs: what rounding can do is let pass, a wrong number or picture is noticed."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest

from minidecilm import plots
from minidecilm.plots.style import BLUE, VERMILION
from notebooks.comparing import same_picture, same_text

POSITIONS = np.linspace(0, 10, 60)
RISING, FALLING = POSITIONS**2 / 100, np.exp(-POSITIONS / 3)
GRID = np.random.default_rng(0).random((12, 12))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0.664 nats per token", "0.665 nats per token"),  # 0.66450 to either side
        ("3.45678912", "3.45679"),
        ("loss 12,345.6785", "loss 12,345.6791"),
        ("-0.00 and 1.5e-05", "0.00 and 1.6e-05"),
        ("[[ 0.123456  0.5 ]]", "[[ 0.123457  0.5 ]]"),
        ("numpy 2.4.6", "numpy 2.4.6"),
    ],
)
def test_rounding_is_the_same_text(first, second):
    assert same_text(first, second)
    assert same_text(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("0.664 nats per token", "0.666 nats per token"),
        ("0.664 nats", "0.664 bits"),
        ("25,600 bytes", "25,601 bytes"),
        ("87% of the steps", "88% of the steps"),
        ("heads (4, 2, 1)", "heads (4, 1, 1)"),
        ("a story of Toby", "a story of Lena"),
        ("numpy 2.4.6", "numpy 2.5.6"),
        ("1.5 and 2.5", "2.5 and 1.5"),
        ("1.5", "1.5 2.5"),
        ("3.456789", "3.456889"),
        ("1.50e-05", "1.50e-04"),
        ("below 3e-16", "below 5e-16"),
        ("0.5", "-0.5"),
    ],
)
def test_another_text_is_noticed(first, second):
    assert not same_text(first, second)
    assert not same_text(second, first)


def test_three_dots_stand_for_anything_if_asked_for():
    shown = "at q of layer 0, 0.0052 of its value; most, 0.06..., at ...\n"
    assert same_text(shown, "at q of layer 0, 0.0053 of its value; most, 0.0641, at v\n", ellipsis=True)
    assert not same_text(shown, "at q of layer 0, 0.0054 of its value; most, 0.0641, at v\n", ellipsis=True)
    assert not same_text(shown, "at q of layer 1, 0.0052 of its value; most, 0.0641, at v\n", ellipsis=True)
    assert not same_text("...", "anything")


def drawn(rising=RISING, falling=FALLING, grid=GRID, colors=(BLUE, VERMILION), marks=6):
    """Curves, an image, bars and marks as notebooks draw them: a PNG file in base64."""
    with plots.style():
        figure, axes = plots.new_figure(1, 3, size=(9, 2.8))
        for values, color, label in zip((rising, falling), colors, ("rising", "falling"), strict=True):
            axes[0].plot(POSITIONS, values, color=color, label=label)
        axes[0].legend(loc="upper center")
        figure.colorbar(axes[1].imshow(grid, interpolation="nearest"), ax=axes[1])
        axes[2].bar(range(8), grid[0, :8], color=BLUE)
        axes[2].plot(range(marks), grid[1, :marks], "o", color=VERMILION)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def picture():
    return drawn()


@pytest.mark.parametrize("seed", range(3))
def test_rounding_is_the_same_picture(picture, seed):
    noise = np.random.default_rng(seed)

    def rounded(values):
        return values * (1 + 1e-6 * noise.standard_normal(values.shape))

    assert same_picture(picture, drawn(rounded(RISING), rounded(FALLING), rounded(GRID)))


def exchanged(grid):
    grid = grid.copy()
    grid[5, [3, 4]] = grid[5, [4, 3]]
    return grid


@pytest.mark.parametrize(
    "changes",
    [
        {"rising": 1.03 * RISING},
        {"falling": FALLING + 0.02},
        {"rising": np.where(POSITIONS[30] == POSITIONS, RISING + 0.05, RISING)},
        {"falling": np.full(60, np.nan)},
        {"colors": (VERMILION, BLUE)},
        {"marks": 5},
        {"grid": exchanged(GRID)},
        {"grid": GRID + 0.1 * np.eye(12)},
    ],
    ids=[
        "curve 3% too high",
        "curve moved",
        "one point moved",
        "curve missing",
        "colours swapped",
        "mark missing",
        "two cells exchanged",
        "bar and cells too high",
    ],
)
def test_another_picture_is_noticed(picture, changes):
    assert not same_picture(picture, drawn(**changes))


def test_another_size_is_noticed():
    with plots.style():
        files = [BytesIO(), BytesIO()]
        for file, width in zip(files, (3, 3.1), strict=True):
            plots.new_figure(size=(width, 2))[0].savefig(file)
    assert not same_picture(*(b64encode(file.getvalue()).decode() for file in files))
