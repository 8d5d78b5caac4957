"""The shipped tokenizer fits the stories: what a story repeats is one piece, and stories fit the context."""

from pathlib import Path

import pytest
import sentencepiece

from training.stories import HELD_OUT_START, stories
from training.tokenizer import KEPT_WORDS

DEMO = Path(__file__).parents[2] / "minidecilm" / "demo"


@pytest.fixture(scope="module")
def tokenizer():
    return sentencepiece.SentencePieceProcessor(model_file=str(DEMO / "tokenizer.model"))


def test_every_word_that_a_story_keeps_to_is_a_single_piece(tokenizer):
    assert not [word for word in KEPT_WORDS if len(tokenizer.encode(word)) != 1]


def test_stories_fit_the_context_with_room_to_spare(tokenizer):
    lengths = sorted(len(tokenizer.encode(text)) + 2 for text in stories(HELD_OUT_START, 1000))
    assert lengths[len(lengths) // 2] < 190
    assert sum(length > 256 for length in lengths) <= 1


def test_any_text_survives_encoding_and_decoding(tokenizer):
    for text in ("Lily\nran.", "Größe 東京 🙂", "  two  spaces ", *stories(0, 20)):
        assert tokenizer.decode(tokenizer.encode(text)) == text
