"""The command: exit codes, the table on stdout, files where it says."""

import numpy as np
from PIL import Image

from tests import forked


def run(*arguments):
    return forked.run("scripts/prepare_data.py", *arguments)


def test_the_command(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"set/{name}/{index}.png")
    name, output = f"folder:{tmp_path / 'set'}", f"--output={tmp_path / 'out'}"
    done = run(name, "--verify", output)
    assert done.returncode == 0, done.stderr
    assert "nothing is wrong" in done.stdout
    assert (tmp_path / "out/verify.json").is_file() and (tmp_path / "out/samples.png").is_file()
    (tmp_path / "set/a/0.png").write_text("no image")
    done = run(name, "--verify", output)
    assert done.returncode == 1 and "- train: 1 unreadable" in done.stdout
    assert f"- {tmp_path}/set/a/0.png: not an image" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("train"))
    assert row[1:4] == ["5", "2-3", "1"] and 0.3 < float(row[7]) < 0.7  # a mean: of the others


def test_refusals(tmp_path):
    for arguments, message in (((), "name one dataset"), ((f"folder:{tmp_path}",), "no class folder")):
        done = run(*arguments)
        assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
