"""Where two models part: the stage, the layer and the size of the first difference, NaN among them."""

import json

import numpy as np
import pytest

import minidecilm
from minidecilm.bench import first_layers
from minidecilm.experiments.compare import Difference, compare, first_difference
from minidecilm.model import DeciLM
from minidecilm.observe import STAGES
from minidecilm.weights.checkpoint_writer import TensorSource, write_checkpoint
from tests import checks

IDS = [[5, 1, 9, 400]]


@pytest.fixture(scope="module")
def model():
    return checks.golden_model()


def changed(model, name, change):
    """Return the model with another weight of this name."""
    weight = change(np.asarray(model.weights[name], np.float64))
    return DeciLM(model.config, {**model.weights, name: weight}, model.backend, "float64")


def with_nan(weight):
    weight[3, 2] = np.nan
    return weight


@pytest.fixture
def nan_folder(model, tmp_path):
    """Write the model with NaN in a weight of layer 3; return its folder."""
    folder = tmp_path / "nan"
    tensors = {name: np.array(weight) for name, weight in model.weights.items()}
    with_nan(tensors["model.layers.3.mlp.down_proj.weight"])
    sources = [TensorSource.from_array(*item) for item in tensors.items()]
    write_checkpoint(model.config, folder, sources)
    return folder


#: A weight, and the stage it makes.
MADE_OF = [
    *(("model.layers.1.self_attn.o_proj.weight", 1, "o_proj"), ("lm_head.weight", None, "lm_head")),
    *((f"model.layers.{layer}.mlp.down_proj.weight", layer, "down_proj") for layer in range(4)),
]


@pytest.mark.parametrize(("name", "layer", "stage"), MADE_OF)
def test_an_error_is_a_share_of_the_first_model_s_largest_value(model, name, layer, stage):
    """Three times a weight is three times what it makes: off by 2 of the one, by 2 / 3 of the other."""
    triple = changed(model, name, lambda weight: 3 * weight)
    for pair, error in (((model, triple), 2.0), ((triple, model), 2 / 3)):
        found = first_difference(compare(*pair, IDS), tolerance=1e-9)
        assert (found.layer, found.stage) == (layer, stage)
        assert found.error == pytest.approx(error, rel=1e-12)


def test_every_stage_is_compared_in_the_order_of_the_pass(model):
    found = compare(model, model, IDS)
    layers = len(model.config.layers)
    expected = [(None, STAGES[0])]
    expected += [(layer, stage) for layer in range(layers) for stage in STAGES[1:-2]]
    expected += [(None, stage) for stage in STAGES[-2:]]
    assert [(difference.layer, difference.stage) for difference in found] == expected
    assert {difference.error for difference in found} == {0.0}


def test_a_stage_that_one_of_them_lacks_is_left_out(model):
    found = compare(model, checks.golden_model(rope="exact"), IDS)
    assert {d.stage for d in found} == set(STAGES) - {"q_rotated", "k_rotated"}


@pytest.mark.parametrize("wrong", [0, 1], ids=["first", "second"])
def test_nan_is_the_first_difference_whoever_has_it(model, wrong):
    """Whatever is allowed: NaN is no number that could be within it. Before it, the two agree."""
    pair = [model, model]
    pair[wrong] = changed(model, "model.layers.2.self_attn.o_proj.weight", with_nan)
    differences = compare(*pair, IDS)
    for tolerance in (0.0, 1e-4, np.inf):
        found = first_difference(differences, tolerance)
        assert found.where == "o_proj of layer 2"
        assert np.isnan(found.error)
    before = differences[: differences.index(found)]
    assert {difference.error for difference in before} == {0.0}


def test_two_runs_of_nan_are_not_the_same(model):
    broken = changed(model, "lm_head.weight", with_nan)
    assert first_difference(compare(broken, broken, IDS), tolerance=1.0).where == "lm_head"


def test_the_tolerance_itself_is_allowed():
    differences = [Difference(0, "q", 0.25), Difference(0, "k", 0.5)]
    assert first_difference(differences, 0.25).stage == "k"
    assert first_difference(differences, 0.5) is None


def test_architectures_that_differ_are_refused(model):
    demo = minidecilm.load("demo", backend="numpy", dtype="float64").model
    with pytest.raises(ValueError, match=r"cannot compare: .*embed_tokens.* in the first model, .* second"):
        compare(model, demo, IDS)
    shallow = DeciLM(first_layers(model.config, 2), model.weights, model.backend, "float64")
    with pytest.raises(ValueError, match="fewer weights"):
        compare(model, shallow, IDS)


def test_the_command_names_nan_as_the_first_difference_and_the_most(run_command, nan_folder):
    code, out, _ = run_command("compare", checks.GOLDEN, nan_folder, "--tokens", 4)
    assert code == 1
    assert out.startswith("first difference: down_proj of layer 3, nan of its largest value")
    arguments = (nan_folder, nan_folder, "--tokens", 4, "--tolerance", "inf")
    code, out, _ = run_command("compare", *arguments)
    assert code == 1
    assert out.endswith("most, nan, at down_proj of layer 3\n")


def test_json_of_the_command_has_no_number_that_json_has_not(run_command, nan_folder):
    arguments = (checks.GOLDEN, nan_folder, "--tokens", 4, "--tolerance", "inf", "--json")
    code, out, _ = run_command("compare", *arguments)

    def refuse(number):
        raise AssertionError(f"{number} is not JSON")

    found = json.loads(out, parse_constant=refuse)
    assert (code, found["tolerance"]) == (1, None)
    assert found["first_difference"] == {"layer": 3, "stage": "down_proj", "error": None}
    assert found["stages"][0]["error"] == 0.0


def test_an_empty_name_is_no_model(run_command):
    found = run_command("compare", "demo", "", "--tokens", 4)
    assert found == (2, "", "minidecilm compare: model: the name is empty\n")
