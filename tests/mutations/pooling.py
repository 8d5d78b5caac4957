"""Mistakes in pooling KV heads, in measuring what it costs, and in choosing how many a layer keeps."""

from tests.mutations import Mutation

MUTATIONS = [
    Mutation(
        "minidecilm/experiments/pooling.py",
        "mean = grouped.mean(axis=1, dtype=np.float64)",
        "mean = grouped[:, 0]",
        "tests/unit/test_pooling.py",
    ),
    Mutation(
        "minidecilm/experiments/pooling.py",
        "grouped.mean(axis=1, dtype=np.float64)",
        "grouped.mean(axis=1)",
        "tests/unit/test_pooling.py",
    ),
    Mutation(
        "minidecilm/experiments/pooling.py",
        "weight.reshape(heads, -1, head_dim, weight.shape[1])",
        "weight.reshape(-1, heads, head_dim, weight.shape[1]).swapaxes(0, 1)",
        "tests/unit/test_pooling.py",
    ),
    Mutation(
        "minidecilm/experiments/pooling.py",
        'for projection in ("k_proj", "v_proj"):',
        'for projection in ("k_proj",):',
        "tests/unit/test_pooling.py",
    ),
    Mutation(
        "minidecilm/experiments/sweep.py",
        "return token_losses(pooled, rows,",
        "return token_losses(lm.model, rows,",
        "tests/unit/test_sweep.py::test_losses_are_those_of_the_pooled_models",
    ),
    Mutation(
        "minidecilm/experiments/sweep.py",
        "progress=False).mean\n",
        "progress=False).perplexity\n",
        "tests/unit/test_sweep.py::test_losses_are_those_of_the_pooled_models",
    ),
    Mutation(
        "minidecilm/experiments/sweep.py",
        "allocation)), checked, backend, batch_size)",
        "allocation)), checked, backend, 15)",
        "tests/unit/test_sweep.py::test_workers_get_a_path_and_no_weights",
    ),
    Mutation(
        "minidecilm/experiments/sweep.py",
        "[layer][heads] = loss - base",
        "[layer][heads] = loss",
        "tests/unit/test_sweep.py::test_sensitivity_is_of_one_layer_at_a_time",
    ),
    Mutation(
        "minidecilm/experiments/allocate.py",
        "return fitting[-1]",
        "return fitting[0]",
        "tests/unit/test_allocate.py",
    ),
    Mutation(
        "minidecilm/experiments/allocate.py",
        "allocation_front(sensitivity, kv_cache)\n",
        "allocation_front(sensitivity)\n",
        "tests/unit/test_allocate.py",
    ),
    Mutation(
        "minidecilm/experiments/allocate.py",
        "heads -= chosen[-1]",
        "heads -= 1",
        "tests/unit/test_allocate.py",
    ),
    Mutation(
        "minidecilm/experiments/allocate.py",
        "return tuple(reversed(chosen))",
        "return tuple(chosen)",
        "tests/unit/test_allocate.py",
    ),
]
