"""What pyproject.toml cannot say: configs/ goes into the package as effnet_jax/configs.

At the top of an installation, `configs` would be in the way of other projects' folders of that name;
effnet_jax/config_files.py makes it importable where it is. All else stands in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["effnet_jax*"]), "effnet_jax.configs"],
    package_dir={"effnet_jax.configs": "configs"},
)
