"""Hundreds of damaged and hostile checkpoints: each gives one clear error, at once, in little memory.

Run as a script with a folder to work in, this file opens the whole corpus in one process and prints what it
took; ``test_memory_and_time`` does that.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidecilm.config import MAX_CONFIG_BYTES, Config, LayerConfig
from minidecilm.errors import CheckpointError, ConfigError
from minidecilm.weights.checkpoint import open_checkpoint
from minidecilm.weights.packed import packed_shapes
from minidecilm.weights.safetensors_file import MAX_HEADER_BYTES
from minidecilm.weights.scheme import Scheme

Files = dict[str, Any]  # name in the folder -> its bytes, or what to put there instead
FOLDER, PIPE = object(), object()

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TINY = Config(
    vocab_size=16,
    hidden_size=8,
    num_attention_heads=4,
    head_dim=4,
    layers=tuple(LayerConfig(heads, 12) for heads in (4, 1, 2)),
    max_position_embeddings=64,
    rope_factor=2.0,
)
FIRST = "model.embed_tokens.weight"
TIED = (FIRST, "lm_head.weight")
SECOND = "model.layers.0.self_attn.q_proj.weight"
SCHEME = Scheme("int4", 32)
HUGE = 10**400  # more than a float holds
MIXED = [None, True, -1, 2.5, "8", [], {}, HUGE]  # wrong wherever a positive integer belongs


def pack(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def header_of(names: list[str]) -> tuple[dict[str, Any], bytes]:
    """Header and data of a valid file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in names:
        shape = TINY.parameter_shapes()[name]
        end = position + 2 * (shape[0] * shape[1] if len(shape) == 2 else shape[0])
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    return header, bytes(place % 251 for place in range(position))


def single() -> Files:
    return {
        CONFIG: json.dumps(TINY.to_dict()).encode(),
        SINGLE: pack(*header_of(list(TINY.parameter_shapes()))),
    }


def sharded() -> Files:
    names = list(TINY.parameter_shapes())
    parts = dict(zip(SHARDS, (names[:12], names[12:]), strict=True))
    files: Files = {CONFIG: single()[CONFIG]} | {file: pack(*header_of(part)) for file, part in parts.items()}
    weight_map = {name: file for file, part in parts.items() for name in part}
    return files | {INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode()}


