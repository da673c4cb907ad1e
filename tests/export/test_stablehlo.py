"""A StableHLO file: any batch size, preprocessing inside, run with jax alone."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import effnet_jax
from effnet_jax.errors import UserError
from effnet_jax.export import stablehlo
from tests import forked

pytest.importorskip("flatbuffers")
ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = """
import sys, numpy as np
from jax import export
images = np.load(sys.argv[2])
call = export.deserialize(open(sys.argv[1], "rb").read()).call
np.savez(sys.argv[3], one=call(images[:1]), all=call(images))
print(sorted({m.split(".")[0] for m in sys.modules} & {"effnet_jax", "flax", "optax", "orbax"}))
"""


def test_the_file_predicts_what_the_model_does(small_checkpoint, tmp_path):
    path = tmp_path / "out/model.stablehlo"
    command = ("scripts/export.py", f"--checkpoint={small_checkpoint}", f"--output={path}")
    done = forked.run(*command, with_jax=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(path)

    images = np.random.default_rng(0).integers(0, 256, (3, 73, 73, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", RUN, path, tmp_path / "images.npy", tmp_path / "out.npz"]
    alone = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.strip() == "[]"
    results = np.load(tmp_path / "out.npz")
    expected = effnet_jax.load(small_checkpoint).predict(images)
    np.testing.assert_allclose(results["all"], expected, rtol=1e-4)
    np.testing.assert_allclose(results["one"], expected[:1], rtol=1e-4)


def test_logits_at_another_size(small_checkpoint):
    from jax import export as jax_export

    net = effnet_jax.load(small_checkpoint)
    call = jax_export.deserialize(bytearray(stablehlo.serialize(net, 100, "logits", platforms=("cpu",)))).call
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 100, 3)).astype(np.uint8)
    logits = np.asarray(call(images))
    exps = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(exps / exps.sum(1, keepdims=True), net.predict(images), rtol=1e-4)


def test_the_natural_input_is_cropped_but_not_resized(small_checkpoint):
    net = effnet_jax.load(small_checkpoint)
    side = stablehlo.natural_input_size(net)
    assert side == 73  # 0.875 of it is 64
    assert net.preprocess.crop_box(side, side)[2] == net.resolution


def test_refused(small_checkpoint):
    with pytest.raises(UserError, match="positive"):
        stablehlo.serialize(effnet_jax.load(small_checkpoint), 0)
