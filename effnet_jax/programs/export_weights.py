"""Exports weights, for timm or as one file of our own.

    python scripts/export_weights.py runs/b0_cifar100 --to timm --output model.safetensors

Prints the Python that makes the model in timm, then the path. `--to effnet_jax` makes one small file, kernels in
bfloat16, that takes the place of a checkpoint wherever one is asked for.
"""

import pathlib

from absl import flags

from effnet_jax import cli

CHECKPOINT = cli.checkpoint()
TO = flags.DEFINE_enum("to", "timm", ["timm", "effnet_jax"], "For which implementation.")
OUTPUT = flags.DEFINE_string("output", None, "FILE: File to write, .safetensors.")
WEIGHTS = cli.weights()


def main(arguments: list[str]) -> None:
    cli.refuse(arguments)
    from effnet_jax.export import timm_weights
    from effnet_jax.training import checkpoint, weights_file

    loaded = checkpoint.load(CHECKPOINT.value, WEIGHTS.value)
    if TO.value == "effnet_jax":
        weights_file.write(pathlib.Path(OUTPUT.value), loaded)
        print(f"net = effnet_jax.load({OUTPUT.value!r})", OUTPUT.value, sep="\n")
        return
    exported = timm_weights.to_timm(loaded)
    timm_weights.write_safetensors(pathlib.Path(OUTPUT.value), exported)
    load = f"model.load_state_dict(safetensors.torch.load_file({OUTPUT.value!r}))"
    print(*exported.instructions, load, OUTPUT.value, sep="\n")


PROGRAM = cli.Program(main, needed=(CHECKPOINT, OUTPUT), first=CHECKPOINT)
