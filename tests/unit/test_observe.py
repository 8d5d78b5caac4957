"""Numbers of recorded stages."""

import numpy as np

from minidecilm.observe import attention_entropy, first_token_share, root_mean_square


def test_entropy_counts_the_tokens_looked_at():
    alike = np.tril(np.ones((8, 8)))
    weights = np.stack([np.eye(8), alike / alike.sum(axis=1, keepdims=True)]).astype(np.float32)
    entropy = attention_entropy(weights)  # (heads, queries)
    assert entropy.shape == (2, 8)
    np.testing.assert_array_equal(entropy[0], 0)
    np.testing.assert_allclose(entropy[1], np.log2(np.arange(1, 9)), atol=1e-6)


def test_first_token_share_leaves_out_the_query_that_sees_nothing_else():
    weights = np.array([[[1, 0, 0], [0.5, 0.5, 0], [0.1, 0.3, 0.6]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    np.testing.assert_allclose(first_token_share(weights), [0.3, 0.0])


def test_root_mean_square():
    assert root_mean_square(np.array([[3.0, -4.0], [0.0, 0.0]])) == 2.5
    assert root_mean_square(np.full(9, 3e38, np.float32)) == np.float64(np.float32(3e38))  # no overflow
