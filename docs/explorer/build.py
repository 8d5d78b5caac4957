"""The KV-cache and batch explorer: its numbers, from minidecilm.costs, and its page.

Run ``python -m docs.explorer.build explorer.html`` for the explorer alone, in one file that needs no network.
The site holds it too: :mod:`docs.generate` writes what ``docs/explorer.md`` includes.
"""

import argparse
import json
from pathlib import Path
from string import Template
from typing import Any

from minidecilm import PRESET_NAMES, plots, preset
from minidecilm.config import DTYPE_BYTES, Config
from minidecilm.costs import (
    DEVICE_NAMES,
    attention_flops,
    device,
    kv_cache_bytes_per_layer,
    operation_times,
    padded_to_uniform,
    stored_tensors,
    weight_bytes,
)
from minidecilm.costs.parts import part_of
from minidecilm.weights.scheme import BITS

FOLDER = Path(__file__).parent

# Values of the page's choices. "published" is the library's None: the dtype that each model came in.
WEIGHTS = {"published": None, **{name: name for name in (*DTYPE_BYTES, *BITS)}}
CACHES = tuple(DTYPE_BYTES)
LARGEST = {"context": 1 << 20, "batch": 1 << 12}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
body { max-width: 56rem; margin: 1rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; }
</style>
<title>KV-cache and batch explorer</title>
</head>
<body>
<h1>KV-cache and batch explorer</h1>
$fragment
</body>
</html>
""")


def models() -> dict[str, tuple[str, str, Config]]:
    """Title, Python expression and config of each model that can be chosen."""
    found = {name: (plots.TITLES[name], f'preset("{name}")', preset(name)) for name in PRESET_NAMES}
    title, expression, config = found["decilm-6b"]
    padded = padded_to_uniform(config)
    heads = max(config.num_key_value_heads_per_layer)
    found["decilm-6b-padded"] = (
        f"{title} padded to {heads} heads",
        f"costs.padded_to_uniform({expression})",
        padded,
    )
    return found


def data() -> dict[str, Any]:
    """Everything that the page multiplies, divides and draws, ready for JSON."""
    return {
        "models": {
            name: {"title": title, "python": expression, "color": plots.MODEL_COLORS[title]} | _model(config)
            for name, (title, expression, config) in models().items()
        },
        "devices": {name: _device(name) for name in DEVICE_NAMES},
        "weights": list(WEIGHTS),
        "caches": list(CACHES),
        "steps": {name: _steps(largest) for name, largest in LARGEST.items()},
    }


def _model(config: Config) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.max_position_embeddings,
        "kv_heads": config.num_key_value_heads_per_layer,
        # of one token, layer by layer
        "cache_bytes": {dtype: kv_cache_bytes_per_layer(config, dtype=dtype) for dtype in CACHES},
        # of a new token with one cached token
        "attention_flops": sum(attention_flops(config)),
        "weights": {
            choice: {"bytes": weight_bytes(config, storage), "products": _products(config, storage)}
            for choice, storage in WEIGHTS.items()
        },
    }


def _products(config: Config, storage: str | None) -> list[dict[str, Any]]:
    """Bytes of the weights of each product of a decode step, and its operations per row."""
    dtypes = {part_of(name): tensor.dtype for name, tensor in stored_tensors(config, storage).items()}
    return [
        {
            "operation": time.operation,
            "dtype": dtypes[time.operation],
            "bytes": time.nbytes,
            "flops": time.flops,
        }
        # neither count depends on the device
        for time in operation_times(config, device(DEVICE_NAMES[0]), weights=storage)
        if time.operation != "attention"
    ]


def _device(name: str) -> dict[str, Any]:
    found = device(name)
    sources = {source.title: source for source in found.sources.values()}
    return {
        "title": found.title,
        "memory_bytes": found.memory_bytes,
        "bytes_per_second": found.bytes_per_second,
        "flops_per_second": {dtype: found.fastest_flops_per_second(dtype) for dtype in (*DTYPE_BYTES, *BITS)},
        "sources": [
            {"title": source.title, "date": source.date, "url": source.url} for source in sources.values()
        ],
    }


def _steps(largest: int) -> list[int]:
    """List the stops of a slider: 1, 2, 3, 4, 6, 8, 12, 16 and so on."""
    powers = [1 << power for power in range(largest.bit_length())]
    return sorted(step for step in {*powers, *(3 * power for power in powers)} if step <= largest)


def fragment() -> str:
    """HTML of the explorer with its style, script and numbers, to be put into any page."""
    files = ("explorer.html", "explorer.css", "costs.js", "explorer.js")
    form, style, *scripts = ((FOLDER / file).read_text(encoding="utf-8") for file in files)
    numbers = json.dumps(data(), separators=(",", ":")).replace("</", r"<\/")
    return Template(form).substitute(style=style, script="".join(scripts), data=numbers)


def page() -> str:
    """HTML of a page that holds the explorer and nothing else."""
    return _PAGE.substitute(fragment=fragment())


def main(arguments: list[str] | None = None) -> None:
    """Write the explorer as one file."""
    parser = argparse.ArgumentParser(description="Write the explorer as one HTML file.")
    parser.add_argument("out", type=Path, metavar="FILE.html")
    out = parser.parse_args(arguments).out
    try:
        out.write_text(page(), encoding="utf-8")
    except OSError as problem:
        parser.error(f"{out}: {problem.strerror}")


if __name__ == "__main__":
    main()
