"""Where the queue of a study is kept: a crowd of workers on SQLite, a full disk, network file systems, a journal."""

import os
import signal
import time

import pytest

from effnet_jax.search import storage
from tests import forked
from tests.search import studies
from tests.search.test_runner import EXPECTED, run, summary


def test_eight_workers_on_an_empty_folder_a_kill_and_a_full_disk(tmp_path, monkeypatch):
    code = f"from tests.search import studies; studies.crowd({str(tmp_path)!r}, 8, 0.5)"
    parent = forked.Process("-c", code, with_jax=True)
    begun = tmp_path / "runs/a_seed0/starts"
    while not (begun.exists() and begun.read_text().strip()):
        assert parent.poll() is None
        time.sleep(0.01)
    os.kill(int(begun.read_text().split()[0]), signal.SIGKILL)
    (tmp_path / studies.FULL).touch()
    while "database or disk is full" not in parent.said():
        assert parent.poll() is None
        time.sleep(0.01)
    (tmp_path / studies.FULL).unlink()
    out, _ = parent.communicate()
    assert out.splitlines()[-1].split() == ["-9", *"0" * 7]
    trained = {name: len((tmp_path / f"runs/{name}_seed0/starts").read_text().split()) for name in studies.CROWD}
    assert trained == dict.fromkeys(studies.CROWD, 1) | {"a": 2}, "twice only where a worker was killed"
    complete = [(f"{name}_seed0", "complete", studies.accuracy(name), "") for name in studies.CROWD]
    assert summary(run(tmp_path, monkeypatch, train=pytest.fail, names=studies.CROWD)) == complete


def test_optunas_journal_in_place_of_a_database(tmp_path, monkeypatch):
    url = f"journal:{tmp_path}/queue/study.log"
    assert summary(run(tmp_path, monkeypatch, names=("a", "b"), storage_url=url)) == EXPECTED[:2]
    assert summary(run(tmp_path, monkeypatch, pytest.fail, names=("a", "b"), storage_url=url)) == EXPECTED[:2]
    assert not (tmp_path / "study.db").exists()


def test_sqlite_on_a_network_file_system_is_told(tmp_path, monkeypatch, capsys):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/home {tmp_path}/home nfs4 rw 0 0\n")
    monkeypatch.setattr(storage, "_MOUNTS", mounts)
    (tmp_path / "home").mkdir()
    for folder in (tmp_path, tmp_path / "home"):
        storage.open_storage("", folder)
    (line,) = capsys.readouterr().out.splitlines()
    assert "(nfs4)" in line and "--storage=postgresql://host/name or --storage=journal:FILE" in line
