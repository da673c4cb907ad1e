"""Files of ResNets and DenseNets: today's names and those of 2017, every tensor accounted for."""

import re

import jax
import numpy as np
import pytest

import effnet_jax
from effnet_jax.architecture import baselines, catalog
from effnet_jax.errors import UserError
from effnet_jax.export import timm_weights
from effnet_jax.inference import writing
from effnet_jax.pretrained import importer
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.variables import variables
from effnet_jax.training.checkpoint import Loaded
from tests.pretrained.files import write_safetensors

NUM_CLASSES = 10


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Every kind of layer, in networks small enough to be written and read in no time."""
    for table in (baselines.RESNET_BLOCKS, baselines.DENSENET_BLOCKS):
        for name in table:
            monkeypatch.setitem(table, name, (1, 2) if name != "resnet152" else (2, 1))


def tensors_of(model: str) -> dict[str, np.ndarray]:
    """Random tensors under torchvision's names; each variable has its own values."""
    rng, source, arch = np.random.default_rng(0), SOURCES["torchvision"], catalog.architecture(model)
    return {
        name: np.abs(rng.standard_normal(source.layout.file_shape(variable))).astype(np.float32)
        for name, variable in source.names(arch, variables(arch, NUM_CLASSES)).items()
    }


def old_names(tensors):
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): a for name, a in tensors.items()}


def imported(tmp_path, tensors, model, source_name="torchvision", **options):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tensors)
    return importer.import_weights(source_name, path, model, **options)


def test_names_in_full():
    """As `state_dict()` of torchvision's models lists them."""
    names = tensors_of("resnet50")
    convolutions = [name for name in names if name.startswith("layer2.0") and names[name].ndim == 4]
    assert convolutions == [
        "layer2.0.conv1.weight", "layer2.0.conv2.weight", "layer2.0.conv3.weight", "layer2.0.downsample.0.weight",
    ]  # fmt: skip
    assert {"conv1.weight", "bn1.running_var", "layer2.1.bn3.bias", "fc.weight", "fc.bias"} <= names.keys()
    assert "layer2.1.downsample.0.weight" not in names and len(names) == 5 + 2 * 20 + 15 + 2
    dense = tensors_of("densenet201")
    assert list(dense)[5:10] == [f"features.denseblock1.denselayer1.{leaf}" for leaf in (
        "conv1.weight", "norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var",
    )]  # fmt: skip
    assert {"features.norm0.weight", "features.transition1.conv.weight", "features.norm5.bias"} <= dense.keys()
    assert "features.denseblock2.denselayer2.conv2.weight" in dense and "classifier.weight" in dense


@pytest.mark.parametrize("source_name", ["torchvision", "timm"])
@pytest.mark.parametrize("model", baselines.NAMES)
def test_every_tensor_arrives(model, source_name, tmp_path):
    tensors = tensors_of(model)
    counters = {"bn1.num_batches_tracked": np.zeros((), np.int64)}
    found = imported(tmp_path, tensors | counters, model, source_name)
    assert found.tensors == len(tensors)
    total = sum(leaf.sum(dtype=np.float64) for leaf in jax.tree.leaves(found.variables))
    assert total == pytest.approx(sum(array.sum(dtype=np.float64) for array in tensors.values()), rel=1e-6)
    assert found.metadata["model"] == {
        "name": model, "num_classes": NUM_CLASSES, "in_channels": 3, "padding": "SYMMETRIC", "bn_epsilon": 1e-5,
    }  # fmt: skip
    stem = "features.conv0.weight" if model == "densenet201" else "conv1.weight"
    np.testing.assert_array_equal(
        found.variables["params"]["stem"]["conv"]["kernel"], tensors[stem].transpose(2, 3, 1, 0)
    )


def test_an_imported_baseline_is_an_ordinary_checkpoint(tmp_path):
    writing.write(imported(tmp_path, tensors_of("resnet50"), "resnet50"), tmp_path / "out")
    net = effnet_jax.load(tmp_path / "out")
    assert (net.resolution, net.preprocess.crop_fraction, net.labels) == (224, 0.875, tuple("0123456789"))
    net.preprocess = type(net.preprocess)(**{**net.metadata["preprocess"], "resolution": 32})
    images = np.zeros((1, 40, 40, 3), np.uint8)
    assert net.embed(images).shape == (1, net.model.architecture.head_filters)


def test_names_of_2017(tmp_path):
    tensors = tensors_of("densenet201")
    today = imported(tmp_path, tensors, "densenet201").variables
    old = old_names(tensors)
    assert "features.denseblock1.denselayer1.norm.2.running_var" in old
    before = imported(tmp_path, old, "densenet201").variables
    assert jax.tree.all(jax.tree.map(np.array_equal, before, today))


def test_a_file_with_both_names_is_refused(tmp_path):
    name = "features.denseblock1.denselayer1.norm1.weight"
    tensors = tensors_of("densenet201")
    both = tensors | {name.replace("norm1", "norm.1"): tensors[name]}
    with pytest.raises(UserError, match=r"1 unexpected \(features.denseblock1.denselayer1.norm.1.weight\)"):
        imported(tmp_path, both, "densenet201")


def test_another_model_is_recognised(tmp_path):
    with pytest.raises(UserError, match=r"look like resnet152's weights.*--model=resnet152"):
        imported(tmp_path, tensors_of("resnet152"), "resnet50")
    with pytest.raises(UserError, match="look like densenet201's weights"):
        imported(tmp_path, tensors_of("densenet201"), "efficientnet_b0")


def test_a_residual_block_that_lacks_tensors_becomes_the_identity(tmp_path):
    tensors = {name: a / 50 if a.ndim == 4 else a for name, a in tensors_of("resnet50").items()}
    del tensors["layer2.1.conv2.weight"], tensors["layer1.0.conv2.weight"]
    found = imported(tmp_path, tensors, "resnet50", allow_missing="conv2.weight")
    assert found.identities == ("stage2_block2",)  # the first block of a stage has no plain shortcut
    model = effnet_jax.create_model("resnet50", NUM_CLASSES)
    images = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    layers = ("stage2_block1", "stage2_block2")
    maps = jax.jit(lambda v, x: model.apply(v, x, layers, method="intermediates"))(found.variables, images)
    assert np.ptp(maps["stage2_block1"]) > 0
    np.testing.assert_array_equal(maps["stage2_block1"], maps["stage2_block2"])


def test_settings():
    def brief(name):
        settings = SOURCES["timm"].settings(name)
        return settings.model, settings.resolution, settings.crop_fraction

    assert brief("resnet50") == brief("resnet50.a1_in1k") == ("resnet50", 288, 1.0)
    assert brief("resnet152.tv_in1k") == ("resnet152", 224, 0.875)
    assert brief("densenet201") == ("densenet201", 224, 0.875)
    for name in ("resnet50.unheard_of", "resnet50d", "tf_resnet50"):
        with pytest.raises(UserError):
            SOURCES["timm"].settings(name)
    with pytest.raises(UserError):
        SOURCES["keras"].settings("resnet50")


def test_export_to_timm_says_what_it_can_do():
    with pytest.raises(UserError, match="only EfficientNets are exported"):
        timm_weights.to_timm(Loaded({}, {"model": {"name": "resnet50"}}, 0, False))
