"""Packs CIFAR-100 for a bare GPU machine, and unpacks it there.

    python scripts/gpu_pack.py pack gpu_pack

`make gpu-pack` also gathers the wheels that such a machine lacks; scripts/gpu_jobs.sh runs there.
"""

import pathlib

from absl import flags

from effnet_jax import cli
from effnet_jax.errors import UserError

DATASET = flags.DEFINE_string("dataset", "cifar100", "NAME: Data set to pack; a small one, held decoded.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "FOLDER: Prepared TFDS data. Default: TFDS_DATA_DIR, else ~/tensorflow_datasets."
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 2 or arguments[0] not in ("pack", "unpack"):
        raise UserError("give pack or unpack, and a folder: python scripts/gpu_pack.py pack gpu_pack")
    from effnet_jax.data import datasets
    from effnet_jax.data.disk import cache, pack
    from effnet_jax.process import environment

    folder = pathlib.Path(arguments[1])
    if arguments[0] == "unpack":
        print(pack.unpack(sorted(folder.glob("part*/part*.npz")), cache.root("")))
        return
    datasets.load(DATASET.value, data_dir=DATA_DIR.value)  # which decodes it into the cache where it is not there yet
    for path in pack.pack(cache.folders(cache.root(""), DATASET.value)[0], folder):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    (folder / "commit.txt").write_text(f"{environment.commit() or 'unknown'}\n")


PROGRAM = cli.Program(main, rest="pack|unpack FOLDER")
