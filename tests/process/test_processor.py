"""What Linux says of the processor."""

import pytest

from effnet_jax.process import processor

ONE = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f\n\n"
X86 = ONE + "processor\t: 1\nmodel name\t: Some CPU\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.fixture(autouse=True)
def info(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "_INFO", path)
    return path


@pytest.mark.parametrize(("usable", "cores"), [({0, 1}, "2 cores"), ({1}, "1 of 2 cores")])
def test_the_cores_that_a_process_may_use(usable, cores, info, monkeypatch):
    monkeypatch.setattr(processor.os, "sched_getaffinity", lambda _: usable, raising=False)
    info.write_text(X86)
    assert processor.describe() == f"Some CPU, {cores}"


def test_x86(info):
    info.write_text(X86)
    assert processor.describe().startswith("Some CPU, ")
    assert processor.instructions() == {"fpu", "avx2", "avx512f"}


def test_arm_has_no_model_there(info):
    info.write_text(ARM)
    assert processor.describe()
    assert processor.instructions() == {"fp", "asimd"}


def test_other_systems():
    assert processor.describe()
    assert processor.instructions() == frozenset()
    assert len(processor.digest()) == 8
