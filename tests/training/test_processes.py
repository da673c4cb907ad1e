"""Real processes that train as one, on CPUs joined by gloo: what one process with as many devices would do."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from effnet_jax.training import checkpoint
from tests.data import photographs

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Imported by the script before it tunes its process, so nothing here may import JAX.
DIGITS = """
from effnet_jax.architecture import scaling
from tests import short
def get_config():
    scaling.round_repeats = short.two_blocks
    config = short.tiny_config()
    config.model.width_multiplier = 0.05
    return config
"""
STREAMED = """
from configs import default
from effnet_jax.architecture import baselines
def get_config():
    baselines.RESNET_BLOCKS["resnet50"] = (1,)
    config = default.get_config()
    config.update(batch_size=16, eval_batch_size=8, num_train_steps=5)
    config.update(log_every_steps=1, eval_every_steps=3, checkpoint_every_steps=3)
    config.model.update(name="resnet50", num_classes=2, stem_stride=1)
    config.dataset.update(name={name!r}, resolution=8, image_size=12, streaming=True, num_workers=1)
    return config
"""

TRAIN = "import runpy; runpy.run_path('scripts/train.py', run_name='__main__')"
EVALUATE = "import runpy; runpy.run_path({config!r})['get_config'](); " + TRAIN.replace("train.py", "evaluate.py")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("configs") / "digits.py"
    path.write_text(DIGITS)
    return path


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """40 training images are five shares of half a batch; 4 and 11 others fill no whole batch."""
    folder = tmp_path_factory.mktemp("configs")
    counts = {"train": {"ape": 24, "cat": 20}, "val": {"ape": 5, "cat": 6}}
    path = folder / "streamed.py"
    path.write_text(STREAMED.format(name=photographs.write_folder(folder / "set", counts)))
    return path


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Makes, once, the run of a config by a single process with two devices, or more."""
    folders = {}

    def reference(config, devices=2):
        if (config, devices) not in folders:
            folders[config, devices] = tmp_path_factory.mktemp("reference") / "run"
            (ended,) = finish([start(devices=devices, config=config, workdir=folders[config, devices])])
            assert ended.code == 0, ended.stderr
        return folders[config, devices]

    return reference


