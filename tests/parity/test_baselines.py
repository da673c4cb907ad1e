"""ResNet and DenseNet against torchvision and timm: our float32, theirs in float64, weights through the importer."""

import re

import pytest

from effnet_jax import create_model
from effnet_jax.architecture import baselines
from effnet_jax.pretrained import importer
from effnet_jax.pretrained.registry import SOURCES
from tests.parity import peers
from tests.well_conditioned import images, jitted, relative_error, to_source, well_conditioned

pytestmark = pytest.mark.parity

NUM_CLASSES = 100
TOLERANCE = 1e-4
TORCHVISION = {
    "resnet50": peers.TorchvisionResNet,
    "resnet152": peers.TorchvisionResNet,
    "densenet201": peers.TorchvisionDenseNet,
}
# A model's weights and compiled functions are made once, so all its cases belong to one worker.
MODELS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in baselines.NAMES]
SIZES = (224, 191, 222, 61)


def peer_of(source_name: str, model: str, size: int):
    theirs = (peers.Timm if source_name == "timm" else TORCHVISION[model])(model, NUM_CLASSES, size)
    weights = well_conditioned(model, NUM_CLASSES)
    theirs.load(to_source(SOURCES[source_name], create_model(model, NUM_CLASSES), weights))
    return theirs


def errors_of(theirs, ours, size: int, **wrong) -> tuple[float, float]:
    """Relative errors of the logits and of the head map."""
    logits, fmap = theirs(images(size))
    model = ours.metadata["model"]
    options = {key: model[key] for key in ("padding", "bn_epsilon")} | wrong
    our_logits, our_map = jitted(model["name"], NUM_CLASSES, **options)(ours.variables, images(size))
    assert our_map.shape == fmap.shape
    return relative_error(our_logits, logits), relative_error(our_map, fmap)


# pytest varies the lowest line slowest.
@pytest.mark.parametrize("source_name", ["torchvision", "timm"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", MODELS)
def test_logits_and_head_map_agree(model, size, source_name, tmp_path):
    theirs = peer_of(source_name, model, size)
    path = tmp_path / f"weights{theirs.suffix}"
    theirs.save(path)
    errors = errors_of(theirs, importer.import_weights(source_name, path, model), size)
    print(f"{model} {source_name} {size} px: logits {errors[0]:.1e}, head map {errors[1]:.1e}")
    assert max(errors) < TOLERANCE, errors


def test_a_densenet_file_with_the_names_of_2017(tmp_path):
    """Such as https://download.pytorch.org/models/densenet201-c1103571.pth is to this day."""
    theirs = peer_of("torchvision", "densenet201", 61)
    path = tmp_path / "densenet201-c1103571.pth"
    state = theirs.model.state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): values for name, values in state.items()}
    assert "features.denseblock4.denselayer32.norm.2.running_var" in old
    theirs.torch.save({n: v.float() for n, v in old.items() if not n.endswith("num_batches_tracked")}, path)
    assert max(errors_of(theirs, importer.import_weights("torchvision", path, "densenet201"), 61)) < TOLERANCE


@pytest.mark.parametrize("wrong", [{"padding": "SAME"}, {"bn_epsilon": 1e-3}], ids=str)
@pytest.mark.parametrize("model", ["resnet50", "densenet201"])
def test_a_wrong_padding_or_epsilon_is_caught(model, wrong, tmp_path):
    """Control: the tolerance is tight enough to see either mistake."""
    theirs = peer_of("torchvision", model, 222)
    path = tmp_path / "weights.pth"
    theirs.save(path)
    errors = errors_of(theirs, importer.import_weights("torchvision", path, model), 222, **wrong)
    assert min(errors) > 2 * TOLERANCE
