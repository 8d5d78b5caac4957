"""minidecilm beside PyTorch and llama.cpp: one network, one set of weights, the same calls, in alternation.

python -m benchmarks.peers --work /tmp/peers
"""
