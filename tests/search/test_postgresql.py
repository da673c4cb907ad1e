"""Workers of several machines on one PostgreSQL study.

A server of the test's own is started where one is installed: `initdb` into a temporary folder, then `pg_ctl start`
on a free port of this machine; as root both run as the user "postgres", since the server refuses root.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from tests.search import studies
from tests.search.test_runner import start_worker, starts


class Server:
    def __init__(self, folder: str):
        self._folder = folder
        self._as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        if self._as_owner:
            shutil.chown(folder, "postgres")
        self._call("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust")
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._call("pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-o", options, "-w", "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def _call(self, *command: str) -> None:
        subprocess.run(
            [*self._as_owner, *command], check=True, stdout=subprocess.DEVNULL, cwd=self._folder, timeout=120
        )


@pytest.fixture
def server():
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("no PostgreSQL server is installed here (initdb and pg_ctl on the PATH)")
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # where the user postgres may go
        made = Server(folder)
        made.start()
        yield made
        made.stop()


def test_two_machines_share_a_study_and_outlast_a_restart_of_the_server(server, tmp_path: pathlib.Path):
    folders = [tmp_path / "one", tmp_path / "two"]
    workers = [start_worker(folder, seconds=2.0, url=server.url) for folder in folders]
    while not any(starts(folder) for folder in folders):
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    server.stop()
    server.start()
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    counts = {name: sum(len(starts(folder).get(name, [])) for folder in folders) for name in studies.NAMES}
    assert counts == dict.fromkeys(studies.NAMES, 1), "each task once, on one of the machines"
