"""Every file in configs/ says what it costs, and its run takes two steps on generated data.

A new file is found by itself. The ordinary test makes runs cheap and changes nothing else of them: a sliver of the
network, a small batch, few pixels. The slow one takes every run, and leaves network and pixels as they are.
"""

import dataclasses
import importlib
import json
import math
import pathlib
import re
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

import effnet_jax
from configs import b0_cifar10, cifar100, default, results, study_family
from effnet_jax import config, config_files
from effnet_jax.architecture import baselines, catalog, scaling
from effnet_jax.data import datasets
from effnet_jax.data.sets import folder_layout, registry
from effnet_jax.data.sets.splits import Dataset, Split
from effnet_jax.errors import UserError
from effnet_jax.models.registry import create_model
from effnet_jax.pretrained.variables import variables
from effnet_jax.process import xla_flags
from effnet_jax.report import published
from effnet_jax.report.runs import Run, read_run
from effnet_jax.study import reproduction
from effnet_jax.study.members import member, scaled
from effnet_jax.training import program, setup
from effnet_jax.training.optimizer import learning_rate_schedule
from effnet_jax.training.rates import learning_rate_factors
from tests.checkpoints import random_variables, write_checkpoint
from tests.short import train_on_one_device, two_blocks

FOLDER = pathlib.Path(default.__file__).parent
ROOT = pathlib.Path(__file__).resolve().parents[1]
# All but results.py, which names others of them and is no run.
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "results"))
SHARED = ("cifar100", "default")  # what others start from
# Arguments of files that make several runs.
ARGUMENTS = {
    "cifar100": [*(f"efficientnet_b{number}" for number in range(1, 8)), "resnet50", "resnet152", "densenet201"],
    "b0_cifar10": ["depth", "width", "resolution", "compound"],
}
WITH_ARGUMENTS = [f"{file}:{argument}" for file, arguments in ARGUMENTS.items() for argument in arguments]
NAMES = [*FILES, *WITH_ARGUMENTS]
BATCH = 8
SLIVER = 0.02  # of B0's width: eight channels everywhere, so that blocks fit whatever lies between them
MOST_PIXELS = 32
# Compiling is nearly all the time of the ordinary test. XLA's older emitters take half of what the newer
# ones do, where there still are some.
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0}


def module_of(name):
    return importlib.import_module(f"configs.{name.partition(':')[0]}")


def run_of(name):
    """The config of a run: of the baseline's where the file is a search or a study."""
    _, colon, argument = name.partition(":")
    found = module_of(name).get_config(*[argument] * bool(colon))
    return found.train if "train" in found else found


def distinct_runs():
    """A file for each different run; those of searches and studies are mostly those of other files."""
    found = {}
    for name in NAMES:
        if name != "default":  # its 32 pixels end at a 1x1 map, which is refused
            found.setdefault(json.dumps(config.as_json(run_of(name))), name)
    return list(found.values())


def distinct_slivers():
    """Of runs that differ in sizes and in numbers alone, one: as slivers they are the same program."""

    def kind(name):
        flat = config.flatten(run_of(name))
        flat["model.name"] = flat["model.name"].rstrip("0123456789")
        return {key: bool(value) if isinstance(value, int | float) else value for key, value in flat.items()}

    found = {}
    for name in distinct_runs():
        found.setdefault(repr(kind(name)), name)
    return list(found.values())


def count(run):
    model = run.model
    arch = catalog.architecture(
        model.name, model.width_multiplier, model.depth_multiplier, model.stem_stride, model.stage_strides
    )
    return arch.count(run.dataset.resolution, model.num_classes)


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_and_passes(name):
    config.check(run_of(name))
    assert module_of(name).__doc__


@pytest.mark.parametrize("name", [name for name in FILES if name not in SHARED])
def test_its_docstring_gives_the_command_and_for_a_run_cost_and_result(name):
    said = " ".join(module_of(name).__doc__.split())
    assert f"--config configs/{name}.py" in said
    if "model" not in module_of(name).get_config():
        return
    run = run_of(name)
    counts = count(run)
    cost = f"Cost: {counts.parameters:,} parameters, {counts.macs / 1e6:,.1f} M MACs an image at "
    assert cost + f"{run.dataset.resolution} px" in said
    assert re.search(r" Result: \w", said)
    duration = re.search(r"(\d+) epochs of ([\d,]+) images", said)
    if duration:
        images = registry.info(run.dataset.name).split_sizes["train"] - run.dataset.validation_examples
        assert duration.groups() == (str(run.num_epochs), f"{images:,}")


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_the_docstring_gives_the_cost_of_each_argument(name):
    run, (file, _, argument) = run_of(name), name.partition(":")
    counts = count(run)
    row = f"{counts.parameters:,} parameters {counts.macs / 1e6:,.1f} M MACs an image at {run.dataset.resolution} px,"
    said = " ".join(module_of(name).__doc__.split())
    assert f"{argument} {row}" in said
    assert f"--config configs/{file}.py" in said


