"""Checkpoints as training scripts save them: wrapped, prefixed, in half precision, of other classes and channels."""

import argparse
import collections
import os
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from effnet_jax.errors import UserError
from effnet_jax.inference import Classifier
from effnet_jax.pretrained import importer, readers
from effnet_jax.pretrained.unwrapping import unwrap
from tests.pretrained.files import write_safetensors
from tests.pretrained.test_importer import tensors_of

RAW, EMA = {"conv.weight": np.zeros(1)}, {"conv.weight": np.ones(1)}


def prefixed(tensors, prefix):
    return {prefix + name: values for name, values in tensors.items()}


WRAPPED = {
    "alone": (RAW, None),
    "state_dict": ({"state_dict": RAW, "epoch": 3}, None),
    "model": ({"model": RAW, "args": None}, None),
    "timm": ({"state_dict": RAW, "state_dict_ema": EMA}, "both"),
    "torchvision": ({"model": RAW, "model_ema": {"n_averaged": np.zeros(()), **prefixed(EMA, "module.")}}, "both"),
    "ema": ({"model": RAW, "ema": EMA}, "both"),
    "ema of a module": ({"model": RAW, "ema": {"decay": 0.9, "module": EMA}}, "both"),
    "ema alone": ({"ema": EMA}, "ema"),
    "data parallel": (prefixed(RAW, "module."), None),
    "Lightning": ({"state_dict": prefixed(RAW, "model.")}, None),
    "another Lightning": ({"state_dict": prefixed(RAW, "net.backbone.")}, None),
    "compiled": ({"model": prefixed(RAW, "module._orig_mod.model.")}, None),
}


@pytest.mark.parametrize(("content", "averages"), WRAPPED.values(), ids=WRAPPED)
def test_tensors_are_found(content, averages):
    held = unwrap(content, "selected", np.ndarray)
    assert held.ema == (averages is not None) and held.other == (averages == "both")
    assert list(held.tensors) == ["conv.weight"]
    assert held.tensors["conv.weight"] == float(held.ema)


def test_which_are_taken_can_be_said():
    both = {"state_dict": RAW, "state_dict_ema": EMA}
    assert not unwrap(both, "raw", np.ndarray).ema
    assert unwrap(both, "ema", np.ndarray).ema
    with pytest.raises(UserError, match="raw weights and no averaged ones"):
        unwrap(RAW, "ema", np.ndarray)
    with pytest.raises(UserError, match="averaged weights and no raw ones"):
        unwrap({"ema": EMA}, "raw", np.ndarray)
    for nothing in ({}, {"epoch": 1}, [], {"state_dict": {}}):
        with pytest.raises(UserError, match="no state_dict"):
            unwrap(nothing, "selected", np.ndarray)


def test_two_tensors_of_one_name_are_left_for_the_importer_to_refuse():
    content = {**RAW, **prefixed(RAW, "module.")}
    assert list(unwrap(content, "selected", np.ndarray).tensors) == list(content)


