"""Parts of the training program; run where PyTorch is installed."""

import pytest

from tests.training.test_tokenizer import DEMO

torch = pytest.importorskip("torch", reason="only training needs PyTorch")

import sentencepiece  # noqa: E402

from training.card import _extended  # noqa: E402
from training.model import DeciLM, Shape  # noqa: E402
from training.muon import Muon, orthogonalize  # noqa: E402
from training.train import (  # noqa: E402
    BOS,
    EOS,
    PADDING,
    Options,
    Progress,
    Stories,
    mean_loss,
    pad,
    rate_share,
    share_done,
    token_losses,
)

SMALL = Shape(hidden=16, intermediate=24, heads=4, kv_heads=(2, 1))


@pytest.mark.parametrize("size", [(8, 8), (4, 16), (16, 4)])
def test_muon_brings_singular_values_near_one(size):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, *size)))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_muon_lowers_a_loss():
    torch.manual_seed(0)
    weight, goal = torch.nn.Parameter(torch.zeros(6, 4)), torch.randn(6, 4)
    optimizer = Muon([weight], lr=0.05)
    for _ in range(60):
        loss = (weight - goal).square().sum()
        weight.grad = None
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * goal.square().sum()


def test_a_row_is_one_whole_story_and_padding():
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(DEMO / "tokenizer.model"))
    batch = next(Stories(tokenizer, 0, 257).batches(4))
    assert len(batch) == 4
    for row in batch.tolist():
        length = row.index(EOS) + 1 if EOS in row else len(row)
        assert row[0] == BOS
        assert set(row[length:]) <= {PADDING}


def test_padding_changes_no_loss():
    torch.manual_seed(0)
    model = DeciLM(SMALL)
    rows = [[1, 5, 9, 7, 2], [1, 8, 2]]
    losses = token_losses(model, pad(rows))
    assert losses[1, 2:].eq(0).all()
    alone = [token_losses(model, pad([row])).sum().item() for row in rows]
    assert losses.sum(1).tolist() == pytest.approx(alone, rel=1e-5)
    assert mean_loss(model, [pad(rows)]) == pytest.approx(sum(alone) / 6, rel=1e-5)


def test_rates_end_at_zero_when_the_time_is_up():
    options = Options(minutes=10, warmup=10, fall=0.5)
    shares = [rate_share(options, Progress(step=100, seconds=60.0 * m)) for m in (0, 5, 7.5, 10, 12)]
    assert shares == pytest.approx([1, 1, 0.5, 0, 0])
    assert rate_share(options, Progress(step=4)) == pytest.approx(0.5)
    assert share_done(Options(steps=10), Progress(step=5)) == pytest.approx(0.5)


def test_the_card_tells_of_another_plan_and_of_other_stories():
    first = {"step": 0, "minutes": 80.0, "steps": 0, "stories": "a"}
    assert _extended({"starts": [first, {**first, "step": 500}]}) == ""
    later = {**first, "step": 900, "steps": 1200, "stories": "b"}
    text = _extended({"starts": [first, {**first, "step": 500}, later]})
    assert (
        "planned for 80 minutes in all and went on from step 900 to 1,200 steps, with stories edited" in text
    )