def start(program=TRAIN, *, devices, variables=None, **flags):
    command = [sys.executable, "-c", program, *(f"--{name}={value}" for name, value in flags.items())]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": str(ROOT)} | (variables or {})
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def start_two(program=TRAIN, *, each=({}, {}), **flags):
    """Starts two processes with a device each, that differ in the flags of `each`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        flags["coordinator_address"] = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        start(program, devices=1, num_processes=2, process_id=number, **flags | each[number]) for number in range(2)
    ]


def start_four(**flags):
    """Starts four processes as SLURM would, by `srun --ntasks=4`: no flag says that they are several."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "JAX_COORDINATOR_PORT": port}
    job |= {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}
    places = [{"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in range(4)]
    return [start(devices=1, variables=job | place, **flags) for place in places]


class Ended:
    def __init__(self, process):
        self.stdout, self.stderr = process.communicate(timeout=60)
        self.code = process.returncode


def finish(processes):
    try:
        deadline = time.monotonic() + 150  # less than JAX would wait for a process that hangs
        while any(process.poll() is None for process in processes):
            assert time.monotonic() < deadline, "a process hangs"
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
    return [Ended(process) for process in processes]


def wait_for(path, processes, lines=0):
    while not path.exists() or (lines and path.read_text().count("\n") < lines):
        assert all(process.poll() is None for process in processes), "ended too soon"
        time.sleep(0.002)


def metrics_of(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]


def assert_same_run(folder, reference):
    """Metrics, results and the last parameters, raw and averaged, to 1e-5."""
    for found, expected in zip(metrics_of(folder), metrics_of(reference), strict=True):
        assert found.pop("split") == expected.pop("split")
        assert found == pytest.approx(expected, rel=1e-5)
    results = [json.loads((run / "results.json").read_text()) for run in (folder, reference)]
    for key in ("validation", "test"):
        assert results[0][key] == pytest.approx(results[1][key], rel=1e-5)
    for key in ("steps", "selected_step", "selected_weights", "num_parameters"):
        assert results[0][key] == results[1][key]
    for weights in ("raw", "ema"):
        last = f"checkpoints/{results[0]['steps']}"
        variables = [checkpoint.load(run / last, weights).variables for run in (folder, reference)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *variables)


@pytest.mark.parametrize("kind", ["digits", "streamed"])
def test_two_processes_end_as_one_with_as_many_devices(kind, references, tmp_path, request):
    config = request.getfixturevalue(kind)
    reference, folder = references(config), tmp_path / "run"
    first, second = finish(start_two(config=config, workdir=folder))
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    assert_same_run(folder, reference)
    assert "2 processes" in json.loads((folder / "results.json").read_text())["hardware"]

    assert "test accuracy" in first.stdout
    spoken = [line for line in second.stdout.splitlines() if not line.startswith("[Gloo]")]
    assert not spoken, "process 0 speaks for both"
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in reference.iterdir())
    assert len(list((folder / "tensorboard").iterdir())) == 1

    first, second = finish(start_two(EVALUATE.format(config=str(config)), checkpoint=folder, batch_size=8))
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    figures = json.loads(first.stdout.splitlines()[-1])
    test = json.loads((folder / "results.json").read_text())["test"]
    prefix = "ema_" if figures["ema"] else ""
    assert figures["count"] == test["count"]
    assert figures["loss"] == pytest.approx(test[f"{prefix}loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["digits", "streamed"])
def test_killed_again_and_again_they_end_as_if_never_killed(kind, references, tmp_path, request):
    config, folder = request.getfixturevalue(kind), tmp_path / "run"
    reference = references(config)
    for path, lines in (("metrics.jsonl", 1), ("checkpoints/3", 0)):
        processes = start_two(config=config, workdir=folder)
        wait_for(folder / path, processes, lines)
        processes[0].kill()  # the other hears of it from JAX and ends by itself, not well
        first, second = finish(processes)
        assert first.code == -signal.SIGKILL and second.code != 0
    processes = start_two(config=config, workdir=folder)
    assert [process.code for process in finish(processes)] == [0, 0]
    assert_same_run(folder, reference)


def test_four_of_a_cluster_end_as_one_and_the_death_of_one_is_told_by_all(digits, references, tmp_path):
    reference, folder = references(digits, devices=4), tmp_path / "run"
    processes = start_four(config=digits, workdir=folder)
    wait_for(folder / "checkpoints/3", processes)
    processes[2].kill()
    dead = processes.pop(2)
    for process in finish(processes):
        lines = [line for line in process.stderr.splitlines() if "error" in line]
        assert process.code == 2 and len(lines) == 1, process.stderr
        assert f"process 2 (number {dead.pid} on " in lines[0] and "goes on from the last checkpoint" in lines[0]
    dead.communicate()
    assert [process.code for process in finish(start_four(config=digits, workdir=folder))] == [0] * 4
    assert_same_run(folder, reference)
    assert "4 processes" in json.loads((folder / "results.json").read_text())["hardware"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_asked_to_stop_stops_both_at_the_same_step(number, digits, references, tmp_path):
    folder = tmp_path / "run"
    processes = start_two(config=digits, workdir=folder)
    wait_for(folder / "config.json", processes)
    processes[1].send_signal(number)
    ended = finish(processes)
    assert [process.code for process in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    lines = {process.stdout.splitlines()[-1] for process in ended}
    assert len(lines) == 1 and "stopped and saved at step" in lines.pop()
    assert [process.code for process in finish(start_two(config=digits, workdir=folder))] == [0, 0]
    assert_same_run(folder, references(digits))


def errors_of(processes):
    """The line of each of two processes that must refuse; Python may add that it gives workers' memory back."""
    ended = finish(processes)
    assert [process.code for process in ended] == [2, 2], ended[0].stderr + ended[1].stderr
    lines = [[line for line in process.stderr.splitlines() if "error" in line] for process in ended]
    assert [len(found) for found in lines] == [1, 1], ended[0].stderr + ended[1].stderr
    return [found[0] for found in lines]


def test_what_is_wrong_with_one_ends_both_with_its_line(digits, streamed, tmp_path):
    apart = [{"workdir": tmp_path / "first"}, {"workdir": tmp_path / "second"}]
    for line in errors_of(start_two(config=digits, each=apart)):
        assert "process 1: the workdir" in line and "that all hosts share" in line
    assert not list((tmp_path / "first").iterdir()), "the folder stays free"
    for line in errors_of(start_two(**{"config": digits, "workdir": tmp_path / "first", "config.batch_size": 63})):
        assert "2 devices" in line

    broken = next((streamed.parent / "set/train").rglob("*007.jpg"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:400])
    try:  # one of the two meets it, in the middle of the run
        for line in errors_of(start_two(config=streamed, workdir=tmp_path / "broken")):
            assert "007.jpg" in line and "mend or remove it" in line
    finally:
        broken.write_bytes(whole)


def test_a_folder_of_two_processes_is_held_against_others_and_left_free_by_the_dead(digits, tmp_path):
    folder = tmp_path / "run"
    run = {"config": digits, "workdir": folder, "config.num_train_steps": 100_000}
    working = start_two(**run)
    wait_for(folder / "config.json", working)
    try:
        for line in errors_of(start_two(**run)):
            assert f"process {working[0].pid} on " in line and f"is training in {folder}" in line
        (alone,) = finish([start(devices=2, **run)])
        assert alone.code == 2 and "choose another --workdir" in alone.stderr
        assert all(process.poll() is None for process in working), "whoever works there works on"
    finally:
        for process in working:
            process.kill()
    finish(working)
    lines = (folder / "metrics.jsonl").read_text().count("\n")
    again = start_two(**run)
    wait_for(folder / "metrics.jsonl", again, lines + 5)
    again[1].send_signal(signal.SIGTERM)
    assert [process.code for process in finish(again)] == [0, 0]