def save(path, content, monkeypatch):
    """Writes what torch.save would, where there is no torch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storages = {"float32": "FloatStorage", "float16": "HalfStorage"}

    def rebuild(*arguments):
        raise AssertionError("only its name is pickled")

    rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = ("torch._utils", *["_rebuild_tensor_v2"] * 2)
    utils._rebuild_tensor_v2 = rebuild
    for name in storages.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Storage:
        def __init__(self, array):
            self.array = np.ascontiguousarray(array)

    stored = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            stored.append(value.array)
            kind = getattr(torch, storages[value.array.dtype.name])
            return "storage", kind, str(len(stored) - 1), "cpu", value.array.size

        def reducer_override(self, value):
            if not isinstance(value, np.ndarray):
                return NotImplemented
            strides = tuple(stride // value.itemsize for stride in np.ascontiguousarray(value).strides)
            return rebuild, (Storage(value), 0, value.shape, strides, False, collections.OrderedDict())

    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("model/data.pkl", "w") as file:
            Pickler(file, protocol=2).dump(content)
        for key, array in enumerate(stored):
            archive.writestr(f"model/data/{key}", array.tobytes())


def test_a_checkpoint_of_timms_training_script(tmp_path, monkeypatch):
    """Half precision, options and figures beside the tensors, and both sets of weights."""
    tensors = {name: (values / 10).astype(np.float16) for name, values in tensors_of("timm").items()}
    doubled = {name: values * 2 for name, values in tensors.items()}
    content = {
        "epoch": 7,
        "arch": "efficientnet_b0",
        "state_dict": collections.OrderedDict(prefixed(tensors, "module.")),
        "state_dict_ema": collections.OrderedDict(doubled),
        "args": argparse.Namespace(lr=0.1, sched="cosine"),
        "metric": np.float64(71.5),
    }
    save(tmp_path / "model_best.pth.tar", content, monkeypatch)
    for weights, factor in (("selected", 2), ("raw", 1)):
        imported = importer.import_weights("timm", tmp_path / "model_best.pth.tar", "efficientnet_b0", weights=weights)
        scale = imported.variables["params"]["stem"]["bn"]["scale"]
        assert scale.dtype == np.float32
        np.testing.assert_array_equal(scale, factor * tensors["bn1.weight"].astype(np.float32))
        assert imported.metadata["selected_weights"] == ("ema" if weights == "selected" else "raw")
        assert imported.loaded().ema == (weights == "selected")
        said = "moving averages (ema); the file holds raw ones as well"
        assert (said in imported.report()) == (weights == "selected")
        assert ("raw; the file holds ema ones as well" in imported.report()) == (weights == "raw")


class Module:
    """What a pickled `torch.nn.Module` holds."""

    def __init__(self, **tensors):
        self._parameters, self._buffers, self._modules = {}, {"mask": None}, {}
        for name, values in tensors.items():
            first, _, rest = name.partition("/")
            if rest:
                self._modules.setdefault(first, Module())._parameters[rest] = values
            else:
                self._parameters[first] = values


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Options(dict):
    """As Lightning's hyperparameters."""


def test_objects_of_any_class_beside_tensors_are_passed_over(tmp_path, monkeypatch):
    content = {
        "args": [Options(lr=0.1), pathlib.PurePosixPath("a"), collections.Counter("ab"), {1: frozenset((2,))}],
        "trap": Harmful(tmp_path / "harm"),
        "state_dict": {"conv.weight": np.ones(1, np.float32)},
    }
    save(tmp_path / "last.ckpt", content, monkeypatch)
    assert readers.read(tmp_path / "last.ckpt").tensors == {"conv.weight": 1}
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 3}])
def test_a_whole_pickled_model_gives_its_tensors(wrap, tmp_path, monkeypatch):
    model = Module(**{"scale": np.ones(2, np.float32), "conv/weight": np.arange(3, dtype=np.float32)})
    save(tmp_path / "model.pth", wrap(model), monkeypatch)
    found = readers.read(tmp_path / "model.pth").tensors
    assert {name: values.tolist() for name, values in found.items()} == {"scale": [1, 1], "conv.weight": [0, 1, 2]}


def test_an_object_without_tensors_is_named_with_what_to_do(tmp_path, monkeypatch):
    save(tmp_path / "model.pth", Options(), monkeypatch)
    with pytest.raises(UserError, match=r"no state_dict, but .*Options, which are never run; save the model's state_d"):
        readers.read(tmp_path / "model.pth")


@pytest.mark.parametrize(("channels", "mean"), [(1, (0.449,)), (4, (0.485, 0.456, 0.406, 0.485))])
def test_files_of_other_channels(channels, mean, tmp_path):
    tensors = tensors_of("timm", num_classes=3)
    stem = np.random.default_rng(0).standard_normal((32, channels, 3, 3)).astype(np.float32)
    write_safetensors(tmp_path / "model.safetensors", prefixed(tensors | {"conv_stem.weight": stem}, "model."))
    imported = importer.import_weights("timm", tmp_path / "model.safetensors", "efficientnet_b0")
    assert imported.metadata["model"]["in_channels"] == channels
    assert f"3 classes, {channels} image channels" in imported.report()
    net = Classifier(imported.loaded(), fold=False)
    np.testing.assert_allclose(net.preprocess.mean, mean)
    np.testing.assert_array_equal(net.variables["params"]["stem"]["conv"]["kernel"], stem.transpose(2, 3, 1, 0))
