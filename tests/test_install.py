"""The wheel: what is in it, and two steps of training from it where there is no checkout. Needs no network."""

import email
import json
import os
import pathlib
import re
import shutil
import site
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements-cpu.txt")
FOLDERS = ("effnet_jax", "configs", "requirements")
EXTRAS = ("cuda12", "tpu", "onnx", "hub", "dev")


def run(*command, cwd, **variables):
    # Nothing of this checkout may be found by chance.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: setuptools writes beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", built, copy, cwd=built)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel; all other packages are those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Through `addsitedir`, so that what these packages name in .pth files of their own is found as well.
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "of_the_tests.pth").write_text("\n".join(lines))
    python = folder / "bin/python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "bin"


def requirements(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return sorted(re.sub(r"[\s;'\"]", "", line) for line in lines if line)


def test_the_wheel_holds_the_package_with_configs_and_weights_and_nothing_beside(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"effnet_jax"}
    configs = {path.name for path in (ROOT / "configs").glob("*.py")}
    assert {pathlib.Path(name).name for name in names if name.startswith("effnet_jax/configs/")} == configs
    ours = [path for path in (ROOT / "effnet_jax").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in ours} <= set(names)


def test_its_requirements_are_those_of_the_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    said = [re.sub(r"[\s'\"()]", "", line) for line in metadata.get_all("Requires-Dist")]
    assert sorted(map(specified, said), key=str) == sorted(
        [
            *(specified(line) for line in requirements("requirements-cpu.txt")),
            *(
                specified(f"{line};extra=={extra}")
                for extra in EXTRAS
                for line in requirements(f"requirements/{extra}.txt")
            ),
        ],
        key=str,
    )
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(EXTRAS)


def specified(line):
    """A requirement as its name, its versions in any order, and its extra."""
    line, _, extra = line.partition(";")
    name, versions = re.fullmatch(r"([A-Za-z0-9_.\[\]-]+?)((?:[<>=!~]=?.*)?)", line).groups()
    return re.sub("[-_.]+", "-", name.lower()), tuple(sorted(versions.split(","))), extra


def test_the_requirements_for_gpus_are_jax_with_its_plugins_and_the_rest():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert [line for line in lines if line] == ["-r requirements-cpu.txt", "-r requirements/cuda12.txt"]
    assert requirements("requirements/cuda12.txt") == ["jax[cuda12]"]


def test_two_steps_from_the_wheel_outside_the_checkout(installed, tmp_path):
    overrides = {"num_train_steps": 2, "batch_size": 16, "log_every_steps": 2, "model.width_multiplier": 0.1}
    command = (installed / "effnet-jax", "train", "--config", "quickstart")
    options = [f"--config.{key}={value}" for key, value in overrides.items()]
    said = run(*command, *options, cwd=tmp_path, JAX_NUM_CPU_DEVICES="1", EFFNET_JAX_CACHE=str(tmp_path / "cache"))
    assert "results   runs/quickstart/results.json" in said
    results = json.loads((tmp_path / "runs/quickstart/results.json").read_text())
    assert results["steps"] == 2
    assert results["command"].startswith("effnet-jax train --config quickstart ")
    evaluated = run(
        installed / "python", "-m", "effnet_jax", "evaluate", "runs/quickstart", cwd=tmp_path, JAX_NUM_CPU_DEVICES="1"
    )
    assert json.loads(evaluated)["count"] == results["test"]["count"]
    where = run(installed / "python", "-c", "import effnet_jax; print(effnet_jax.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))


def test_configs_are_found_by_name_by_path_and_from_a_config_of_ones_own(installed, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from configs import study_family\nfrom configs.study_single_axis import member\n\n"
        "def get_config():\n    config = study_family.get_config()\n"
        "    config.study.members.mine = member('resnet50')\n"
        "    return config\n"
    )
    study = (installed / "effnet-jax", "scaling_study", "--dry_run")
    by_name, by_path, own = (
        run(*study, "--config", config, cwd=tmp_path)
        for config in ("study_family", "configs/study_family.py", "mine.py")
    )
    assert by_name == by_path and len(own.splitlines()) == len(by_name.splitlines()) + 1
    assert "b7" in by_name and "\nmine" in own


def test_its_help_is_that_of_the_scripts(installed, tmp_path):
    said = run(installed / "effnet-jax", "cam", "-h", cwd=tmp_path)
    assert "    effnet-jax cam --checkpoint runs/b0_cifar100" in said
    assert "  train  " in run(installed / "effnet-jax", "--help", cwd=tmp_path)
