"""Rebuilds the demo model from nothing: stories, tokenizer, training, export, measurements, model card.

Run ``python -m training.build`` in the repository. A build that was stopped goes on where it was.
"""

import argparse
from pathlib import Path

from training.card import write_card
from training.export import export
from training.measure import measure
from training.tokenizer import train_tokenizer
from training.train import add_options, options_from, train

DEMO = Path(__file__).parents[1] / "minidecilm" / "demo"


def main() -> None:
    """Build the demo model from the command line."""
    parser = argparse.ArgumentParser(description="Rebuild the demo model.")
    add_options(parser)
    parser.add_argument(
        "--out", type=Path, default=DEMO, help="folder of the model (default: minidecilm/demo)"
    )
    arguments = parser.parse_args()
    if not (arguments.work / "tokenizer.model").exists():
        train_tokenizer(arguments.work)
    model = train(arguments.work, options_from(arguments))
    export(model, arguments.work, arguments.out)
    write_card(measure(arguments.work, arguments.out), arguments.out)


if __name__ == "__main__":
    main()
