"""Throughput that others published, to be held against what a device allows."""

from dataclasses import dataclass

from minidecilm.config import Config
from minidecilm.costs.devices import device
from minidecilm.costs.prediction import decode_tokens_per_second


@dataclass(frozen=True)
class PublishedThroughput:
    """A measurement by somebody else.

    Attributes
    ----------
    model : str
        Name of a preset.
    engine : str
    device : str
        Name of a device.
    batch_size : int
    tokens_per_second : float
    """

    model: str
    engine: str
    device: str
    batch_size: int
    tokens_per_second: float

    def bound(self, config: Config, context: int, kv_cache: str = "bfloat16") -> float:
        """Tokens per second that the device allows at most in decode.

        How many tokens were cached per row, `context`, is an assumption: it was not published.

        Examples
        --------
        >>> from minidecilm import preset
        >>> for point in MODEL_CARD:
        ...     share = point.tokens_per_second / point.bound(preset(point.model), context=1024)
        ...     print(f"{point.model}, {point.engine}, batch {point.batch_size}: {share:.0%} of the bound")
        llama-2-7b, PyTorch, batch 8: 50% of the bound
        decilm-6b, PyTorch, batch 64: 22% of the bound
        decilm-6b, Infery LLM, batch 128: 38% of the bound
        """
        return decode_tokens_per_second(
            config, device(self.device), self.batch_size, context, kv_cache=kv_cache
        )


#: Throughput in the model card of DeciLM-6b, https://huggingface.co/Deci/DeciLM-6b: the "15 times" are the
#: last over the first. Batch 8 was the largest for Llama 2 7B. Which contexts were measured, and whether the
#: time of the prompt counts, is not known.
MODEL_CARD = (
    PublishedThroughput("llama-2-7b", "PyTorch", "a10", 8, 136.0),
    PublishedThroughput("decilm-6b", "PyTorch", "a10", 64, 652.49),
    PublishedThroughput("decilm-6b", "Infery LLM", "a10", 128, 2029.6),
)
