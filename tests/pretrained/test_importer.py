"""Every tensor of a weight file is accounted for, and nothing is written when something is wrong."""

import json
import pathlib

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import effnet_jax
from effnet_jax import create_model
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from effnet_jax.inference import writing
from effnet_jax.pretrained import importer, keras, labels
from effnet_jax.pretrained.registry import SOURCES
from effnet_jax.pretrained.variables import variables
from tests import forked
from tests.pretrained.files import write_keras2, write_keras3, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = {
    "timm": "tf_efficientnet_b0",
    "torchvision": "efficientnet_b0",
    "lukemelas": "efficientnet-b0",
    "keras": "EfficientNetB0",
    "tensorflow": "efficientnet-b0",
}


def tensors_of(source_name: str, model: str = "efficientnet_b0", num_classes: int = 10) -> dict[str, np.ndarray]:
    """Random tensors under a source's names; each variable has its own values."""
    rng = np.random.default_rng(0)
    source, arch = SOURCES[source_name], published(model)
    return {
        name: np.abs(rng.standard_normal(source.layout.file_shape(variable))).astype(np.float32)
        for name, variable in source.names(arch, variables(arch, num_classes)).items()
    }


def published(model: str) -> scaling.Architecture:
    variant = scaling.FAMILY[model]
    return scaling.architecture(variant.width_multiplier, variant.depth_multiplier)


@pytest.fixture
def weight_file(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tensors_of("timm"))
    return path


@pytest.mark.parametrize("model", ["efficientnet_b0", "efficientnet_b2"])
def test_the_list_of_variables_is_that_of_the_module(model):
    module = create_model(model, num_classes=7, allow_1x1_map=True)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)
    expected = {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}
    assert {v.path: v.shape for v in variables(published(model), 7)} == expected


@pytest.mark.parametrize("source_name", SOURCES)
@pytest.mark.parametrize("model", ["efficientnet_b0", "efficientnet_b3"])
def test_names_are_unique_and_layouts_invertible(source_name, model):
    source, arch = SOURCES[source_name], published(model)
    listed = variables(arch, 5)
    names = source.names(arch, listed)
    assert len(names) == len(listed)
    for variable in names.values():
        array = np.arange(np.prod(variable.shape)).reshape(variable.shape)
        there = source.layout.to_file(variable, array)
        assert there.shape == source.layout.file_shape(variable)
        np.testing.assert_array_equal(source.layout.from_file(variable, there), array)


def test_settings_of_the_sources():
    def brief(source_name, name):
        s = SOURCES[source_name].settings(name)
        return s.model, s.padding, s.bn_epsilon, s.resolution, round(s.crop_fraction, 3)

    assert brief("timm", "tf_efficientnet_b4") == ("efficientnet_b4", "SAME", 1e-3, 380, 0.922)
    assert brief("timm", "efficientnet_b0") == ("efficientnet_b0", "SYMMETRIC", 1e-5, 224, 0.875)
    assert brief("torchvision", "efficientnet_b0") == ("efficientnet_b0", "SYMMETRIC", 1e-5, 224, 0.875)
    assert brief("torchvision", "efficientnet_b7") == ("efficientnet_b7", "SYMMETRIC", 1e-3, 600, 1.0)
    assert brief("lukemelas", "efficientnet-b1") == ("efficientnet_b1", "SAME", 1e-3, 240, 0.882)
    assert brief("keras", "EfficientNetB5") == ("efficientnet_b5", "SAME", 1e-3, 456, 0.934)
    assert SOURCES["timm"].settings("tf_efficientnet_b2.ap_in1k").mean == (0.5, 0.5, 0.5)
    assert SOURCES["timm"].settings("tf_efficientnet_b2_ns").mean == (0.485, 0.456, 0.406)
    for source_name, name in (("timm", "resnet51"), ("torchvision", "efficientnet_b8"), ("keras", "b0")):
        with pytest.raises(UserError):
            SOURCES[source_name].settings(name)


@pytest.mark.parametrize("kind", ["keras2", "keras2_notop", "keras3", "keras3_unnamed"])
def test_files_of_keras(kind, tmp_path):
    tensors = tensors_of("keras")
    normalization = {
        "normalization/mean": np.float32([0.485, 0.456, 0.406]),
        "normalization/variance": np.float32([0.229, 0.224, 0.225]),
        "normalization/count": np.float32(0),
    }
    path = tmp_path / ("m.h5" if kind.startswith("keras2") else "m.weights.h5")
    classes = {layer: kind for kind, layer in keras.by_class(published("efficientnet_b0")).items()}
    if kind.startswith("keras2"):
        kept = {k: v for k, v in tensors.items() if kind == "keras2" or not k.startswith("predictions")}
        write_keras2(path, normalization | kept)
    else:
        classes["normalization"] = "normalization"
        write_keras3(path, normalization | tensors, classes, named=kind == "keras3")
    allowed = "^predictions/" if kind == "keras2_notop" else ""
    imported = importer.import_weights("keras", path, "EfficientNetB0", allow_missing=allowed)
    assert imported.metadata["model"]["num_classes"] == (1000 if allowed else 10)
    kernel = imported.variables["params"]["stage2_block1"]["depthwise_conv"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :, 0], tensors["block2a_dwconv/kernel"][..., 0])
    np.testing.assert_allclose(imported.metadata["preprocess"]["std"], (0.229, 0.224, 0.225), rtol=1e-6)


def test_the_normalization_of_a_keras_model_of_ones_own():
    """There the layer holds variances, as its name says."""
    tensors = {"normalization/mean": np.float32([0.1, 0.2, 0.3]), "normalization/variance": np.float32([4, 9, 16])}
    assert keras.normalization(tensors)[1] == (2.0, 3.0, 4.0)


