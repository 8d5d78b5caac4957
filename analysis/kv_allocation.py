"""What choosing KV heads layer by layer buys on the demo model.

Draws ``analysis/results/allocation.json``, which ``analysis/allocation.py`` measures. It is this
project's miniature, not Deci's search.
"""

import json

from analysis.common import RESULTS, Save, run
from minidecilm import plots
from minidecilm.plots import gallery


def main(save: Save) -> None:
    result = json.loads((RESULTS / "allocation.json").read_text(encoding="utf-8"))
    rows = result["allocations"]
    place = {id(row): (row["bytes_per_token"], row["perplexity"]) for row in rows}
    every = list(place.values())
    chosen = [place[id(row)] for row in rows if row["chosen"]]
    uniform = {row["at_most_heads"]: place[id(row)] for row in rows if row["at_most_heads"]}
    extra_losses = [
        {int(heads): loss for heads, loss in layer["extra_losses"].items()} for layer in result["sensitivity"]
    ]

    title = "Pooled KV heads of the demo model:\nperplexity against cache"
    data = (plots.allocations, every, chosen, uniform)
    save("allocation", gallery.panel, *data, size=(5.2, 3.9), title=title)
    title = "Demo model: loss when the KV heads\nof one layer alone are pooled"
    save("allocation-sensitivity", gallery.panel, plots.sensitivity, extra_losses, title=title)


if __name__ == "__main__":
    run(main, __doc__)
