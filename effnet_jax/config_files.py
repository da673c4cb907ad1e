"""Where the configs lie, in a checkout and in an installed package, and how one is named. Imports no JAX."""

import importlib.util
import pathlib
import runpy
import sys

import ml_collections

from effnet_jax import config
from effnet_jax.errors import UserError, did_you_mean

PACKAGE = "configs"
# Names of 0.1 that are arguments of another file now.
REPLACED = {
    **{f"b{number}_cifar100": f"cifar100:efficientnet_b{number}" for number in range(1, 8)},
    **{f"{name}_cifar100": f"cifar100:{name}" for name in ("resnet50", "resnet152", "densenet201")},
    **{f"b0_cifar10_{axis}": f"b0_cifar10:{axis}" for axis in ("depth", "width", "resolution", "compound")},
}
_HERE = pathlib.Path(__file__).resolve().parent


def folder() -> pathlib.Path:
    """Returns the folder of the configs: of the checkout, or inside the installed package, where setup.py puts it."""
    checkout = _HERE.parent / PACKAGE
    return checkout if (checkout / "default.py").is_file() else _HERE / PACKAGE


def names() -> list[str]:
    """Returns the names of the configs that come with the package."""
    return sorted(path.stem for path in folder().glob("*.py") if path.stem != "__init__")


def find(wanted: str) -> str:
    """Returns the path of a config: of the file `wanted`, else of the one of that name that comes with the package.

    What is there under that path goes before a name. Both may carry an argument, as in `cifar100.py:efficientnet_b8`.

    Raises:
      UserError: there is neither, or the file is no Python.
    """
    path, colon, argument = wanted.partition(":")
    if not pathlib.Path(path).is_file():
        name = pathlib.Path(path.removesuffix(".py"))
        if name.name in REPLACED:
            file, _, argument = REPLACED[name.name].partition(":")
            print(f"{name.name} is now {shown(file)}:{argument}; the old name will go", file=sys.stderr)
            path, colon, name = file, ":", pathlib.Path(file)
        if name.name not in names() or str(name.parent) not in (".", PACKAGE):
            near = did_you_mean(name.name, names())
            raise UserError(f"there is no config file {path}{near}; give a file, or a name such as b0_cifar100")
        path = str(folder() / f"{name.name}.py")
    elif pathlib.Path(path).suffix != ".py":
        raise UserError(f"{path} is no config: that is a Python file which defines get_config()")
    return path + colon + argument


def shown(name: str) -> str:
    """Returns how help and messages name the file of a config: as the README does, or where the installed one is."""
    return f"{PACKAGE}/{name}.py" if folder().parent == _HERE.parent else str(folder() / f"{name}.py")


def keys(path: str) -> list[str]:
    """Returns the keys of the config at a path as `find` returns it, "model.name" and so on.

    Raises:
      UserError: the file is no config.
    """
    return list(config.flatten(_config(path)))


def optional_keys(path: str) -> list[str]:
    """Returns the keys of a config that may be unset: those that it, or `configs/default.py`, leaves unset.

    Raises:
      UserError: the file is no config.
    """
    defaults = {key for key, value in config.flatten(_config(find("default"))).items() if value is None}
    found = config.flatten(_config(path))
    return [key for key, value in found.items() if value is None or key.removeprefix("train.") in defaults]


def get_config(name: str) -> ml_collections.ConfigDict:
    """Returns the config of a name or a file, to be changed and given to `effnet_jax.train`.

        config = effnet_jax.get_config("b0_cifar100")
        config.num_epochs = 20

    Args:
      name: as `--config` takes it: "b0_cifar100", "cifar100:efficientnet_b4", "my/config.py".

    Raises:
      UserError: there is no such config.
    """
    return _config(find(name))


def _config(path: str) -> ml_collections.ConfigDict:
    make_importable()
    file, *argument = path.split(":", 1)
    defined = runpy.run_path(file)
    if "get_config" not in defined:
        raise UserError(f"{file} is no config: it defines no get_config()")
    return defined["get_config"](*argument)


def make_importable() -> None:
    """Makes `from configs import default` mean the configs of this package, wherever the process was started.

    Config files say so to start from each other, and people's own ones may. In an installed package their folder is
    inside effnet_jax: a package called `configs` at the top would get in the way of others.
    """
    if PACKAGE in sys.modules:
        return
    place = folder()
    spec = importlib.util.spec_from_file_location(
        PACKAGE, place / "__init__.py", submodule_search_locations=[str(place)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
