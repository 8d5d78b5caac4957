"""Where the parameters are: KV heads are few of them, so a small cache is not a small model."""

from analysis.common import Save, models, run
from minidecilm import costs
from minidecilm.plots import gallery


def main(save: Save) -> None:
    configs = models("decilm-6b", "decicoder-6b", "llama-2-7b", "decilm-7b", "mistral-7b")
    shares = {}
    for name in ("DeciLM-6b", "Llama 2 7B"):
        parts = costs.parameters_by_part(configs[name])
        shares[name] = parts["attention k, v"] / sum(parts.values())
    title = (
        "Keys and values: {DeciLM-6b:.1%} of the parameters\n"
        "of DeciLM-6b, {Llama 2 7B:.0%} of Llama 2 7B".format(**shares)
    )
    save("parameters", gallery.parameters, configs, title)


if __name__ == "__main__":
    run(main, __doc__)
