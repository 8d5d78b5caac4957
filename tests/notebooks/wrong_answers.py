"""Plausible wrong answers to every exercise, as Python: the cell that checks answers must notice each."""

#: Of a wrong kind, for any exercise: one asks for a number, one for an array, one for a function.
KINDS = [
    *("None", "'1'", "True", "float('nan')", "1e300", "-(10**400)", "np.ones((2, 3))", "[[1], [2, 3]]"),
    *("lambda: 1", "lambda *_: None", "lambda *_: '1'", "lambda *_: np.ones((1, 2, 3))", "lambda *_: 1 / 0"),
]

WRONG = {
    "01_first_text": {
        "answer_1": ["1.0", "np.mean([np.exp(step.log_probabilities[0]) for step in steps])"],
        "answer_2": ["lambda z: np.exp(z) / len(z)", "lambda z: z / z.sum()"],
        "answer_3": [
            "1 / lm.config.vocab_size",
            "np.exp(log_softmax(z))[lm.tokenizer.encode('girl')[0]]",
            "1.0",
        ],
    },
    "02_tokens_and_embeddings": {
        "answer_1": ["5", "10", "len('σκυλί'.encode())"],
        "answer_2": ["np.eye(len(ids))", "np.eye(len(W))[:, ids].T[::-1]"],
        "answer_3": ["big.vocab_size * big.hidden_size / big.num_parameters"],
    },
    "03_one_decoder_layer": {
        "answer_1": ["[(8, T, D), (8, T, D)]", "[(T, 4, D), (T, 1, D)]"],
        "answer_2": ["0", "T // 2", "2 * T - 1", "-T - 1", "T - 1.5"],
        "answer_3": [
            "lambda ids: np.zeros((len(ids), lm.config.vocab_size))",
            "lambda ids: lm.model([ids[::-1]])[0]",
            "lambda ids: lm.model([ids])",
        ],
    },
    "04_rmsnorm_and_swiglu": {
        "answer_1": [
            "lambda x, weight, eps: weight * x / np.sqrt((x**2).mean(axis=-1, keepdims=True))",
            "lambda x, weight, eps: ops.rms_norm(x - x.mean(axis=-1, keepdims=True), weight, eps)",
            "lambda x, weight, eps: weight * x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + eps)",
        ],
        "answer_2": [
            "lambda h: np.maximum(h @ weight(1, 'mlp.gate_proj').T, 0) @ weight(1, 'mlp.down_proj').T",
            "lambda h: h + feed_forward(h)",
        ],
        "answer_3": ["4 * 4096", "8 * 4096 // 3"],
    },
    "05_rotary_and_dynamic_ntk": {
        "answer_1": [
            "lambda L: 10_000",
            "lambda L: 10_000 * max(2 * L / 4096 - 1, 1)",
            "lambda L: 10_000 * L / 4096",
        ],
        "answer_2": [
            "lambda x, p, base: turn(x.reshape(-1, 2).T.ravel(), p, base).reshape(2, -1).T.flat",
            "lambda x, position, base: turn(x, -position, base)",
        ],
        "answer_3": ["256", "258"],
    },
    "06_kinds_of_attention": {
        "answer_1": ["21 % 4", "21 // 4"],
        "answer_2": ["lambda heads: 128 * 2 * sum(heads)", "lambda heads: 2 * 128 * 2 * 32 * max(heads)"],
        "answer_3": [
            "lambda layer, h: decilm_attention(0, h)",
            "lambda layer, h: decilm_attention(layer, h[::-1])[::-1]",
        ],
    },
    "07_kv_cache": {
        "answer_1": [
            "lambda config: 25_600",
            "lambda c: 4 * c.head_dim * c.layers[0].num_key_value_heads * len(c.layers)",
        ],
        "answer_2": ["config.max_position_embeddings", "answer_2 + 1", "answer_2 - 1"],
        "answer_3": ["3 / 32", "sum(heads == 4) / sum(heads)"],
    },
    "08_sampling": {
        "answer_1": [
            "lambda logits, min_p: np.where(logits < min_p * logits.max(), -np.inf, logits)",
            "lambda logits, min_p: np.where(np.exp(logits) < min_p, -np.inf, logits)",
        ],
        "answer_2": ["answer_2 + 1", "int((p[named] > 0.25).sum())"],
        "answer_3": ["0.5", "1.02 * answer_3", "0.98 * answer_3", "0", "-1"],
    },
    "09_speed": {
        "answer_1": ["machine.bytes_per_second / costs.forward_bytes(config)", "answer_1 / 2"],
        "answer_2": ["1", "8", "answer_2 + 1", "0", "answer_2 - 0.5"],
        "answer_3": ["8.0", "1 / answer_3"],
    },
    "10_what_less_cache_buys": {
        "answer_1": ["costs.largest_batch(deci, 24 * 10**9, 4096)", "answer_1 + 1"],
        "answer_2": ["8", "answer_2 - 1", "answer_2 + 1", "0"],
        "answer_3": ["8 * architecture(1024)", "middle / slow"],
    },
    "11_small_autonac": {
        "answer_1": [
            "lambda weight, heads, D: weight[: heads * D]",
            "lambda weight, heads, D: weight.reshape(-1, heads * D, 128).mean(0, dtype=float)",
        ],
        "answer_2": ["present", "(1,) * 8", "uniform[2]"],
        "answer_3": ["present", "uniform[2]", "(1,) * 8", "(3,) * 8", "present[:2]"],
    },
    "12_loading_the_real_6b": {
        "answer_1": ["[]", "list(range(32))", "answer_1[:1]"],
        "answer_2": ["in_all // 2", "in_all // 2 + 2 * in_all // 32"],
        "answer_3": ["0.0", "1.01 * answer_3"],
    },
}
