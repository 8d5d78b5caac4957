"""Memory of the KV cache, against the context of one row and against the number of rows."""

from analysis.common import Save, compared, run
from minidecilm import costs
from minidecilm.plots import gallery

MEMORY, CONTEXT = 24 * 10**9, 4096


def main(save: Save) -> None:
    configs = compared()
    ratio = costs.kv_cache_bytes(configs["Llama 2 7B"]) / costs.kv_cache_bytes(configs["DeciLM-6b"])
    rows = {name: costs.rows_that_fit(config, MEMORY, CONTEXT) for name, config in configs.items()}
    by_context = f"A token of Llama 2 7B takes {ratio:g} times\nthe cache of one of DeciLM-6b"
    by_batch = (
        f"The cache alone fills 24 GB at {rows['Llama 2 7B']} rows\n"
        f"of Llama 2 7B, {rows['DeciLM-6b']} of DeciLM-6b"
    )
    save("kv-cache-context", gallery.kv_cache, configs, [2**k for k in range(8, 16)], by_context)
    save("kv-cache-batch", gallery.kv_cache_batch, configs, CONTEXT, MEMORY, by_batch)


if __name__ == "__main__":
    run(main, __doc__)
