"""Draw every figure: NAME-light.svg, NAME-dark.svg, and the numbers in it as NAME.csv.

python -m analysis.make_all
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from analysis import (
    activations,
    architecture,
    attention,
    kv_allocation,
    kv_cache,
    kv_heads,
    kv_sensitivity,
    largest_batch,
    parameters,
    policies,
    roofline,
    rotary,
    throughput,
)
from analysis.common import FIGURES
from minidecilm.progress import progress_bar

SCRIPTS = (
    architecture,
    kv_heads,
    parameters,
    kv_cache,
    largest_batch,
    throughput,
    roofline,
    rotary,
    policies,
    attention,
    activations,
    kv_allocation,
    kv_sensitivity,
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw every figure of the analysis.")
    parser.add_argument(
        "--out", type=Path, default=FIGURES, metavar="FOLDER", help="(default: analysis/figures)"
    )
    out = parser.parse_args(arguments).out
    with progress_bar(len(SCRIPTS), "drawing", "script") as bar:
        for script in SCRIPTS:
            bar.set_postfix_str(script.__name__)
            script.main(out)
            bar.update(1)


if __name__ == "__main__":
    main()
