"""Joining other processes: what goes wrong is said in one line. What they do together: training/test_processes.py."""

import socket

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
