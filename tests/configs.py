"""Small configs that several tests build models of. A config that one test needs stands in that test."""

from minidecilm.config import Config, LayerConfig

#: What is written to disk again and again: as few bytes as three layers of different KV heads take.
TINY = Config(
    vocab_size=16,
    hidden_size=8,
    num_attention_heads=4,
    head_dim=4,
    layers=(LayerConfig(4, 12), LayerConfig(1, 12), LayerConfig(2, 12)),
    max_position_embeddings=64,
    rope_factor=2.0,
)

#: What is run and measured: sizes that kernels and panels of weights like.
SMALL = Config(
    vocab_size=80,
    hidden_size=64,
    num_attention_heads=4,
    head_dim=16,
    layers=(LayerConfig(4, 96), LayerConfig(1, 96), LayerConfig(2, 96)),
    max_position_embeddings=64,
    rope_factor=2.0,
)

#: What is packed: no size is a multiple of a panel of 16 rows, a word of 8 columns, or a group.
ODD = Config(
    vocab_size=37,
    hidden_size=20,
    num_attention_heads=5,
    head_dim=6,
    layers=(LayerConfig(5, 45), LayerConfig(1, 45)),
    max_position_embeddings=64,
)
