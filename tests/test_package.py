"""What Tab offers is what the package is for."""

import subprocess
import sys

import pytest

import effnet_jax

PUBLIC = {"UserError", "create_model", "load", "get_config", "train", "evaluate", "cam", "ops", "scaling"}


def test_dir_is_the_public_interface():
    assert set(dir(effnet_jax)) >= PUBLIC
    assert not {"importlib", "sys", "Any", "process", "heap", "runtime"} & set(dir(effnet_jax))
    for package in (effnet_jax, effnet_jax.cam, effnet_jax.inference):
        assert dir(package) == sorted(package.__all__)
        for name in dir(package):
            assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = effnet_jax.lod


def test_nothing_heavy_is_imported_to_find_it():
    code = "import sys, effnet_jax; dir(effnet_jax); print({'jax', 'flax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
