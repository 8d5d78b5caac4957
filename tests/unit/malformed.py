"""Damaged and hostile checkpoints, as data: a sound folder, what changes in it, and what the error says."""

import json
import os
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from minidecilm.config import MAX_CONFIG_BYTES
from minidecilm.weights.packed import packed_shapes
from minidecilm.weights.safetensors_file import MAX_HEADER_BYTES
from minidecilm.weights.scheme import Scheme
from tests.configs import TINY

FOLDER, PIPE, NOTHING = object(), object(), object()  # what may stand where a file belongs

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NAMES = list(TINY.parameter_shapes())
FIRST, SECOND = NAMES[:2]
SCHEME = Scheme("int4", 32)


class Case(NamedTuple):
    """A checkpoint of `base` in which some files are others.

    A file becomes other bytes, ``FOLDER``, ``PIPE`` or ``NOTHING``; or its JSON (of a safetensors file, the
    header) gets other values: the path of each key, and its value, or ``...`` where it is left out.
    """

    base: str
    changes: dict[str, Any]
    message: str  # stands in the error


# --- three sound checkpoints


def pack(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def weights(entries: dict[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """Write a safetensors file of these names: dtype, shape, bytes of a value."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, itemsize) in entries.items():
        end = position + itemsize * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    return pack(header, bytes(place % 251 for place in range(position)))


def floats(names: list[str]) -> bytes:
    return weights({name: ("BF16", TINY.parameter_shapes()[name], 2) for name in names})


def packed() -> bytes:
    """Weights of 4 bits, the head of 8."""
    entries: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for name, shape in TINY.parameter_shapes().items():
        if bits := SCHEME.bits(name, shape):
            codes, scales = packed_shapes(shape, bits, SCHEME.group)
            entries[f"{name}.codes"] = ("I8" if bits == 8 else "U8", codes, 1)
            entries[f"{name}.scales"] = ("BF16", scales, 2)
        else:
            entries[name] = ("BF16", shape, 2)
    return weights(entries)


def to_json(values: Any) -> bytes:
    return json.dumps(values).encode()


WEIGHT_MAP = {name: SHARDS[number >= 12] for number, name in enumerate(NAMES)}
FLOATS, (PART_1, PART_2) = floats(NAMES), (floats(NAMES[:12]), floats(NAMES[12:]))
SINGLE_CONFIG = to_json(TINY.to_dict())
PACKED_CONFIG = to_json(TINY.to_dict() | {"quantization_config": SCHEME.to_dict(tied=False)})
BASES: dict[str, dict[str, Any]] = {
    "single": {CONFIG: SINGLE_CONFIG, SINGLE: FLOATS},
    "sharded": {
        CONFIG: SINGLE_CONFIG,
        SHARDS[0]: PART_1,
        SHARDS[1]: PART_2,
        INDEX: to_json({"metadata": {}, "weight_map": WEIGHT_MAP}),
    },
    "packed": {CONFIG: PACKED_CONFIG, SINGLE: packed()},
    "empty": {},
}


def files(case: Case) -> dict[str, Any]:
    """Name of every file of a case, and what it is."""
    found = dict(BASES[case.base])
    for file, change in case.changes.items():
        found[file] = edited(found[file], change) if isinstance(change, dict) else change
    return {file: content for file, content in found.items() if content is not NOTHING}


def edited(content: bytes, edits: dict[tuple[str, ...], Any]) -> bytes:
    start = 0 if content[:1] == b"{" else 8
    end = 8 + int.from_bytes(content[:8], "little") if start else len(content)
    values = json.loads(content[start:end])
    for (*outer, key), value in edits.items():
        inner = values
        for step in outer:
            inner = inner[step]
        if value is ...:
            del inner[key]
        else:
            inner[key] = value
    return pack(values, content[end:]) if start else to_json(values)


# --- what is wrong with them: a readable name, and the case

Named = Iterator[tuple[str, Case]]
Rows = list[tuple[tuple[str, ...], list[Any], str]]  # path of a key, values, and what is said of each
HUGE = 10**400  # more than a float holds
WRONG = [True, -1, 2.5, "8", [], {}, HUGE]  # wherever a positive integer belongs
MIXED = [None, *WRONG]
FACTORS: list[Any] = [0.5, "2", True, [], {}, HUGE, -HUGE]
INTEGERS = [
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("head_dim", "max_position_embeddings"),
]
NESTED = b"[" * 700 + b"]" * 700
DAMAGED = "the file is damaged: download or export it again"
HEADER = "expected a safetensors file, which begins with the length of its header"
ENTRY = {"dtype": "BF16", "shape": [16, 8], "data_offsets": [0, 256]}  # what FIRST has


def show(value: Any) -> str:
    text = "missing" if value is ... else json.dumps(value)
    return text if len(text) < 60 else "long"


# Key of config.json: values, and what is said of each.
CONFIG_VALUES: list[tuple[str, list[Any], str]] = [
    *((key, [*WRONG, 0], f"{key}: expected an integer from 1 to") for key in INTEGERS),
    *((key, [None], f"{key} is missing") for key in INTEGERS if key != "head_dim"),
    (
        "num_hidden_layers",
        [1, 2, 4, 1024],
        "num_key_value_heads_per_layer has 3 entries, num_hidden_layers =",
    ),
    ("num_hidden_layers", [10**6], "num_hidden_layers: expected an integer from 1 to 1024"),
    ("head_dim", [3, 5], "head_dim: expected an even number, since rotary pairs halves"),
    ("head_dim", [8], f"{SINGLE}: tensor {SECOND!r}: expected shape (32, 8), found (16, 8)"),
    ("num_attention_heads", [3, 2], "num_key_value_heads_per_layer[0]: expected an integer from 1 to"),
    ("num_attention_heads", [8], f"{SINGLE}: tensor {SECOND!r}: expected shape (32, 8), found (16, 8)"),
    ("vocab_size", [8, 17, 2**24], f"{SINGLE}: tensor {FIRST!r}: expected shape ("),
    ("rms_norm_eps", [None], "rms_norm_eps is missing"),
    (
        "rms_norm_eps",
        [True, -1, "1e-5", [], {}, HUGE],
        "rms_norm_eps: expected a finite number of at least 0",
    ),
    ("rope_theta", [True, 0.5, "10000", [], {}, HUGE], "rope_theta: expected a finite number of at least 1"),
    (
        "num_key_value_heads_per_layer",
        ["4,1,2", 4, True, {}],
        "num_key_value_heads_per_layer: expected a list",
    ),
    ("num_key_value_heads_per_layer", [[], [4, 1], [4, 1, 2, 2]], "entries, num_hidden_layers = 3"),
    ("num_key_value_heads_per_layer", [[4, 1, 3]], "[2] = 3 does not divide num_attention_heads = 4"),
    (
        "num_key_value_heads_per_layer",
        [[4, 1, heads] for heads in (0, -2, 8, 2.0, "2", None, True, HUGE)],
        "num_key_value_heads_per_layer[2]: expected an integer from 1 to 4",
    ),
    ("num_key_value_heads_per_layer", [[[4], [1], [2]]], "[0]: expected an integer from 1 to 4, found [4]"),
    ("num_key_value_heads_per_layer", [[4, 1, 1]], f"{SINGLE}: tensor {NAMES[20]!r}: expected shape (4, 8)"),
    (
        "architectures",
        [[], ["BertModel"], "DeciLMForCausalLM", [["x"]], 3, {}, ["LlamaForCausalLM"] * 2],
        "architectures: expected one of DeciLMForCausalLM, ",
    ),
    ("model_type", ["gpt2", 3, [], {}, True], "model_type: expected one of deci, llama, mistral"),
    ("torch_dtype", ["int8", "float8", 5, [], {}, True], "torch_dtype: expected float32 or bfloat16 or"),
    ("dtype", ["float32"], "torch_dtype = 'bfloat16' and dtype = 'float32' contradict each other"),
    ("tie_word_embeddings", [None, "false", 0, []], "tie_word_embeddings: expected true or false"),
    ("tie_word_embeddings", [True], f"{SINGLE}: tensor lm_head.weight: expected the embedding's values"),
    (
        "bos_token_id",
        [-1, 16, "1", 1.5, True, [1], {}, HUGE],
        "bos_token_id: expected an integer from 0 to 15",
    ),
    (
        "eos_token_id",
        [-1, 16, "2", 1.5, True, [2, "x"], [[2]], {}, HUGE],
        "eos_token_id: expected an integer from 0 to 15",
    ),
    ("hidden_act", [None, "gelu", 3, []], "hidden_act: only 'silu' is supported"),
    ("attention_bias", [True, "no", [], {}], "attention_bias: only False is supported"),
    ("mlp_bias", [True], "mlp_bias: only False is supported"),
    ("sliding_window", [63, True, "4096"], "sliding_window: only a window that is not used is supported"),
    ("quantization_config", [{}, {"bits": 4}], "quantization_config: quant_method: expected 'minidecilm'"),
    ("partial_rotary_factor", [0.5], "partial_rotary_factor: only 1 is supported"),
    ("block_configs", [[]], "block_configs: this is a Nemotron-NAS model"),
    ("n_embd", [8], "unknown key 'n_embd'"),
    ("", [1], "unknown key ''"),
    ("rope_scaling", ["dynamic", 3, True, []], "rope_scaling: expected an object"),
    (
        "rope_scaling",
        [{"type": "linear", "factor": 2}, {"type": []}],
        "rope_scaling: type: expected 'dynamic' or 'default'",
    ),
    ("rope_scaling", [{"type": "dynamic"}], "rope_scaling: a factor belongs to type 'dynamic' only"),
    (
        "rope_scaling",
        [{"type": "dynamic", "factor": factor} for factor in FACTORS],
        "rope_scaling.factor: expected a finite number of at least 1",
    ),
    (
        "rope_scaling",
        [{"type": "dynamic", "rope_type": "default"}],
        "rope_type = 'default' and type = 'dynamic'",
    ),
    ("rope_scaling", [{"type": "dynamic", "factor": 2, "beta": 1}], "rope_scaling: unknown key 'beta'"),
    (
        "rope_scaling",
        [{"type": "dynamic", "factor": 2, "rope_theta": 7}],
        "rope_theta = 10000.0 and rope_scaling.rope_theta = 7 contradict each other",
    ),
    (
        "rope_scaling",
        [{"type": "dynamic", "factor": 2, "original_max_position_embeddings": 32}],
        "original_max_position_embeddings: expected 64, found 32",
    ),
    ("rope_parameters", ["default"], "rope_parameters: expected an object"),
    (
        "rope_parameters",
        [{"rope_type": "dynamic", "factor": 3}],
        "factor = 2.0 and rope_parameters.factor = 3",
    ),
    ("rope_parameters", [{"rope_type": "yarn"}], "rope_type = 'yarn' and type = 'dynamic' contradict"),
    *((key, [...], f"{key} is missing") for key in INTEGERS if key != "head_dim"),
    ("num_key_value_heads_per_layer", [...], "num_key_value_heads_per_layer is missing"),
    ("rms_norm_eps", [...], "rms_norm_eps is missing"),
]

# Path in the header of a safetensors file: values, and what is said of each.
HEADER_VALUES: Rows = [
    ((FIRST, "dtype"), ["F32", "F64", "U8", "I8"], "data_offsets: expected "),
    ((FIRST, "dtype"), ["bf16", "", "BF16 ", "F8_E4M3"], "not supported: dtype"),
    ((FIRST, "dtype"), [None, True, 3, [], ["BF16"], {}], "dtype: expected a name"),
    (
        (FIRST, "shape"),
        [
            *(None, True, 8, "16, 8", {}, [-16, -8], [16.0, 8], ["16", 8], [True, 128], [None], [[16, 8]]),
            *([HUGE, 0], [0, HUGE], [HUGE] * 40, [1] * 100, [2**63, 2**63]),
        ],
        "shape: expected at most 32 sizes that fit a file",
    ),
    ((FIRST, "shape"), [[], [16], [16, 9], [0, 8]], "data_offsets: expected "),
    ((FIRST, "shape"), [[8, 16, 1], [128], [1, 128], [8, 16]], "expected shape (16, 8), found ("),
    (
        (FIRST, "data_offsets"),
        [
            *(
                None,
                True,
                256,
                "0, 256",
                {},
                [],
                [0],
                [0, 256, 256],
                [256, 0],
                [-256, 0],
                [0.0, 256],
                ["0", 256],
            ),
            *([False, 256], [None, 256], [0, HUGE], [HUGE, HUGE], [-HUGE, 256], [2**64, 2**64 + 256]),
            [2 * TINY.num_parameters, 2 * TINY.num_parameters + 256],
        ],
        "data_offsets: expected [begin, end] within",
    ),
    (
        (FIRST, "data_offsets"),
        [[0, 255]],
        "data_offsets: expected 256 bytes for BF16 [16, 8], found [0, 255]",
    ),
    ((FIRST, "data_offsets"), [[1, 257], [2, 258]], "a hole after the tensor before it"),
    (
        (FIRST, "data_offsets"),
        [[2 * TINY.num_parameters - 256, 2 * TINY.num_parameters]],
        f"tensor {SECOND!r}: expected data from byte 0, found 256, a hole after the tensor before it",
    ),
    (
        (FIRST,),
        [None, True, 3, "BF16", [], {}, {"dtype": "BF16"}],
        "header entry: expected an object of dtype, shape and data_offsets",
    ),
    *(
        ((FIRST, key), [...], "header entry: expected an object of dtype, shape and data_offsets")
        for key in ENTRY
    ),
    (
        ("__metadata__",),
        [True, 3, "pt", [], {"format": 1}, {"format": None}, {"format": ["pt"]}],
        "__metadata__: expected an object of strings",
    ),
    ((FIRST,), [...], f"tensor {SECOND!r}: expected data from byte 0, found 256, a hole"),
    (("twin",), [ENTRY], "tensor 'twin': expected data from byte 256, found 0, an overlap"),
    (("more",), [{"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}], "tensor 'more': expected none"),
]

PLAIN_NAME = f"tensor {FIRST!r}: expected the plain name of a .safetensors file in this folder"
# Path in the index: values, and what is said of each.
INDEX_VALUES: Rows = [
    (
        ("weight_map",),
        [None, True, 3, "", SHARDS[0], [], {}, [FIRST], [[FIRST, SHARDS[0]]], ...],
        "weight_map: expected tensor names and their files",
    ),
    (
        ("weight_map", FIRST),
        [
            *(None, True, 3, [], {}, [SHARDS[0]], {"file": SHARDS[0]}, "", ".", "..", "/", "/etc/passwd"),
            *("../model.safetensors", f"../{SHARDS[0]}", f"./{SHARDS[0]}", f"sub/{SHARDS[0]}"),
            *("/tmp/a.safetensors", f"..\\{SHARDS[0]}", f"C:{SHARDS[0]}", "\\\\host\\a.safetensors"),
            *("~/a.safetensors", f"{SHARDS[0]}\0", f"\0{SHARDS[0]}", "\ud800.safetensors", f"{SHARDS[0]}\n"),
            *(".safetensors", "..safetensors", "x" * 5000 + ".safetensors", "file:///a.safetensors"),
            *("pytorch_model.bin", CONFIG, INDEX),
        ],
        PLAIN_NAME,
    ),
    (
        ("weight_map", FIRST),
        ["none.safetensors", SHARDS[1]],
        f"{SHARDS[0]}: tensor {FIRST!r}: expected it in '",
    ),
    (
        ("weight_map",),
        [{"model.layers.0.self_attn.rotary_emb.inv_freq": SHARDS[0]}],
        f"tensor {FIRST}: expected shape (16, 8), found none, and 29 more are missing",
    ),
    (("weight_map", SECOND), [...], f"{SHARDS[0]}: tensor {SECOND!r}: expected it in 'no file'"),
    (("weight_map", "more"), [SHARDS[0]], f"{SHARDS[0]}: tensor 'more': expected it here"),
]

# Key of quantization_config: values, and what is said of each.
PACKED_VALUES: list[tuple[str, list[Any], str]] = [
    (
        "quant_method",
        ["gptq", "awq", "bitsandbytes", "MiniDeciLM", "", ..., *MIXED],
        "quantization_config: quant_method: expected 'minidecilm'",
    ),
    ("layout", [...], "quantization_config: missing key 'layout'"),
    ("layout", ["panel8", "", *MIXED], "quantization_config: layout: expected 'panel16'"),
    ("weights", [...], "quantization_config: missing key 'weights'"),
    ("weights", ["int2", "INT4", "float32", "", *MIXED], "weights: expected 'int8' or 'int4'"),
    ("weights", ["int8"], f"{SINGLE}: tensor '{SECOND}.codes': expected shape (1, 2,"),
    ("group", [...], "quantization_config: missing key 'group'"),
    ("group", [48, 0, 32.0, "32", *MIXED], "quantization_config: group: expected 32 or 64 or 128"),
    ("head", [...], "quantization_config: missing key 'head'"),
    ("head", ["stored", "int4", *MIXED], "quantization_config: head: expected 'int8'"),
    ("bits", [4], "quantization_config: unknown key 'bits'"),
]
NO_SCHEME: Rows = [
    (
        ("quantization_config",),
        [True, 4, "int4", [], [SCHEME.to_dict(tied=False)]],
        "quantization_config: expected an object",
    ),
    (("quantization_config",), [{}], "quantization_config: quant_method: expected 'minidecilm', found None"),
]

# SECOND is (16, 8): codes (1, 1, 16, 4), scales (1, 1, 16).
CODES, SCALES = f"{SECOND}.codes", f"{SECOND}.scales"
EMPTY = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
PACKED_HEADER_VALUES: Rows = [
    ((CODES, "dtype"), ["I8"], "expected uint8, found int8"),
    ((CODES, "dtype"), ["BF16", "F16", "F32"], f"tensor {CODES!r}: data_offsets: expected "),
    ((SCALES, "dtype"), ["F16"], "expected bfloat16, found float16"),
    ((SCALES, "dtype"), ["U8", "F32"], f"tensor {SCALES!r}: data_offsets: expected "),
    (("lm_head.weight.codes", "dtype"), ["U8"], "expected int8, found uint8"),
    (
        (CODES, "shape"),
        [[16, 4], [1, 16, 4], [1, 1, 4, 16], [4, 1, 16, 1], [1, 1, 16, 4, 1], [64]],
        f"tensor {CODES!r}: expected shape (1, 1, 16, 4), found (",
    ),
    ((CODES, "shape"), [[]], f"tensor {CODES!r}: data_offsets: expected 1 bytes for U8 []"),
    (
        (SCALES, "shape"),
        [[16], [16, 1], [1, 16, 1], [1, 1, 1, 16], [1, 2, 8]],
        f"tensor {SCALES!r}: expected shape (1, 1, 16), found (",
    ),
    ((CODES,), [...], f"tensor {SCALES!r}: expected data from byte 256, found 320, a hole"),
    ((SCALES,), [...], "expected data from byte 320, found 352, a hole"),
    ((f"{FIRST}.codes",), [EMPTY], f"tensor '{FIRST}.codes': expected none of that name"),
    ((f"{FIRST}.scales",), [EMPTY], f"tensor '{FIRST}.scales': expected none of that name"),
    (
        (SECOND,),
        [{"dtype": "BF16", "shape": [0, 8], "data_offsets": [0, 0]}],
        f"tensor {SECOND!r}: expected none of that name",
    ),
]


def wrong_values() -> Named:
    """One key at a time holds another value."""
    tables: list[tuple[str, str, str, Rows]] = [
        ("config", "single", CONFIG, [((key,), values, said) for key, values, said in CONFIG_VALUES]),
        ("header", "single", SINGLE, HEADER_VALUES),
        ("index", "sharded", INDEX, INDEX_VALUES),
        (
            "packed",
            "packed",
            CONFIG,
            [(("quantization_config", key), values, said) for key, values, said in PACKED_VALUES],
        ),
        ("packed", "packed", CONFIG, NO_SCHEME),
        ("packed header", "packed", SINGLE, PACKED_HEADER_VALUES),
    ]
    for what, base, file, rows in tables:
        for path, values, message in rows:
            for value in values:
                yield f"{what}: {'/'.join(path)} = {show(value)}", Case(base, {file: {path: value}}, message)


# Bytes that are no JSON of a model file, and what is said of them; None: that depends on the file.
NO_JSON: list[tuple[str, bytes, str | None]] = [
    ("empty", b"", "not valid JSON"),
    ("spaces", b"   ", "not valid JSON"),
    ("zeros", b"\0" * 64, "not valid JSON"),
    ("not UTF-8", b'{"a": "\xff\xfe"}', "not valid JSON"),
    ("UTF-16", '{"a": 1}'.encode("utf-16"), "not valid JSON"),
    ("BOM", b"\xef\xbb\xbf{}", None),
    ("list", b"[]", "expected a JSON object, found list"),
    ("string", b'"model"', "expected a JSON object, found str"),
    ("number", b"7", "expected a JSON object, found int"),
    ("null", b"null", "expected a JSON object, found NoneType"),
    ("two objects", b"{}{}", "not valid JSON (Extra data"),
    ("comma at the end", b'{"a": 1,}', "not valid JSON"),
    ("single quotes", b"{'a': 1}", "not valid JSON"),
    ("comment", b"{} // done", "not valid JSON (Extra data"),
    ("NaN", b'{"a": NaN}', "NaN is not a JSON number"),
    ("infinity", b'{"a": -Infinity}', "-Infinity is not a JSON number"),
    ("float overflow", b'{"a": 1e999}', "number 1e999 is too large"),
    ("duplicate key", b'{"a": 1, "a": 1}', "key 'a' stands twice"),
    ("integer of 5000 digits", b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON (Exceeds the limit"),
    ("too deep", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "JSON is nested too deeply"),
    ("unclosed and deep", b'{"a": ' + b"[" * 100_000, "JSON is nested too deeply"),
    ("HTML", b"<!DOCTYPE html><html>404</html>", "not valid JSON"),
    (
        "git LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4953700360\n",
        None,
    ),
    ("empty object", b"{}", None),
]
# What is repeated up to the largest size that is read.
BOMBS: list[tuple[str, bytes, str | None]] = [
    ("lists", b"[],", None),
    ("deep lists", b"[" * 500 + b"]" * 500 + b",", "JSON is nested too deeply"),
    ("deep objects", b'{"":' * 500 + b"0" + b"}" * 500 + b",", "JSON is nested too deeply"),
    ("duplicates", b'{"":0,"":0},', "key '' stands twice"),
    ("strings", b'"ab",', None),
]
NO_KEY = "architectures is missing, so is model_type"
NO_MAP = "weight_map: expected tensor names and their files"
LFS = "found a git-lfs pointer to it"
# What the JSON is of: base, file, bytes at most, and what is said where that depends.
TEXTS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "header": (
        "single",
        SINGLE,
        MAX_HEADER_BYTES,
        {
            "BOM": "not valid JSON (Unexpected UTF-8 BOM",
            "git LFS pointer": "header: not valid JSON",
            "empty object": "expected shape (16, 8), found none, and 29 more are missing",
            "too large": f"expected a header of at most {MAX_HEADER_BYTES:,} bytes",
            "bomb of lists": "header entry: expected an object",
            "bomb of strings": "header entry: expected an object",
        },
    ),
    "index": ("sharded", INDEX, MAX_HEADER_BYTES, {"": NO_MAP, "git LFS pointer": LFS}),
    "config": ("single", CONFIG, MAX_CONFIG_BYTES, {"": NO_KEY, "git LFS pointer": LFS}),
}


def wrong_texts() -> Named:
    """Another file under the name of one."""
    for what, (base, file, most, depends) in TEXTS.items():
        texts = [
            *NO_JSON,
            (
                "too large",
                b'{"a": "' + b"x" * most + b'"}',
                depends.get("too large", f"larger than {most:,} bytes"),
            ),
            *(
                (
                    f"bomb of {name}",
                    b'{"\xf0\x9f\x98\x80":[' + unit * ((most - 60) // len(unit)) + b"0]}",
                    said,
                )
                for name, unit, said in BOMBS
            ),
        ]
        for name, data, said in texts:
            message = said or depends.get(name) or depends[""]
            yield f"{what}: {name}", Case(base, {file: pack(data, b"") if file == SINGLE else data}, message)
    deep = b'{"num_hidden_layers": %s, "dtype": %s, "torch_dtype": %s}' % (NESTED, NESTED, NESTED)
    yield "config: nested values", Case("single", {CONFIG: deep}, "JSON is nested too deeply")
    head = FLOATS[: 8 + int.from_bytes(FLOATS[:8], "little")]
    for name, data, message in (
        ("data: too long", FLOATS + b"\0", "expected 4,784 bytes of data, found 4,785"),
        (
            "data: too short",
            FLOATS[:-1],
            "tensor 'lm_head.weight': data_offsets: expected [begin, end] within 4,783",
        ),
        ("data: empty", head, f"tensor {FIRST!r}: data_offsets: expected [begin, end] within 0 bytes"),
        ("data: twice", FLOATS + FLOATS[len(head) :], "expected 4,784 bytes of data, found 9,568"),
        ("weights: zeros", b"\0" * 4096, "header: not valid JSON"),
        ("weights: ones", b"\xff" * 4096, HEADER),
        ("weights: zip", b"PK\x03\x04" + b"\0" * 99, HEADER),
    ):
        yield name, Case("single", {SINGLE: data}, message)
    for lengths, message in (
        ((0, 1, 2, 7, len(FLOATS) - 8), "header: not valid JSON"),
        ((len(FLOATS), MAX_HEADER_BYTES, 2**31, 2**32, 2**62, 2**63, 2**64 - 1), HEADER),
    ):
        for length in lengths:
            data = length.to_bytes(8, "little") + FLOATS[8:]
            yield f"weights: header length {length}", Case("single", {SINGLE: data}, message)


def cut_files() -> Named:
    """Files that end early."""
    for what, base, file, pieces, message in (
        ("weights", "single", SINGLE, 40, DAMAGED),
        ("second shard", "sharded", SHARDS[1], 10, DAMAGED),
        ("packed", "packed", SINGLE, 10, DAMAGED),
        ("index", "sharded", INDEX, 10, "not valid JSON"),
        ("config", "single", CONFIG, 10, "not valid JSON"),
    ):
        whole = BASES[base][file]
        for piece in range(pieces):
            data = whole[: len(whole) * piece // pieces]
            yield f"{what}: cut at {piece}/{pieces}", Case(base, {file: data}, message)


def wrong_folders() -> Named:
    """Files that are missing, are no files, or do not belong together."""
    no_file = "expected a file, found a folder, pipe or device"
    odd = {"folder": FOLDER, "pipe": PIPE} if hasattr(os, "mkfifo") else {"folder": FOLDER}
    for base, names in (("single", (CONFIG, SINGLE)), ("sharded", (CONFIG, INDEX, SHARDS[0]))):
        for kind, thing in odd.items():
            for name in names:
                yield f"{base}, {name}: a {kind}", Case(base, {name: thing}, f"{name}: {no_file}")
    neither = f"expected {SINGLE} or {INDEX}, found neither"
    tied = {("tie_word_embeddings",): True}
    head = "lm_head.weight"
    scalars = {
        name: {"dtype": "U8", "shape": [], "data_offsets": [n, n + 1]} for n, name in enumerate((FIRST, head))
    }
    renamed = {
        "codes": {"dtype": "U8", "shape": [1, 1, 16, 4], "data_offsets": [256, 320]},
        "scales": {"dtype": "BF16", "shape": [1, 1, 16], "data_offsets": [320, 352]},
    }
    tied_packed = tied | {("quantization_config",): SCHEME.to_dict(tied=True)}
    cases: list[tuple[str, str, dict[str, Any], str]] = [
        (
            f"no {CONFIG}",
            "single",
            {CONFIG: NOTHING},
            f"{CONFIG}: expected the model's config.json, found no such file",
        ),
        (f"no {SINGLE}", "single", {SINGLE: NOTHING}, neither),
        (
            f"sharded, no {INDEX}",
            "sharded",
            {INDEX: NOTHING},
            f"found {SHARDS[0]!r}; shards need their {INDEX}",
        ),
        *(
            (
                f"sharded, no {shard}",
                "sharded",
                {shard: NOTHING},
                f"{shard}: expected the file that {INDEX} names",
            )
            for shard in SHARDS
        ),
        ("no files", "empty", {}, neither),
        (
            "pickle",
            "single",
            {SINGLE: NOTHING, "pytorch_model.bin": b"cos\nsystem\n(S'true'\ntR."},
            "found 'pytorch_model.bin'; pickle can run code and is never read",
        ),
        ("GGUF", "empty", {"model.gguf": b"GGUF\x03\0\0\0"}, "found 'model.gguf'; GGUF is not read"),
        (
            "a single file beside the shards",
            "sharded",
            {SINGLE: FLOATS},
            f"{INDEX}: expected one set of weights",
        ),
        (
            "a tensor in both shards",
            "sharded",
            {SHARDS[1]: FLOATS},
            f"{SHARDS[1]}: tensor {FIRST!r}: expected it once",
        ),
        (
            "shards exchanged",
            "sharded",
            {SHARDS[0]: PART_2, SHARDS[1]: PART_1},
            f"{SHARDS[0]}: tensor {NAMES[12]!r}: expected it in {SHARDS[1]!r}",
        ),
        (
            "tied scalars",
            "single",
            {CONFIG: tied, SINGLE: pack(scalars, b"\1\1")},
            f"tensor {head}: expected the embedding's values",
        ),
        (
            "a name that is none",
            "single",
            {SINGLE: {(FIRST,): ..., ("\ud800\n",): ENTRY}},
            r"tensor '\ud800\n': expected none of that name",
        ),
        (
            "a long name",
            "single",
            {SINGLE: {(FIRST,): ..., ("x" * 9999,): ENTRY}},
            "xxx': expected none of that name",
        ),
        *(
            (
                f"packed: {part} under another name",
                "packed",
                {SINGLE: {(f"{SECOND}.{part}",): ..., (f"{SECOND}.{part}s",): entry}},
                f"tensor '{SECOND}.{part}s': expected none of that name",
            )
            for part, entry in renamed.items()
        ),
        (
            "packed: no quantization_config",
            "packed",
            {CONFIG: SINGLE_CONFIG},
            "weights need quantization_config",
        ),
        (
            "packed: float weights",
            "packed",
            {SINGLE: FLOATS},
            f"tensor {SECOND!r}: expected none of that name",
        ),
        (
            "packed: a head beside a tied embedding",
            "packed",
            {CONFIG: tied_packed},
            f"tensor '{head}.codes': expected none of that name",
        ),
    ]
    for name, base, changes, message in cases:
        yield name, Case(base, changes, message)


CASES: dict[str, Case] = {}
for number, (name, case) in enumerate((*wrong_values(), *wrong_texts(), *cut_files(), *wrong_folders())):
    CASES[name if name not in CASES else f"{name} ({number})"] = case
