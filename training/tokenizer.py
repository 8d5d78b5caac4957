"""Trains the demo model's tokenizer: SentencePiece BPE with the settings of Llama 2, on our own stories.

Run ``python -m training.tokenizer --out DIR`` for ``tokenizer.model`` and ``tokenizer_config.json``.
"""

import argparse
import json
import string
from collections.abc import Iterator
from pathlib import Path

import sentencepiece

from training import words
from training.stories import stories

VOCABULARY = 2048
STORIES = 20_000
# Names begin with every letter, but not every sign occurs in a story.
_ALPHABET = string.ascii_letters + string.digits + string.punctuation


# Words that a story repeats from its beginning to its end. They are to be one piece each, so that the model
# copies a single token to keep to them.
KEPT_WORDS = (
    *words.GIRL_NAMES, *words.BOY_NAMES, *words.KINDS, *words.PARENTS, *words.TRAITS, *words.ADJECTIVES,
    *words.THINGS, *words.FLOWERS,
)  # fmt: skip


def _sentences(count: int) -> Iterator[str]:
    # Rare words get a piece of their own only if they are seen often.
    yield from KEPT_WORDS * (count // 20)
    for text in stories(0, count):
        # A line break is encoded as a byte, and the word after it has no space before it. A quotation mark
        # stands in for it here, so that such words ("The", "Then") get pieces of their own.
        yield text.replace("\n", '"')


def train_tokenizer(folder: Path, count: int = STORIES) -> None:
    """Train on ``count`` stories and write the two tokenizer files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(count),
            model_writer=file,
            model_type="bpe",
            vocab_size=VOCABULARY,
            byte_fallback=True,
            character_coverage=1.0,
            required_chars=_ALPHABET,
            normalization_rule_name="identity",
            split_digits=True,
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=100_000,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=2,
            minloglevel=1,
        )
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 256,
        "pad_token": None,
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train the tokenizer from the command line."""
    parser = argparse.ArgumentParser(description="Train the tokenizer on the stories.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument(
        "--stories", type=int, default=STORIES, help=f"stories to train on (default: {STORIES})"
    )
    arguments = parser.parse_args()
    train_tokenizer(arguments.out, arguments.stories)


if __name__ == "__main__":
    main()