@pytest.mark.parametrize(("old", "new"), config_files.REPLACED.items())
def test_an_old_name_still_does_and_says_its_new_one(old, new, capsys):
    assert config.flatten(effnet_jax.get_config(old)) == config.flatten(run_of(new))
    file, _, argument = new.partition(":")
    assert f"{old} is now configs/{file}.py:{argument}" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*(name for name, _ in results.get_config().runs), "small_cifar100"])
def test_its_docstring_gives_the_result_that_the_records_hold(name):
    said = " ".join(module_of(name).__doc__.split())
    records = {path.parent: read_run(path.parent) for path in (ROOT / "results").glob("*/runs/*/results.json")}
    runs = {record: run for record, run in records.items() if not changed_but_its_seed(run.config, name)}
    if not runs:
        assert "Result: not measured yet" in said
        return
    by_seed = {run.config["seed"]: run.accuracy("test") for run in runs.values()}  # studies may share a run
    mean = 100 * sum(by_seed.values()) / len(by_seed)
    seeds = {1: "one seed", 2: "two seeds", 3: "three seeds"}[len(by_seed)]
    studies = {record.parents[1].name for record in runs}
    assert any(f"Result: {mean:.1f} % of the test images ({seeds}; results/{study})" in said for study in studies)


@pytest.mark.parametrize("name", results.get_config().studies)
def test_the_docstring_of_a_search_or_study_gives_the_results_that_its_records_hold(name):
    said = " ".join(module_of(name).__doc__.split())
    study = next(item for item in reproduction.items(results.get_config(), ROOT / "results") if item.name == name)
    records = study.finished()
    if len(records) < len(study.tasks):
        assert "Some runs are missing yet" in said
        return
    split, given = re.search(rf"Result, of the (\w+) images \(results/{name}\): (.*)", said).groups()
    measured = {}  # by model, a figure a seed
    for run, record in records.items():
        measured.setdefault(run.rpartition("_seed")[0], []).append(100 * Run(run, {}, record, []).accuracy(split))
    means = {model: statistics.fmean(by_seed) for model, by_seed in measured.items()}
    shown = {
        model: (int(seeds), float(figure))
        for seeds, figures in re.findall(r"with (\d) seeds? ([^;]*)", given)
        for model, figure in re.findall(r"([\w.]+) ([\d.]+) %", figures)
    }
    assert shown == {model: (len(measured[model]), pytest.approx(means[model], abs=0.0501)) for model in shown}
    assert max(means, key=means.get) in shown and len(shown) > 1


@pytest.mark.parametrize("name", [name for name, _ in results.get_config().runs])
def test_the_records_of_a_recipe_are_of_its_config(name):
    records = [path.parent for path in (ROOT / "results/recipes/runs").glob(f"{name}_seed*/results.json")]
    assert records and not any(changed_but_its_seed(read_run(record).config, name) for record in records)


def changed_but_its_seed(stored, name):
    return [key for key in config.changed_keys(stored, run_of(name)) if not key.startswith("seed:")]


@pytest.mark.parametrize("name", distinct_runs())
def test_at_full_size_each_parameter_is_counted_and_has_one_learning_rate(name):
    run = run_of(name)
    model = create_model(**run.model.to_dict())
    assert model.architecture.final_map(run.dataset.resolution) > 1
    listed = variables(model.architecture, run.model.num_classes)
    parameters = {v.path.removeprefix("params/"): v.shape for v in listed if v.collection == "params"}
    assert sum(map(math.prod, parameters.values())) == count(run).parameters
    rates = learning_rate_factors(run.optimizer.learning_rate_factors, unflatten_dict(parameters, sep="/"))
    assert len(rates) == len(parameters)


@pytest.fixture
def generated(monkeypatch, tmp_path):
    """Noise of the right shape for every data set, random weights where a config starts from some, one device."""
    train_on_one_device(monkeypatch)
    monkeypatch.setattr(setup, "load_data", noise)
    return tmp_path / "weights"


def noise(run):
    if folder_layout.is_folder(run.dataset.name):
        side = run.dataset.image_size or run.dataset.resolution
        info = registry.DatasetInfo(
            run.dataset.name, run.model.num_classes, (side, side), {}, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        )
    else:
        info = registry.info(run.dataset.name)
        if info.image_size is None:  # streamed: tests/training/test_streamed_configs.py reads them as they are
            info = dataclasses.replace(info, image_size=(run.dataset.image_size or run.dataset.resolution,) * 2)
        assert run.model.num_classes == datasets.num_classes(run.dataset.name)
    images = np.random.default_rng(0).integers(0, 256, (2 * BATCH, *info.image_size, 3), dtype=np.uint8)
    split = Split(images, np.arange(len(images), dtype=np.int32) % info.num_classes)
    names = tuple(f"class {index}" for index in range(info.num_classes))
    return Dataset(info, names, dict.fromkeys(("train", "validation", "test"), split))


