"""Weight files of every kind are read without torch, TensorFlow or Keras, and nothing in them is run."""

import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from effnet_jax.errors import UserError
from effnet_jax.pretrained import readers
from tests.pretrained.files import write_safetensors

DATA = pathlib.Path(__file__).with_name("data")


@pytest.mark.parametrize("name", ["nested.pth", "stream.pth"])
def test_files_of_torch(name):
    tensors = readers.read(DATA / name).tensors
    expected = {
        "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "parameter": np.array([0.5, -2], ml_dtypes.bfloat16),
        "half": np.array([1.5], np.float16),
        "view": np.arange(3.0, 7.0),
        "count": np.array(7),
    }
    assert tensors.keys() == expected.keys()
    for key, values in expected.items():
        assert tensors[key].dtype == values.dtype
        np.testing.assert_array_equal(tensors[key], values)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "stream"])
def test_pickled_code_is_refused_and_not_run(kind, tmp_path):
    content = pickle.dumps({"a": Harmful(tmp_path / "harm")}, protocol=2)
    path = tmp_path / "model.pth"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"mkdir.*never run"):
        readers.read(path)
    assert not (tmp_path / "harm").exists()


def test_every_reducing_builtin_is_refused(tmp_path):
    for module, name in (("builtins", "eval"), ("torch", "load"), ("collections", "Counter"), ("os", "system")):
        path = tmp_path / "model.bin"
        path.write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + b".")
        with pytest.raises(UserError, match=f"{module}.{name}"):
            readers.read(path)


def test_safetensors_of_every_dtype(tmp_path):
    tensors = {
        "half": np.array([[1.5, 2]], np.float16),
        "brain": np.array([3, 4], ml_dtypes.bfloat16),
        "double": np.array(5.0),
        "count": np.array([6]),
        "empty": np.zeros((0, 3), np.float32),
    }
    write_safetensors(tmp_path / "a.safetensors", tensors)
    found = readers.read(tmp_path / "a.safetensors").tensors
    for name, values in tensors.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ".h5", ".weights.h5", ".keras"])
@pytest.mark.parametrize("content", [b"", b"x", b"not a weight file " * 100, b"PK\x03\x04" + b"\0" * 300])
def test_damaged_files(suffix, content, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"empty file|is no whole"):
        readers.read(path)


@pytest.mark.parametrize("name", ["nested.pth", "stream.pth"])
def test_a_torch_file_cut_off_anywhere(name, tmp_path):
    whole = (DATA / name).read_bytes()
    path = tmp_path / name
    for size in range(1, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            readers.read(path)


def test_a_safetensors_file_cut_off_anywhere(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.arange(5.0), "b": np.ones((2, 2), np.float32)})
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError):
            readers.read(path)


def test_other_files(tmp_path):
    with pytest.raises(UserError, match="no weight file"):
        readers.read(tmp_path / "absent.pth")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="of no kind that can be read"):
        readers.read(tmp_path / "model.onnx")


def test_a_tensorflow_checkpoint_without_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "model.ckpt.index").write_bytes(b"x")
    with pytest.raises(UserError, match="pip install tensorflow"):
        readers.read(tmp_path / "model.ckpt")


def test_slots_and_moving_averages_of_tensorflow():
    raw, average = np.zeros(1), np.ones(1)
    tensors = {
        "efficientnet-b0/stem/conv2d/kernel": raw,
        "efficientnet-b0/stem/conv2d/kernel/ExponentialMovingAverage": average,
        "efficientnet-b0/stem/conv2d/kernel/RMSProp": raw,
        "efficientnet-b0/stem/conv2d/kernel/RMSProp_1": raw,
        "global_step": raw,
    }
    kept = readers.without_slots(tensors)
    assert kept.keys() == {"stem/conv2d/kernel", "global_step"}
    assert kept["stem/conv2d/kernel"] is average


def test_reading_loads_no_other_framework():
    code = (
        "import sys, pathlib; from effnet_jax.pretrained import readers;"
        f"readers.read(pathlib.Path({str(DATA / 'nested.pth')!r}));"
        "print([m for m in ('torch', 'tensorflow', 'keras', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
