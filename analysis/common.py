"""What the scripts share: models by title, saving a figure in its variants, and their command line."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from minidecilm import plots, preset
from minidecilm.config import Config
from minidecilm.costs import padded_to_uniform

FIGURES, RESULTS = (Path(__file__).parent / name for name in ("figures", "results"))

Save = Callable[..., None]  # takes a figure's name, how it is drawn, and what that takes

PADDED = "DeciLM-6b padded to 4 heads"  # as engines did that take one number of KV heads per model


def models(*names: str) -> dict[str, Config]:
    """Configs by title."""
    return {plots.TITLES[name]: preset(name) for name in names}


def compared() -> dict[str, Config]:
    """The models whose memory is compared, from the largest cache to the smallest."""
    configs = models("llama-2-7b", "mistral-7b", "decilm-7b", "decilm-6b")
    padded = {PADDED: padded_to_uniform(configs["DeciLM-6b"])}
    return dict(list(configs.items())[:2]) | padded | dict(list(configs.items())[2:])


def save_pictures(out: Path, name: str, draw: Callable[..., Any], *data: Any, **options: Any) -> Any:
    """Draw a figure as NAME-light.svg and NAME-dark.svg, and return it.

    Parameters
    ----------
    out : Path
        Folder, made where it is missing.
    name : str
    draw : callable
        Of :mod:`minidecilm.plots.gallery`; takes the rest.
    """
    out.mkdir(parents=True, exist_ok=True)
    for variant in ("light", "dark"):
        with plots.style(dark=variant == "dark"):
            figure = draw(*data, **options)
            plots.save_figure(figure, out / f"{name}-{variant}.svg")
    return figure


def save(out: Path, name: str, *drawn: Any, **options: Any) -> None:
    """Do the same, and write the numbers in the figure as NAME.csv."""
    plots.save_numbers(save_pictures(out, name, *drawn, **options), out / f"{name}.csv")


def run(main: Callable[[Save], None], description: str | None) -> None:
    """Call a script's `main` with what saves a figure into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out",
        type=Path,
        default=FIGURES,
        metavar="FOLDER",
        help="where figures go (default: analysis/figures)",
    )
    main(partial(save, parser.parse_args().out))
