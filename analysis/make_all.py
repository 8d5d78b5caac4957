"""Draw every figure: NAME-light.svg, NAME-dark.svg, and the numbers in it as NAME.csv.

python -m analysis.make_all
"""

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
from analysis.common import Save, run
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


def main(save: Save) -> None:
    with progress_bar(len(SCRIPTS), "drawing", "script") as bar:
        for script in SCRIPTS:
            bar.set_postfix_str(script.__name__)
            script.main(save)
            bar.update(1)


if __name__ == "__main__":
    run(main, __doc__)
