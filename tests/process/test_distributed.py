"""Joining other processes: what goes wrong is said in one line. What they do together: training/test_processes.py."""

import socket

import jax
import pytest

from effnet_jax.errors import UserError
from effnet_jax.process import distributed
from tests.test_cli import QUICKSTART, error_of


@pytest.mark.parametrize(
    ("by_hand", "expected"),
    [
        (("localhost:1234", None, 0), "give all three"),
        ((None, 2, None), "give all three"),
        (("localhost", 2, 0), "host:port"),
        (("localhost:http", 2, 0), "host:port"),
        (("localhost:1234", 2, 2), "none of 2 processes"),
        (("localhost:1234", 2, -1), "none of 2 processes"),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_waited_for(by_hand, expected):
    with pytest.raises(UserError, match=expected):
        distributed.join(*by_hand, seconds=1)


def test_scripts_refuse_half_of_the_flags_and_no_cluster(tmp_path):
    workdir = ("--workdir", tmp_path / "run")
    assert "give all three" in error_of("train.py", *QUICKSTART, *workdir, "--process_id", 1)
    assert "finds no cluster" in error_of("train.py", *QUICKSTART, *workdir, "--distributed")
    assert "give all three" in error_of("evaluate.py", "--checkpoint", tmp_path, "--num_processes", 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("process_id", [0, 1])
def test_others_who_do_not_come(process_id, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = ("--coordinator_address", address, "--num_processes", 2, "--process_id", process_id, "--join_seconds", 2)
    line = error_of("train.py", *QUICKSTART, "--workdir", tmp_path / "run", *cluster)
    assert f"did not find each other at {address} (not all were there within 2 seconds)" in line
    assert not (tmp_path / "run").exists()


def test_one_process_alone_agrees_with_itself():
    assert distributed.is_first()
    with pytest.raises(UserError, match="mine"), distributed.agreed():
        raise UserError("mine")
    with distributed.agreed():
        pass


class Store:
    """JAX's store of keys, as a client sees it."""

    def __init__(self):
        self.values, self.is_there = {}, True

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        if not self.is_there:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE")
        self.values[key] = value

    def key_value_try_get(self, key):
        if not self.is_there or key not in self.values:
            raise jax.errors.JaxRuntimeError("NOT_FOUND")
        return self.values[key]

    def key_value_dir_get(self, prefix):
        return [entry for entry in self.values.items() if entry[0].startswith(prefix)]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(distributed.time, "monotonic", lambda: now[0])
    return now


def test_a_process_that_no_longer_beats_is_dead_and_one_that_has_left_is_not(clock, monkeypatch):
    store, pulses = Store(), {}
    for number in range(3):
        pulses[number] = distributed._Pulse(store)

    def beat(number):
        monkeypatch.setattr(jax, "process_index", lambda: number)
        return pulses[number].message()

    assert [beat(number) for number in (0, 1, 2)] == [None] * 3
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    pulses[1].leave()
    assert beat(0) is None
    clock[0] = distributed.SILENT_SECONDS - 1
    assert beat(2) is None and beat(0) is None
    clock[0] = 2 * distributed.SILENT_SECONDS - 2
    assert beat(0) is None, "process 2 has beaten within that time, and process 1 has ended well"
    clock[0] = 3 * distributed.SILENT_SECONDS
    told = beat(0)
    assert told.startswith("process 2 (number ") and "goes on from the last checkpoint" in told
    assert beat(1) == told, "the others read what process 0 has found"


def test_where_the_store_is_gone_process_0_is(clock):
    store = Store()
    pulse = distributed._Pulse(store)
    assert pulse.message() is None
    store.is_there = False
    clock[0] = distributed.SILENT_SECONDS
    assert pulse.message() is None
    clock[0] += 1
    assert pulse.message().startswith("process 0 has shown no sign of life")
    pulse.leave()  # has nobody to tell
