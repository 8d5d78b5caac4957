"""The page about the GPU: from its json, or what is to be measured as long as there is none."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.common import table
from benchmarks.gpu.parts import (
    AGREEMENT,
    BATCH_SHARE,
    DECODE_SHARE,
    EXACT,
    PREDICTION,
    PREFILL_SHARE,
    ROUNDED,
    TRANSFORMERS,
)
from benchmarks.gpu.setup import Sizes
from minidecilm import costs

Row = dict[str, Any]
Cell = Callable[[Row], str]
Columns = dict[str, Cell]

HEAD = "# minidecilm on a GPU\n\nMade by `python -m benchmarks.tables` from `gpu.json`, which "
HEAD += "`python -m benchmarks.gpu` measured.\n\n"

NOT_YET = """\
# minidecilm on a GPU

**Not yet run on a GPU.** The kernels compile for one, and run on a CPU that stands in for it
(`tests/backends/cuda_on_cpu`), which says nothing about speed. On a machine with a GPU,

```console
python -m pytest -m gpu
python -m benchmarks.gpu
python -m benchmarks.tables
```

measure what follows, write `gpu.json`, and replace this page.

{goals}"""

SECTIONS = {
    "agreement": "Agreement with NumPy in float64",
    "limits": "Limits of the card",
    "decode": "Decode, one text",
    "batch": "Decode, many texts",
    "prefill": "Prefill",
    "sampling": "Choosing tokens on the host or on the device",
    "transformers": "Beside transformers, eager with SDPA",
    "sweep": "DeciLM-6b and Llama-2-7B shapes in one engine",
    "headline": "Where the fifteen times come from",
}


def page(results: dict[str, Any] | None) -> str:
    """Fill in the page."""
    if results is None:
        return NOT_YET.format(goals=table(["what is measured", "wanted"], _goals(Sizes())))
    pieces = [HEAD + textwrap.fill(_setting(results), 110) + "\n"]
    for name, found in results["parts"].items():
        pieces.append(f"## {SECTIONS[name]}\n")
        pieces += [f"{key.capitalize()}: {found[key]}\n" for key in ("failed", "skipped") if key in found]
        for key, columns in TABLES[name].items():
            if key in found:
                rows = found[key] if isinstance(found[key], list) else [found]
                cells = ([cell(row) for cell in columns.values()] for row in rows)
                pieces.append(table(list(columns), cells))
        if "cut" in found:
            pieces.append("Measuring ended here: out of time.\n")
    return "\n".join(pieces)


def _goals(sizes: Sizes) -> Iterator[list[str]]:
    """List what will be measured, and what is wanted."""
    contexts = " and ".join(f"{context:,}" for context in sizes.contexts)
    many, swept = " and ".join(map(str, sizes.batches)), ", ".join(f"{c:,}" for c in sizes.sweep_contexts)
    first, *_, last = costs.MODEL_CARD
    ratio = last.tokens_per_second / first.tokens_per_second
    goals = {
        "logits in float32 compute: largest difference / rms": f"at most {AGREEMENT[EXACT, 'demo']:g}",
        "logits in bfloat16 compute: rms of the differences / rms": f"at most {AGREEMENT[ROUNDED, 'demo']:g}",
    }
    for storage, share in DECODE_SHARE.items():
        goals[f"decode, batch 1, {storage}, {contexts} tokens / copy bandwidth"] = f"at least {share:.0%}"
    goals |= {
        f"decode, batch {many}, {sizes.batch_context:,} tokens / roofline": f"at least {BATCH_SHARE:.0%}",
        f"prefill of {sizes.prompt:,} tokens / large bfloat16 product": f"at least {PREFILL_SHARE:.0%}",
        "decode, batch 1 / transformers, eager with SDPA": f"at least {TRANSFORMERS:g} times as fast",
        f"every point of the sweep, contexts {swept}": f"within {PREDICTION:.0%} of the roofline",
        "tokens chosen on the host or on the device": "stated",
        f"the published {ratio:.2f} times: equal batch, larger batch, engine": "stated",
    }
    yield from map(list, goals.items())


def _setting(results: Row) -> str:
    card = results["card"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{card['card']}, {card['processors']} multiprocessors, {card['memory_bytes'] / 1e9:.1f} GB, driver "
        f"{card['driver']}, CUDA {card['cuda_runtime']}, {results['date']}. {versions}. Weights are random "
        "and of full size, keys and values random bfloat16. Medians of calls timed to their end. The "
        "roofline is that of `minidecilm.costs` with the limits measured here."
    )


def _reached(row: Row) -> str:
    return {True: "yes", False: "**no**", None: "-"}[row["reached"]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(key: str) -> Cell:
    return lambda row: str(row[key])


def _percent(key: str) -> Cell:
    return lambda row: "-" if row.get(key) is None else f"{row[key]:.0%}"


def _scaled(key: str, unit: float = 1) -> Cell:
    return lambda row: _number(row[key] / unit) if key in row else "-"


def _milliseconds(key: str) -> Cell:
    return lambda row: f"{(row[key]['median'] if isinstance(row[key], dict) else row[key]) * 1e3:.2f}"


def _agreement_goal(row: Row) -> str:
    if row["wanted"] is None:
        return "stated"
    return f"{'largest' if row['dtype'] == EXACT else 'rms'} {row['wanted']:.1e}"


SHARE: Columns = {"of it": _percent("found"), "wanted": _percent("wanted"), "reached": _reached}
COMPUTE: Columns = {
    "weights": _text("weights"),
    "compute": _text("dtype"),
    "context": _scaled("context"),
    "batch": _scaled("batch"),
    "ms": _milliseconds("seconds"),
    "tokens/s": _scaled("tokens_per_second"),
}

#: Columns of the tables of every part, by the key of their rows, or of a figure that stands for itself.
TABLES: dict[str, dict[str, Columns]] = {
    "agreement": {
        "rows": {
            "model": _text("model"),
            "weights": _text("weights"),
            "compute": _text("dtype"),
            "phase": lambda row: row["phase"] + (", recorded" if row["recorded"] else ""),
            "largest difference": lambda row: f"{row['largest']:.1e}",
            "rms": lambda row: f"{row['rms']:.1e}",
            "wanted": _agreement_goal,
            "reached": _reached,
        }
    },
    "limits": {
        "copy_bytes_per_second": {
            "copies, read and written, GB/s": _scaled("copy_bytes_per_second", 1e9),
            "product of bfloat16, TFLOP/s": _scaled("gemm_flops_per_second", 1e12),
            "its rows and columns": _scaled("gemm"),
        }
    },
    "decode": {
        "rows": {**COMPUTE, "GB a step": _scaled("bytes_per_step", 1e9)}
        | {title.replace("of it", "of copies"): cell for title, cell in SHARE.items()}
    },
    "batch": {"rows": {**COMPUTE, "roofline": _scaled("roofline_tokens_per_second"), **SHARE}},
    "prefill": {
        "rows": {
            "compute": _text("dtype"),
            "tokens": _scaled("tokens"),
            "ms": _milliseconds("seconds"),
            "tokens/s": _scaled("tokens_per_second"),
            "TFLOP/s": _scaled("flops_per_second", 1e12),
        }
        | {title.replace("of it", "of the product"): cell for title, cell in SHARE.items()}
    },
    "sampling": {
        "rows": {
            "choice": _text("choice"),
            "batch": _scaled("batch"),
            "a step, ms": _milliseconds("step_seconds"),
            "on the host, ms": _milliseconds("host_seconds"),
            "on the device, ms": _milliseconds("device_seconds"),
            "same tokens": _percent("same_tokens"),
        }
    },
    "transformers": {
        "rows": {
            "context": _scaled("context"),
            "minidecilm, ms": _milliseconds("ours"),
            "transformers, ms": _milliseconds("theirs"),
            "times as fast": lambda row: f"{row['found']:.2f}",
            "wanted": lambda row: f"{row['wanted']:g}",
            "reached": _reached,
        }
    },
    "sweep": {
        "rows": {
            "model": _text("model"),
            "context": _scaled("context"),
            "batch": _scaled("batch"),
            "tokens/s": lambda row: row.get("failed") or _number(row["tokens_per_second"]),
            "roofline": _scaled("roofline_tokens_per_second"),
            "of it": _percent("share_of_roofline"),
            "GB of memory": _scaled("memory_bytes", 1e9),
            f"within {PREDICTION:.0%}": _reached,
        }
    },
    "headline": {
        "rows": {
            "here: context": _scaled("context"),
            "equal batch": _scaled("equal_batch"),
            "gain by fewer bytes": lambda row: f"{row['equal_batch_gain']:.2f}",
            "best batch": _scaled("best_batch"),
            "Llama's best": _scaled("their_best_batch"),
            "gain by the batch": lambda row: f"{row['batch_gain']:.2f}",
            "together": lambda row: f"{row['together']:.2f}",
        },
        "engine": {"here: times as fast as transformers, one text": lambda row: _number(row["engine"])},
        "published": {
            "published, on another card": lambda row: f"{row['model']}, {row['engine']}",
            "card": _text("device"),
            "batch": _scaled("batch"),
            "tokens/s": _scaled("tokens_per_second"),
            "of its roofline at 1,024 tokens": _percent("share_of_roofline"),
            "times the first": lambda row: f"{row['times_the_first']:.2f}",
        },
    },
}
