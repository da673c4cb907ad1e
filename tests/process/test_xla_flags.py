"""XLA's flags: one that the installed XLA does not know is left out and named; JAX starts all the same."""

import functools
import json
import os
import subprocess
import sys

import pytest

from effnet_jax.architecture import scaling
from effnet_jax.process import runtime, xla_flags
from tests import short

KNOWN, UNKNOWN = "xla_backend_optimization_level", "xla_of_another_version"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """A process that has asked nothing yet, with a cache of its own."""
    monkeypatch.setattr(xla_flags, "_answers", {})
    monkeypatch.setenv("EFFNET_JAX_CACHE", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "")
    return tmp_path


def refuse_to_ask(questions):
    raise AssertionError(f"asked about {questions}")


def test_an_unknown_flag_is_left_out_and_said(nothing_known, capsys, monkeypatch):
    assert xla_flags.add({KNOWN: 0, UNKNOWN: "true"}) == [UNKNOWN]
    assert os.environ["XLA_FLAGS"] == f"--{KNOWN}=0"
    out, err = capsys.readouterr()
    assert out == "" and UNKNOWN in err and KNOWN not in err and "left out" in err and err.count("\n") == 1

    (kept,) = (nothing_known / "xla_flags").iterdir()
    assert json.loads(kept.read_text()) == {KNOWN: True, UNKNOWN: False}
    monkeypatch.setattr(xla_flags, "_answers", {})  # the next process reads it there
    monkeypatch.setattr(xla_flags, "_accepted", refuse_to_ask)
    assert xla_flags.known({KNOWN: 3, UNKNOWN: 3}) == {KNOWN: 3}


def test_another_version_of_jaxlib_is_asked_again(monkeypatch):
    answers = iter([[True], [False], [True, False]])
    monkeypatch.setattr(xla_flags, "_accepted", lambda questions: next(answers))
    monkeypatch.setattr(xla_flags, "_version", lambda: "1.0")
    assert xla_flags.known({"xla_a": 1}) == {"xla_a": 1}
    xla_flags._answers.clear()
    monkeypatch.setattr(xla_flags, "_version", lambda: "2.0")
    assert xla_flags.known({"xla_a": 1}) == {}


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setattr(xla_flags, "_accepted", refuse_to_ask)
    for flags in (f"--{KNOWN}=3", "/a/file/of/flags"):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert xla_flags.add({KNOWN: 0}) == []
        assert os.environ["XLA_FLAGS"] == flags


def test_where_jax_does_not_start_no_flag_is_blamed(nothing_known, monkeypatch):
    monkeypatch.setattr(xla_flags, "_CHILD", "raise SystemExit(1)")
    assert xla_flags.known({KNOWN: 0}) == {}
    assert not (nothing_known / "xla_flags").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", f'{{"{KNOWN}": "no"}}'])
def test_a_broken_answer_is_asked_again(content, nothing_known, monkeypatch):
    monkeypatch.setattr(xla_flags, "_accepted", lambda questions: [True])
    kept = nothing_known / "xla_flags" / f"jaxlib-{xla_flags._version()}.json"
    kept.parent.mkdir()
    kept.write_text(content)
    assert xla_flags.known({KNOWN: 0}) == {KNOWN: 0}
    assert json.loads(kept.read_text()) == {KNOWN: True}


def test_a_cache_that_cannot_be_written_stops_nobody(nothing_known, monkeypatch):
    monkeypatch.setattr(xla_flags, "_accepted", lambda questions: [True])
    (nothing_known / "file").write_text("")
    monkeypatch.setenv("EFFNET_JAX_CACHE", str(nothing_known / "file"))
    assert xla_flags.known({KNOWN: 0}) == {KNOWN: 0}


START = f"""
from effnet_jax.process import runtime
runtime._flags = lambda: {{"{UNKNOWN}": 1}}
runtime.prepare_process()
import jax
print(jax.jit(lambda x: x + 1)(1))
"""


def test_a_script_starts_although_xla_has_dropped_its_flag():
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n" and f"does not know {UNKNOWN}; left out" in done.stderr


def test_the_flags_of_the_scripts_are_those_of_this_xla():
    """Where one fails here, look for what has taken its place: it was there for speed."""
    assert xla_flags.known(runtime._flags()) == runtime._flags()


def test_an_option_of_the_compiler_that_is_not_known_stops_no_program(monkeypatch, tiny_config):
    from effnet_jax.training import setup

    monkeypatch.setattr(xla_flags, "_NO_OPTIMISATION", {UNKNOWN: 0})
    monkeypatch.setattr(scaling, "round_repeats", short.two_blocks)
    assert xla_flags.quick_compile() == {}
    assert int(setup.build(tiny_config).fresh_state().step) == 0


@pytest.mark.parametrize("what", ["cam", "models"])
def test_nor_does_it_stop_a_benchmark(what, monkeypatch):
    from effnet_jax.benchmark import jax_cam, jax_models
    from effnet_jax.benchmark.case import OURS, Case
    from effnet_jax.models.registry import create_model

    module = {"cam": jax_cam, "models": jax_models}[what]
    monkeypatch.setattr(module, "create_model", functools.partial(create_model, width_multiplier=0.25))
    monkeypatch.setattr(scaling, "round_repeats", short.two_blocks)
    monkeypatch.setattr(xla_flags, "_NO_OPTIMISATION", {UNKNOWN: 0})
    monkeypatch.setattr(xla_flags, "_accepted", lambda questions: [not flags for flags in questions])
    case = Case("efficientnet_b0", "inference", 1, 64)
    jax_cam.JaxCam("inference", case) if what == "cam" else jax_models.JaxImplementation(OURS, case)