def packed_header() -> tuple[dict[str, Any], bytes]:
    """Header and data of a valid file with 4-bit weights."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in TINY.parameter_shapes().items():
        stored = {name: ("BF16", shape, 2)}
        bits = SCHEME.bits(name, shape)
        if bits:
            codes, scales = packed_shapes(shape, bits, SCHEME.group)
            stored = {
                f"{name}.codes": ("I8" if bits == 8 else "U8", codes, 1),
                f"{name}.scales": ("BF16", scales, 2),
            }
        for key, (dtype, sizes, itemsize) in stored.items():
            end = position + itemsize * prod(sizes)
            header[key] = {"dtype": dtype, "shape": list(sizes), "data_offsets": [position, end]}
            position = end
    return header, bytes(place % 251 for place in range(position))


def packed(**changes: Any) -> Files:
    """Files of a checkpoint with 4-bit weights; changes are made to its ``quantization_config``."""
    stated = SCHEME.to_dict(tied=False) | changes
    stated = {key: value for key, value in stated.items() if value is not ...}
    values = TINY.to_dict() | {"quantization_config": stated}
    return {CONFIG: json.dumps(values).encode(), SINGLE: pack(*packed_header())}


# --- the corpus: readable id -> what makes the folder

Case = tuple[str, Callable[[], Files]]


def bad_json(max_bytes: int) -> dict[str, bytes]:
    """Bytes that are no JSON object of a model file."""
    bombs = {
        "lists": b"[],",
        "deep lists": b"[" * 500 + b"]" * 500 + b",",
        "deep objects": b'{"":' * 500 + b"0" + b"}" * 500 + b",",
        "duplicates": b'{"":0,"":0},',
        "strings": b'"ab",',
    }
    return {
        "empty": b"",
        "spaces": b"   ",
        "zeros": b"\0" * 64,
        "not UTF-8": b'{"a": "\xff\xfe"}',
        "UTF-16": '{"a": 1}'.encode("utf-16"),
        "BOM": b"\xef\xbb\xbf{}",
        "list": b"[]",
        "string": b'"model"',
        "number": b"7",
        "null": b"null",
        "two objects": b"{}{}",
        "comma at the end": b'{"a": 1,}',
        "single quotes": b"{'a': 1}",
        "comment": b"{} // done",
        "NaN": b'{"a": NaN}',
        "infinity": b'{"a": -Infinity}',
        "float overflow": b'{"a": 1e999}',
        "duplicate key": b'{"a": 1, "a": 1}',
        "integer of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
        "too deep": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "unclosed and deep": b'{"a": ' + b"[" * 100_000,
        "HTML": b"<!DOCTYPE html><html>404</html>",
        "git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4953700360\n",
        "empty object": b"{}",
        "too large": b'{"a": "' + b"x" * max_bytes + b'"}',
    } | {
        f"bomb of {name}": b'{"\xf0\x9f\x98\x80":[' + unit * ((max_bytes - 60) // len(unit)) + b"0]}"
        for name, unit in bombs.items()
    }


def cut(data: bytes, pieces: int) -> Iterator[bytes]:
    return (data[: len(data) * piece // pieces] for piece in range(pieces))


def config_cases() -> Iterator[Case]:
    def case(**changes: Any) -> Callable[[], Files]:
        values = {key: value for key, value in (TINY.to_dict() | changes).items() if value is not ...}
        return lambda: single() | {CONFIG: json.dumps(values).encode()}

    wrong: dict[str, list[Any]] = {
        key: [value for value in [*MIXED, 0] if not (key == "head_dim" and value is None)]
        for key in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            *("head_dim", "max_position_embeddings"),
        )
    } | {
        "num_hidden_layers ": [1, 2, 4, 1024, 10**6],
        "head_dim ": [3, 5, 8],
        "num_attention_heads ": [3, 8, 2],
        "vocab_size ": [8, 17, 2**24],
        "rms_norm_eps": [None, True, -1, "1e-5", [], {}, HUGE],
        "rope_theta": [True, 0.5, "10000", [], {}, HUGE],
        "num_key_value_heads_per_layer": [
            *("4,1,2", 4, True, {}, [], [4, 1], [4, 1, 2, 2], [4, 1, 3], [4, 1, 0], [4, 1, -2], [4, 1, 8]),
            *([4, 1, 2.0], [4, 1, "2"], [4, 1, None], [4, 1, True], [4, 1, HUGE], [[4], [1], [2]], [4, 1, 1]),
        ],
        "architectures": [[], ["BertModel"], "DeciLMForCausalLM", [["x"]], 3, {}, ["LlamaForCausalLM"] * 2],
        "model_type": ["gpt2", 3, [], {}, True],
        "torch_dtype": ["int8", "float8", 5, [], {}, True],
        "dtype": ["float32"],
        "tie_word_embeddings": [None, "false", 0, [], True],
        "bos_token_id": [-1, 16, "1", 1.5, True, [1], {}, HUGE],
        "eos_token_id": [-1, 16, "2", 1.5, True, [2, "x"], [[2]], {}, HUGE],
        "hidden_act": [None, "gelu", 3, []],
        "attention_bias": [True, "no", [], {}],
        "mlp_bias": [True],
        "sliding_window": [63, True, "4096"],
        "quantization_config": [{}, {"bits": 4}],
        "partial_rotary_factor": [0.5],
        "block_configs": [[]],
        "n_embd": [8],
        "": [1],
        "rope_scaling": [
            *("dynamic", 3, True, [], {"type": "linear", "factor": 2}, {"type": "dynamic"}, {"type": []}),
            *({"type": "dynamic", "factor": factor} for factor in (0.5, "2", True, [], {}, HUGE, -HUGE)),
            {"type": "dynamic", "rope_type": "default"},
            {"type": "dynamic", "factor": 2, "beta": 1},
            {"type": "dynamic", "factor": 2, "rope_theta": 7},
            {"type": "dynamic", "factor": 2, "original_max_position_embeddings": 32},
        ],
        "rope_parameters": ["default", {"rope_type": "dynamic", "factor": 3}, {"rope_type": "yarn"}],
    }
    for key, values in wrong.items():
        for value in values:
            text = json.dumps(value)
            yield (
                f"config: {key.strip()} = {text if len(text) < 40 else 'huge'}",
                case(**{key.strip(): value}),
            )
    for key in (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads_per_layer", "max_position_embeddings", "rms_norm_eps"),
    ):
        yield f"config: no {key}", case(**{key: ...})
    nested = b"[" * 700 + b"]" * 700
    text = b'{"num_hidden_layers": %s, "dtype": %s, "torch_dtype": %s}' % (nested, nested, nested)
    yield "config: nested values", lambda: single() | {CONFIG: text}


def header_cases() -> Iterator[Case]:
    def case(change: Callable[[dict[str, Any]], Any], data: bytes | None = None) -> Callable[[], Files]:
        header, valid = header_of(list(TINY.parameter_shapes()))
        change(header)
        packed = pack(header, valid if data is None else data)
        return lambda: single() | {SINGLE: packed}

    def setting(key: str, value: Any) -> Callable[[], Files]:
        return case(lambda header: header[FIRST].update({key: value}))

    data_bytes = 2 * TINY.num_parameters
    wrong: dict[str, list[Any]] = {
        "dtype": ["F32", "F64", "U8", "I8", "bf16", "", "BF16 ", "F8_E4M3", None, True, 3, [], ["BF16"], {}],
        "shape": [
            *(None, True, 8, "16, 8", {}, [], [16], [8, 16, 1], [16, 9], [-16, -8], [16.0, 8], ["16", 8]),
            *([True, 128], [None], [[16, 8]], [HUGE, 0], [0, HUGE], [HUGE] * 40, [1] * 100, [2**63, 2**63]),
            *([128], [1, 128], [8, 16], [0, 8]),
        ],
        "data_offsets": [
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
            *([False, 256], [None, 256], [0, HUGE], [HUGE, HUGE], [-HUGE, 256], [0, 255], [1, 257], [2, 258]),
            *([data_bytes, data_bytes + 256], [2**64, 2**64 + 256], [data_bytes - 256, data_bytes]),
        ],
    }
    for key, values in wrong.items():
        for value in values:
            text = json.dumps(value)
            yield f"header: {key} = {text if len(text) < 40 else 'huge'}", setting(key, value)
    for value in (None, True, 3, "BF16", [], {}, {"dtype": "BF16"}):
        yield f"header: entry = {value}", case(lambda header, value=value: header.update({FIRST: value}))
    for key in ("dtype", "shape", "data_offsets"):
        yield f"header: no {key}", case(lambda header, key=key: header[FIRST].pop(key))
    for value in (True, 3, "pt", [], {"format": 1}, {"format": None}, {"format": ["pt"]}):
        yield (
            f"header: metadata = {value}",
            case(lambda header, value=value: header.update(__metadata__=value)),
        )
    yield "header: a tensor too few", case(lambda header: header.pop(FIRST))
    yield "header: a name that is none", case(lambda header: header.update({"\ud800\n": header.pop(FIRST)}))
    yield "header: a long name", case(lambda header: header.update({"x" * 9999: header.pop(FIRST)}))
    yield "header: two tensors in one place", case(lambda header: header.update(twin=header[FIRST]))
    yield (
        "header: an empty extra tensor",
        case(lambda header: header.update(more={"dtype": "F16", "shape": [0], "data_offsets": [0, 0]})),
    )
    scalars = {
        name: {"dtype": "U8", "shape": [], "data_offsets": [at, at + 1]} for at, name in enumerate(TIED)
    }
    tied = {CONFIG: json.dumps(TINY.to_dict() | {"tie_word_embeddings": True}).encode()}
    yield "header: tied scalars", lambda: tied | {SINGLE: pack(scalars, b"\1\1")}
    valid = header_of(list(TINY.parameter_shapes()))[1]
    for name, data in {
        "too long": valid + b"\0",
        "too short": valid[:-1],
        "empty": b"",
        "twice": valid * 2,
    }.items():
        yield f"data: {name}", case(lambda header: None, data)


def file_cases() -> Iterator[Case]:
    whole, whole_index = single()[SINGLE], sharded()[INDEX]
    for piece, data in enumerate(cut(whole, 40)):
        yield f"weights: cut at {piece}/40", lambda data=data: single() | {SINGLE: data}
    for piece, data in enumerate(cut(sharded()[SHARDS[1]], 10)):
        yield f"second shard: cut at {piece}/10", lambda data=data: sharded() | {SHARDS[1]: data}
    for piece, data in enumerate(cut(whole_index, 10)):
        yield f"index: cut at {piece}/10", lambda data=data: sharded() | {INDEX: data}
    for piece, data in enumerate(cut(single()[CONFIG], 10)):
        yield f"config: cut at {piece}/10", lambda data=data: single() | {CONFIG: data}
    for length in (
        0,
        1,
        2,
        7,
        len(whole) - 8,
        len(whole),
        MAX_HEADER_BYTES,
        2**31,
        2**32,
        2**62,
        2**63,
        2**64 - 1,
    ):
        data = length.to_bytes(8, "little") + whole[8:]
        yield f"weights: header length {length}", lambda data=data: single() | {SINGLE: data}
    for name, data in {
        "zeros": b"\0" * 4096,
        "ones": b"\xff" * 4096,
        "zip": b"PK\x03\x04" + b"\0" * 99,
    }.items():
        yield f"weights: {name}", lambda data=data: single() | {SINGLE: data}
    for name, data in bad_json(MAX_HEADER_BYTES).items():
        yield f"header: {name}", lambda data=data: single() | {SINGLE: pack(data, b"")}
        yield f"index: {name}", lambda data=data: sharded() | {INDEX: data}
    for name, data in bad_json(MAX_CONFIG_BYTES).items():
        yield f"config: {name}", lambda data=data: single() | {CONFIG: data}
    odd = {"folder": FOLDER, "pipe": PIPE} if hasattr(os, "mkfifo") else {"folder": FOLDER}
    for kind, thing in odd.items():
        for name in (CONFIG, SINGLE):
            yield f"{name}: a {kind}", lambda name=name, thing=thing: single() | {name: thing}
        for name in (CONFIG, INDEX, SHARDS[0]):
            yield f"sharded {name}: a {kind}", lambda name=name, thing=thing: sharded() | {name: thing}
    for name in (CONFIG, SINGLE):
        yield f"no {name}", lambda name=name: {key: value for key, value in single().items() if key != name}
    for name in (INDEX, *SHARDS):
        yield (
            f"sharded, no {name}",
            lambda name=name: {key: value for key, value in sharded().items() if key != name},
        )
    yield "no files", lambda: {}
    yield "pickle", lambda: {CONFIG: single()[CONFIG], "pytorch_model.bin": b"cos\nsystem\n(S'true'\ntR."}
    yield "GGUF", lambda: {"model.gguf": b"GGUF\x03\0\0\0"}


def index_cases() -> Iterator[Case]:
    def case(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Files]:
        files = sharded()
        index = json.loads(files[INDEX])
        change(index)
        return lambda: files | {INDEX: json.dumps(index).encode()}

    for value in (None, True, 3, "", SHARDS[0], [], {}, [FIRST], [[FIRST, SHARDS[0]]]):
        yield f"index: weight_map = {value}", case(lambda index, value=value: index.update(weight_map=value))
    yield "index: no weight_map", case(lambda index: index.pop("weight_map"))
    for value in (
        *(None, True, 3, [], {}, [SHARDS[0]], {"file": SHARDS[0]}, "", ".", "..", "/", "none.safetensors"),
        *("../model.safetensors", f"../{SHARDS[0]}", f"./{SHARDS[0]}", f"sub/{SHARDS[0]}", "/etc/passwd"),
        *(
            "/tmp/a.safetensors",
            f"..\\{SHARDS[0]}",
            f"C:{SHARDS[0]}",
            "\\\\host\\a.safetensors",
            "~/a.safetensors",
        ),
        *(
            f"{SHARDS[0]}\0",
            f"\0{SHARDS[0]}",
            "\ud800.safetensors",
            f"{SHARDS[0]}\n",
            ".safetensors",
            "..safetensors",
        ),
        *("x" * 5000 + ".safetensors", "file:///a.safetensors", "pytorch_model.bin", "config.json", INDEX),
        SHARDS[1],
    ):
        text = json.dumps(value)
        yield (
            f"index: file = {text if len(text) < 60 else 'long'}",
            case(lambda index, value=value: index["weight_map"].update({FIRST: value})),
        )
    skipped = {"model.layers.0.self_attn.rotary_emb.inv_freq": SHARDS[0]}
    yield "index: only what is skipped", case(lambda index: index.update(weight_map=skipped))
    yield "index: a tensor too few", case(lambda index: index["weight_map"].pop(SECOND))
    yield "index: a tensor too many", case(lambda index: index["weight_map"].update(more=SHARDS[0]))
    yield "index: a single file beside the shards", lambda: sharded() | {SINGLE: single()[SINGLE]}
    yield "index: a tensor in both files", lambda: sharded() | {SHARDS[1]: single()[SINGLE]}
    yield (
        "index: shards exchanged",
        lambda: (
            sharded()
            | {
                SHARDS[0]: sharded()[SHARDS[1]],
                SHARDS[1]: sharded()[SHARDS[0]],
            }
        ),
    )


def packed_cases() -> Iterator[Case]:
    wrong: dict[str, list[Any]] = {
        "quant_method": ["gptq", "awq", "bitsandbytes", "MiniDeciLM", "", ..., *MIXED],
        "layout": ["panel8", "", ..., *MIXED],
        "weights": ["int2", "int8", "INT4", "float32", "", ..., *MIXED],
        "group": [48, 0, 32.0, "32", ..., *MIXED],
        "head": ["stored", "int4", ..., *MIXED],
        "bits": [4],
    }
    for key, values in wrong.items():
        for value in values:
            text = "missing" if value is ... else json.dumps(value)
            yield (
                f"packed: {key} = {text if len(text) < 40 else 'huge'}",
                lambda key=key, value=value: packed(**{key: value}),
            )
    for value in (True, 4, "int4", [], {}, [SCHEME.to_dict(tied=False)]):
        values = json.dumps(TINY.to_dict() | {"quantization_config": value}).encode()
        yield f"packed: quantization_config = {value}", lambda values=values: packed() | {CONFIG: values}
    yield "packed: no quantization_config", lambda: packed() | {CONFIG: single()[CONFIG]}
    yield "packed: float weights", lambda: packed() | {SINGLE: single()[SINGLE]}
    tied = {"tie_word_embeddings": True, "quantization_config": SCHEME.to_dict(tied=True)}
    tied_config = json.dumps(TINY.to_dict() | tied).encode()
    yield "packed: a head beside a tied embedding", lambda: packed() | {CONFIG: tied_config}

    def case(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Files]:
        header, data = packed_header()
        change(header)
        file = pack(header, data)
        return lambda: packed() | {SINGLE: file}

    def setting(name: str, key: str, value: Any) -> Callable[[], Files]:
        return case(lambda header: header[name].update({key: value}))

    # SECOND is (16, 8): codes (1, 1, 16, 4), scales (1, 1, 16).
    for dtype in ("I8", "BF16", "F16", "F32"):
        yield f"packed: codes of {dtype}", setting(f"{SECOND}.codes", "dtype", dtype)
    for dtype in ("F16", "U8", "F32"):
        yield f"packed: scales of {dtype}", setting(f"{SECOND}.scales", "dtype", dtype)
    yield "packed: a head of 4 bits", setting("lm_head.weight.codes", "dtype", "U8")
    for shape in ([16, 4], [1, 16, 4], [1, 1, 4, 16], [4, 1, 16, 1], [1, 1, 16, 4, 1], [64], []):
        yield f"packed: codes of shape {shape}", setting(f"{SECOND}.codes", "shape", shape)
    for shape in ([16], [16, 1], [1, 16, 1], [1, 1, 1, 16], [1, 2, 8]):
        yield f"packed: scales of shape {shape}", setting(f"{SECOND}.scales", "shape", shape)
    for part in ("codes", "scales"):
        yield f"packed: no {part}", case(lambda header, part=part: header.pop(f"{SECOND}.{part}"))
        other = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
        yield (
            f"packed: {part} of the embedding",
            case(lambda header, part=part, other=other: header.update({f"{FIRST}.{part}": other})),
        )
        yield (
            f"packed: {part} under another name",
            case(
                lambda header, part=part: header.update({f"{SECOND}.{part}s": header.pop(f"{SECOND}.{part}")})
            ),
        )
    empty = {"dtype": "BF16", "shape": [0, 8], "data_offsets": [0, 0]}
    yield (
        "packed: the matrix beside its codes",
        case(lambda header: header.update({SECOND: empty})),
    )
    for piece, data in enumerate(cut(packed()[SINGLE], 10)):
        yield f"packed: cut at {piece}/10", lambda data=data: packed() | {SINGLE: data}


CASES: dict[str, Callable[[], Files]] = {}
for number, (name, make) in enumerate(
    (*config_cases(), *header_cases(), *file_cases(), *index_cases(), *packed_cases())
):
    CASES[name if name not in CASES else f"{name} ({number})"] = make


def build(folder: Path, files: Files) -> None:
    folder.mkdir()
    for name, content in files.items():
        if content is FOLDER:
            (folder / name).mkdir()
        elif content is PIPE:
            os.mkfifo(folder / name)
        else:
            (folder / name).write_bytes(content)


def complaint(folder: Path) -> str:
    """What is wrong with an open folder's refusal; empty if nothing is."""
    try:
        open_checkpoint(folder)
    except (CheckpointError, ConfigError, OSError) as error:
        message = str(error)
    else:
        return "it opened"
    if str(folder) not in message:
        return f"names no file: {message}"
    return "" if message.isprintable() and len(message) < 1000 else f"not one short line: {message[:2000]!r}"