def test_an_imported_checkpoint_is_an_ordinary_one(weight_file, tmp_path):
    writing.write(importer.import_weights("timm", weight_file, "tf_efficientnet_b0"), tmp_path / "out")
    net = effnet_jax.load(tmp_path / "out")
    assert net.labels == tuple("0123456789")
    assert net.resolution == 224
    assert net.model.numerics.padding == "SAME"
    stored = tensors_of("timm")["blocks.6.0.se.conv_reduce.weight"]
    kernel = net.variables["params"]["stage7_block1"]["se"]["reduce"]["kernel"]
    np.testing.assert_array_equal(kernel, stored[:, :, 0, 0].T)


def test_missing_tensors_are_initialised_and_their_block_made_the_identity(tmp_path):
    tensors = {name: array / 50 if array.ndim == 4 else array for name, array in tensors_of("timm").items()}
    lacking = ("blocks.5.2.conv_pw.weight", "blocks.6.0.conv_dw.weight", "classifier.weight", "classifier.bias")
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {name: array for name, array in tensors.items() if name not in lacking})
    pattern = "conv_pw.weight|6.0.conv_dw|^classifier"
    imported = importer.import_weights("timm", path, "tf_efficientnet_b0", allow_missing=pattern, num_classes=3)
    assert sorted(imported.initialised) == sorted(lacking)
    assert imported.identities == ("stage6_block3",)  # stage7_block1 has no residual
    params = imported.variables["params"]
    assert params["classifier"]["kernel"].shape == (1280, 3)
    assert np.std(params["stage7_block1"]["depthwise_conv"]["kernel"]) > 0.1
    model = create_model("efficientnet_b0", 3)
    images = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    layers = ("stage6_block2", "stage6_block3")
    maps = jax.jit(lambda v, x: model.apply(v, x, layers, method="intermediates"))(imported.variables, images)
    np.testing.assert_array_equal(maps["stage6_block2"], maps["stage6_block3"])
    for name in lacking:
        assert name in imported.report()
    assert "stage6_block3" in imported.report()


REFUSED = {
    "no classifier": (
        lambda t: {k: v for k, v in t.items() if "classifier" not in k}, "no classifier.*--allow_missing=classifier",
    ),
    "missing": (lambda t: {k: v for k, v in t.items() if "bn3.bias" not in k}, "15 missing .blocks.1.0.bn3.bias, "),
    "half": (lambda t: dict(list(t.items())[: len(t) // 2]), r"missing .* and \d+ more"),
    "unexpected": (lambda t: t | {"extra.weight": np.zeros(3, np.float32)}, r"1 unexpected \(extra.weight\)"),
    "misshaped": (
        lambda t: t | {"bn1.bias": np.zeros(3, np.float32)}, r"1 of another shape \(bn1.bias \(3,\) for \(32,\)\)",
    ),
    "NaN": (lambda t: t | {"bn1.bias": np.full(32, np.nan, np.float32)}, "NaN.* first in bn1.bias"),
    "overflow": (lambda t: t | {"bn1.bias": np.full(32, 1e300)}, "infinity.* first in bn1.bias"),
    "negative variance": (
        lambda t: t | {"bn1.running_var": np.full(32, -1, np.float32)}, "negative variance.*bn1.running_var",
    ),
    "another model": (
        lambda t: tensors_of("timm", "efficientnet_b1"), "look like tf_efficientnet_b1's weights.*--model=tf_eff",
    ),
    "another source": (
        lambda t: tensors_of("torchvision"), "look like efficientnet_b0's weights.*--from=torchvision",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(make, message, tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, make(tensors_of("timm")))
    with pytest.raises(UserError, match=message):
        importer.import_weights("timm", path, "tf_efficientnet_b0")


def test_refused_options(weight_file, tmp_path):
    def refused(message, **options):
        with pytest.raises(UserError, match=message):
            importer.import_weights("timm", weight_file, "tf_efficientnet_b0", **options)

    (tmp_path / "names.txt").write_text("a\nb\n")
    refused("2 class names but the weights have 10", class_names_file=str(tmp_path / "names.txt"))
    refused("cannot be read", class_names_file=str(tmp_path / "absent.txt"))
    refused("resolution", resolution=0)
    refused("crop_fraction", crop_fraction=1.5)
    write_safetensors(weight_file, dict(list(tensors_of("timm").items())[1:]))
    refused("no regular expression", allow_missing="[")


def test_a_full_folder_is_left_alone(weight_file, tmp_path):
    imported = importer.import_weights("timm", weight_file, "tf_efficientnet_b0")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        writing.write(imported, tmp_path / "out")
    with pytest.raises(UserError, match="cannot write to the output"):
        writing.write(imported, weight_file / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_labels_of_imagenet():
    names = labels.class_names(1000)
    assert (len(names), names[0], names[281], names[999]) == (1000, "tench", "tabby", "toilet tissue")
    assert len(set(names)) == 1000


def test_class_names_of_a_file_that_windows_wrote(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("kätzchen\r\nape \r\n\r\n".encode("utf-8-sig"))
    assert labels.class_names(2, str(path)) == ["kätzchen", "ape"]


def test_the_command(weight_file, tmp_path):
    def run(*arguments):
        return forked.run("scripts/import_weights.py", "--from=timm", *arguments, with_jax=True)

    refused = run(f"--weights={weight_file}", "--model=efficientnet_b1", f"--output={tmp_path / 'out'}")
    assert refused.returncode == 2
    assert "look like efficientnet_b0's weights" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    done = run(f"--weights={weight_file}", "--model=efficientnet_b0", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out")
    metadata = json.loads((tmp_path / "out/checkpoints/0/metadata/metadata").read_text())
    assert metadata["model"]["padding"] == "SYMMETRIC"
