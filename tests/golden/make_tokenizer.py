"""Train a tiny Llama-like tokenizer and store what transformers and SentencePiece make of some texts.

Run from the repository root with transformers, torch, sentencepiece and protobuf installed:
    python tests/golden/make_tokenizer.py
"""

import io
import json
import random
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from transformers import LlamaTokenizer

FOLDER = Path(__file__).parent / "tokenizer"

# Llama 2's own settings, save the size.
SETTINGS = {
    "model_type": "bpe",
    "vocab_size": 600,
    "byte_fallback": True,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": True,
    "remove_extra_whitespaces": False,
    "unk_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": -1,
    "minloglevel": 2,
}

WHO = ["sisters", "his class", "the sailors", "Jess", "a wasp", "this glass bus", "Señor Álvarez", "everyone"]
DID = [
    "was",
    "has seen",
    "passes",
    "says yes to",
    "dreams of",
    "asks for",
    "is less than",
    "misses",
    "tosses",
]
WHAT = ["the stars", "grass", "roses and moss", "3 shells", "1976", "his keys", "mist", "a café", "the news"]
WHERE = [
    "in Paris",
    "across the street",
    "at school",
    "on the bus",
    "by the river",
    "under the trees",
    "上海",
]
END = [".", "!", "?", ", she said.", ";", ": yes.", "..."]


def sentences(count=4000):
    rng = random.Random(0)
    for _ in range(count):
        yield " ".join(map(rng.choice, (WHO, DID, WHAT, WHERE))) + rng.choice(END)


TEXTS = [
    "",
    " ",
    "    ",
    "was",
    " was",
    "  was",
    "s",
    "ss ssss s",
    "his sister passes the glass, yes; she misses his class!",
    "There was a girl. He dreams of playing with his friends.",
    "trailing space ",
    "many   spaces    between     words",
    "\n",
    "line\nline\r\nline\n\n\n",
    "\ttab\tand \t mixed",
    "\n leading newline",
    "1234567890 3.14159 -2e10",
    "don't 'quote' \"this\" (or) [that] {now} <tag> </tag>",
    "a/b\\c|d~e`f@g#h$i%j^k&l*m_n+o=p",
    "naïve café Señor",
    "e\u0301 a\u030a\u0323 combining",
    "\ufb01ne \u2126 \u212b \uff21 compatibility",
    "\u4e0a\u6d77 \u4f60\u597d\uff0c\u4e16\u754c",
    "\u3053\u3093\u306b\u3061\u306f \uc548\ub155",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0434\u0430",
    "\U0001f600 smile \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "\u00a0no-break\u2003em\u3000ideographic",
    "zero\u200bwidth\ufeffbom",
    "\x00nul\x7f\x1b[0m",
    "\ufffd replacement \U0010ffff",
    "\u2581 under \u2581\u2581low",
    "<0x41> is not a byte",
    "<s>",
    "</s>",
    "<unk>",
    "<s> was",
    "<s>was",
    "was</s>",
    "was</s> his",
    "<s>a</s><s> b</s>\n\n<s>  c",
    "s</s>s<s>s",
    "<s",
    "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nIs this so? [/INST] Yes </s><s>[INST] Thanks [/INST]",
]


def main():
    FOLDER.mkdir(exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences(), model_writer=model, **SETTINGS)
    (FOLDER / "tokenizer.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model.getvalue())
        (Path(folder) / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True})
        )
        llama = LlamaTokenizer.from_pretrained(folder)

    cases = []
    for text in TEXTS:
        ids = llama.encode(text)
        cases.append(
            {
                "text": text,
                "transformers_ids": ids,
                "transformers_ids_split_special": llama.encode(text, split_special_tokens=True),
                "transformers_decoded": llama.decode(ids),
                "transformers_decoded_skip_special": llama.decode(ids, skip_special_tokens=True),
                "sentencepiece_ids": pieces.encode(text),
                "sentencepiece_decoded": pieces.decode(pieces.encode(text)),
            }
        )
    versions = {module.__name__: module.__version__ for module in (transformers, tokenizers, sentencepiece)}
    print(versions, pieces.vocab_size(), "pieces")
    golden = {"versions": versions, "cases": cases}
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