def test_the_base_of_the_corpus_opens(tmp_path: Path) -> None:
    for name, files in {"single": single(), "sharded": sharded(), "packed": packed()}.items():
        build(tmp_path / name, files)
        assert complaint(tmp_path / name) == "it opened"


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("name", CASES)
def test_malformed(tmp_path: Path, name: str) -> None:
    build(tmp_path / "m", CASES[name]())
    assert complaint(tmp_path / "m") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark of one process is read from /proc")
@pytest.mark.slow
def test_memory_and_time(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True
    )
    result = json.loads(run.stdout)
    assert result["cases"] == len(CASES)
    assert result["growth_bytes"] < 200e6, result
    assert result["slowest_seconds"] < 3, result  # about half a second


def memory_bytes(key: str) -> int:
    # Not getrusage: its high-water mark is inherited from the process that started this one.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def run_corpus(folder: Path) -> dict[str, Any]:
    start = memory_bytes("VmRSS")
    seconds = {}
    for number, (name, make) in enumerate(CASES.items()):
        build(folder / str(number), make())
        begin = time.process_time()
        fault = complaint(folder / str(number))
        seconds[name] = time.process_time() - begin
        if fault:
            raise AssertionError(f"{name}: {fault}")
    slowest = max(seconds, key=lambda name: seconds[name])
    return {
        "cases": len(CASES),
        "growth_bytes": memory_bytes("VmHWM") - start,
        "slowest": slowest,
        "slowest_seconds": seconds[slowest],
        "seconds": sum(seconds.values()),
    }


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    build(folder, single())
    return folder


@settings(max_examples=300, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_refused_or_harmless(fuzzed: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(single()[SINGLE])
    header_end = 8 + int.from_bytes(data[:8], "little")
    for place, mask in flips:
        data[place % header_end] ^= mask
    (fuzzed / SINGLE).write_bytes(data)
    if (fault := complaint(fuzzed)) != "it opened":
        assert fault == ""
        return
    checkpoint = open_checkpoint(fuzzed)
    assert {name: array.shape for name, array in checkpoint.tensors.items()} == TINY.parameter_shapes()
    assert checkpoint.nbytes == sum(array[...].nbytes for array in checkpoint.tensors.values())


if __name__ == "__main__":
    print(json.dumps(run_corpus(Path(sys.argv[1]))))