@pytest.fixture
def quick_to_compile(monkeypatch):
    """XLA's own convolutions, one operation for random bits, weights without an initialiser, no optimisation."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *operands, default, **_: default(*operands))
    made_up = lambda model, key, resolution: random_variables(model.architecture, model.num_classes)  # noqa: E731
    monkeypatch.setattr(program, "init_variables", lambda *arguments: jax.tree.map(jnp.asarray, made_up(*arguments)))
    options = {"jax_disable_most_optimizations": True, "jax_default_prng_impl": "unsafe_rbg"}
    before = {name: jax.config.values[name] for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def compile_once():
    """Compiles a program quickly, unless it has compiled an equal one: members of a family are alike as slivers."""
    programs = {}

    def compiled(lowered):
        text = lowered.as_text()
        if text not in programs:
            programs[text] = lowered.compile(compiler_options=xla_flags.known(QUICK))
        return programs[text]

    return compiled


def take_two_steps(name, run, weights, compiled):
    """Checks that the loss is finite and that the classifier learned."""
    run.update(batch_size=BATCH, eval_batch_size=BATCH, num_train_steps=2)
    if run.init_from or "--config.init_from=" in module_of(name).__doc__:
        keys = ("name", "width_multiplier", "depth_multiplier")
        write_checkpoint(weights, model={key: run.model[key] for key in keys})
        run.init_from = str(weights)
    built = setup.build(run)
    state = compiled(built.state_from.lower(built.kept))(built.kept)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == built.counts.parameters
    before = np.array(state.params["classifier"]["kernel"])
    arguments = built.feeds(0, None).at(0), 1
    steps = compiled(built.train_steps.lower(state, *arguments))
    for _ in range(2):
        state, _ = steps(state, *arguments)
    assert int(state.step) == 2 and int(state.metrics["first_bad_step"]) == -1
    assert int(state.metrics["count"]) == 2 * BATCH and np.isfinite(state.metrics["loss"])
    after = np.array(state.params["classifier"]["kernel"])
    assert np.isfinite(after).all() and (after != before).any()


@pytest.mark.parametrize("name", distinct_slivers())
def test_two_steps_of_a_sliver(name, generated, quick_to_compile, compile_once, monkeypatch):
    run = run_of(name)
    if run.model.name in scaling.FAMILY:
        run.model.width_multiplier = SLIVER / scaling.FAMILY[run.model.name].width_multiplier
    run.dataset.resolution = min(run.dataset.resolution, MOST_PIXELS)
    monkeypatch.setattr(scaling, "round_repeats", two_blocks)  # and two stages of a baseline:
    for table in (baselines.RESNET_BLOCKS, baselines.DENSENET_BLOCKS):
        for model in table:
            monkeypatch.setitem(table, model, (1, 1))
    take_two_steps(name, run, generated, compile_once)


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct_runs())
def test_two_steps_of_the_real_one(name, generated):
    take_two_steps(name, run_of(name), generated, lambda lowered: lowered.compile())


def test_the_models_on_cifar100_share_one_recipe_that_is_the_studys():
    recipe = config.flatten(cifar100.get_config())
    study = study_family.get_config()
    for name in set(study.study.members) - {"b0"}:  # b0_cifar100.py is tuned for a run of its own
        run = run_of(f"cifar100:{study.study.members[name].model}")
        different = {key for key, value in config.flatten(run).items() if value != recipe[key]}
        assert different <= {"model.name", "model.stage_strides", "dataset.resolution"}
        expected = scaled(study.train, member(name, study.study, study.train))
        assert config.as_json(run) == config.as_json(expected)


def test_the_variants_on_cifar10_are_those_of_table_7():
    recipe = config.flatten(b0_cifar10.get_config())
    for name, (depth, width, resolution) in published.SINGLE_AXIS_SCALES.items():
        run = config.flatten(run_of("b0_cifar10" if name == "baseline" else f"b0_cifar10:{name}"))
        assert (run["model.depth_multiplier"], run["model.width_multiplier"]) == (depth, width)
        assert run["dataset.resolution"] == round(32 * resolution)
        scales = ("model.depth_multiplier", "model.width_multiplier", "dataset.resolution")
        assert {key for key in recipe if run[key] != recipe[key]} <= set(scales)


def test_cifar10_has_the_official_schedule_at_ten_times_its_pace():
    ours, official = b0_cifar10.get_config(), default.get_config()
    rates = [
        learning_rate_schedule(run.optimizer, batch_size=256, steps_per_epoch=1000 * pace, num_train_steps=0)
        for run, pace in ((ours, 10), (official, 1))
    ]
    assert ours.num_epochs == 35 and ours.optimizer.name == "rmsprop"
    steps = np.linspace(0, 350_000, 997)
    np.testing.assert_allclose(*(rate(steps) for rate in rates), rtol=1e-5)


def test_a_config_by_name_is_what_its_file_gives():
    assert config.flatten(effnet_jax.get_config("b0_cifar100")) == config.flatten(run_of("b0_cifar100"))
    assert effnet_jax.get_config("cifar100:efficientnet_b4").model.name == "efficientnet_b4"
    with pytest.raises(UserError, match=r"there is no config file b0_cifar10O.*did you mean .*b0_cifar100"):
        effnet_jax.get_config("b0_cifar10O")
