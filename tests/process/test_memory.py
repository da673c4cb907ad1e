"""Too little memory is one line, before a program runs where the compiler says what it needs."""

import jax
import jax.numpy as jnp
import pytest

from effnet_jax.process import heap, memory


@pytest.fixture(scope="module")
def program():
    return jax.jit(lambda x: jnp.sort(x @ x.T, axis=0).sum()).lower(jnp.ones((1000, 8))).compile()


def test_a_program_that_does_not_fit_is_refused(program, monkeypatch):
    needed = memory.needs(program)
    assert needed >= jax.local_device_count() * 1000**2 * 4, "each of the devices of a CPU"
    monkeypatch.setattr(memory, "available", lambda: needed)
    memory.check(program, "this", "do less")
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    with pytest.raises(memory.TooLittle, match=r"^this needs 0.0 GiB of memory .* 0.0 GiB are free: do less$"):
        memory.check(program, "this", "do less")


def test_where_nothing_is_known_nothing_is_refused(program, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check(program, "this", "do less")


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    machine = memory.available()
    assert machine > 2**20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1500000\n")
    (tmp_path / "memory.stat").write_text("anon 900000\ninactive_file 600000\n")
    assert memory._of_the_group() is None
    (tmp_path / "memory.max").write_text("1900000\n")
    monkeypatch.setattr(heap, "reusable", lambda: 7)
    assert memory.available() == 1_000_007


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError"),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"), "allocating 9 b"),
    ],
)
def test_what_runs_out_is_a_sentence(error, said):
    line = rf"^this needs more memory than there is \(.*{said}.*\): do less$"
    with pytest.raises(memory.TooLittle, match=line), memory.enough_for("this", "do less"):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="a bug"), memory.enough_for("this", "do less"):
        raise RuntimeError("a bug")
