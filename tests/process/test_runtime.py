"""The process around JAX."""

import subprocess
import sys

import pytest

LOOP = """
from effnet_jax.process import runtime
runtime.prepare_process()
import jax, jax.numpy as jnp
loop = jax.jit(lambda x: jax.lax.fori_loop(0, 100, lambda i, x: x * 1.5 + 1, x))
one_kernel = "xla_cpu_small_call" in loop.lower(jnp.ones(100_000)).compile().as_text()
always = jax.__version_info__ >= (0, 12)  # XLA makes one kernel of this loop by itself
assert (runtime.loops_are_kernels(), one_kernel) == (EXPECTED, EXPECTED or always)
"""


LEVEL = """
from effnet_jax.process import runtime
runtime.accelerator_is_there = lambda: ACCELERATOR
runtime.prepare_process()
import os
assert os.environ.get("TF_CPP_MIN_LOG_LEVEL", "") == "EXPECTED"
"""


@pytest.mark.parametrize(("asked", "accelerator", "level"), [("", False, "3"), ("", True, ""), ("0", False, "0")])
def test_xla_is_quiet_on_cpus_unless_asked(asked, accelerator, level, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if asked:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", asked)
    code = LEVEL.replace("ACCELERATOR", str(accelerator)).replace("EXPECTED", level)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("flags, expected", [("", True), ("--xla_backend_extra_options=xla_cpu_unknown=1", False)])
def test_a_loop_becomes_one_kernel_unless_the_user_says_otherwise(flags, expected, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    subprocess.run([sys.executable, "-c", LOOP.replace("EXPECTED", str(expected))], check=True, timeout=120)


PLACE = """
import pathlib, os
from effnet_jax.process import processor, runtime
processor._INFO = pathlib.Path("HERE")
runtime.prepare_process()
print(os.environ["JAX_COMPILATION_CACHE_DIR"])
"""


def test_another_kind_of_processor_has_programs_of_its_own(tmp_path, monkeypatch):
    """A home folder on a network serves machines of different processors; a program of one may not run on another."""
    monkeypatch.setenv("EFFNET_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    places = []
    for name, flags in (("new", "fpu avx2 avx512f"), ("old", "fpu avx2"), ("like the new one", "avx512f avx2 fpu")):
        info = tmp_path / name
        info.write_text(f"processor : 0\nmodel name : {name}\nflags : {flags}\nbugs : none\n" * 2)
        code = PLACE.replace("HERE", str(info))
        done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
        places.append(done.stdout.strip())
    new, old, like_new = places
    assert new == like_new != old
    assert new.startswith(str(tmp_path / "compiled"))
