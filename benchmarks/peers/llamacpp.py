"""llama.cpp as a contestant, through the C interface that llama-cpp-python compiles and binds."""

from pathlib import Path

import llama_cpp
import numpy as np

from benchmarks.peers import scenarios
from benchmarks.peers.gguf_writer import ensure_gguf, streamed_bytes
from benchmarks.peers.scenarios import THREADS, Array

_MAX_TOKENS = 2048  # of one call: llama.cpp's default n_batch


class Model(scenarios.Model):
    """A GGUF file of the checkpoint.

    Keys and values are float16, and flash attention is used where llama.cpp picks it, as it does here: its
    defaults. With `exact` they are float32, and it is not.

    Tried on one wide layer in BF16 and Q4_0, seconds of CPU with one thread: no flash attention, a
    memory-mapped file and micro-batches of 128 tokens in place of 512 make no difference beyond what two
    runs differ by. Weights that are not repacked (`use_extra_bufts` off) let Q4_0 read a prompt at 0.7 of
    the speed. So the defaults stand, but for the threads, which are as many as everybody's.
    """

    def __init__(self, models: Path, storage: str, exact: bool = False) -> None:
        self.exact = exact
        file = ensure_gguf(models, storage)
        llama_cpp.llama_backend_init()
        self.kernels = llama_cpp.llama_print_system_info().decode().strip(" |")
        parameters = llama_cpp.llama_model_default_params()
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # memory of its own, not a memory-mapped file
        self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.streamed_bytes = streamed_bytes(file)
        self.batch = llama_cpp.llama_batch_init(_MAX_TOKENS, 0, 1)
        self.contexts: dict[tuple[int, int], llama_cpp.llama_context_p] = {}

    def start(self, batch: int, room: int) -> None:
        """Empty the context for this size, made on first use."""
        if (batch, room) not in self.contexts:
            parameters = llama_cpp.llama_context_default_params()
            parameters.n_ctx = batch * room
            parameters.n_seq_max = batch
            parameters.n_threads = parameters.n_threads_batch = THREADS
            if self.exact:
                parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
                parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
            self.contexts[batch, room] = llama_cpp.llama_init_from_model(self.model, parameters)
        self.context = self.contexts[batch, room]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.length = 0

    def feed(self, ids: Array) -> Array:
        """Run the network."""
        B, T = ids.shape
        self.batch.n_tokens = B * T
        for index, token in enumerate(ids.reshape(-1).tolist()):
            row, column = divmod(index, T)
            self.batch.token[index] = token
            self.batch.pos[index] = self.length + column
            self.batch.n_seq_id[index] = 1
            self.batch.seq_id[index][0] = row
            self.batch.logits[index] = column == T - 1
        failure = llama_cpp.llama_decode(self.context, self.batch)
        if failure:
            raise RuntimeError(f"llama_decode returned {failure}")
        self.length += T
        rows = [llama_cpp.llama_get_logits_ith(self.context, row * T + T - 1) for row in range(B)]
        return np.stack([np.ctypeslib.as_array(row, (self.vocab_size,)) for row in rows])
