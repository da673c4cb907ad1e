"""The models of the studies and their matched costs."""

import dataclasses
import functools
import re

import pytest

from configs import (
    study_axes,
    study_baselines_cpu,
    study_family,
    study_family_cpu,
    study_single_axis,
    study_single_axis_cpu,
)  # fmt: skip
from effnet_jax.architecture import catalog, scaling
from effnet_jax.errors import UserError
from effnet_jax.report import published
from effnet_jax.study import scaling_study
from effnet_jax.study.members import as_table, members, scaled
from tests import forked


def found_for(config):
    return {member.name: member for member in members(config.study, config.train)}


@functools.cache
def found_in(module):
    """Those of a config as it is; matching costs takes a second."""
    return found_for(module.get_config())


def test_the_single_axes_are_the_papers_and_have_twins_of_equal_cost():
    found = found_in(study_single_axis)
    assert list(found)[:5] == ["baseline", "depth", "width", "resolution", "compound"]
    for name, scales in published.SINGLE_AXIS_SCALES.items():
        assert (found[name].depth, found[name].width, found[name].resolution) == scales and found[name].axis == name
    target = found["compound"].macs
    for axis in ("depth", "width", "resolution"):
        twin = found[f"{axis}_matched"]
        assert abs(twin.macs / target - 1) <= 0.03 and found[axis].macs < 0.9 * target
        assert twin.axis == axis and twin.matched_to == "compound"
        assert [getattr(twin, other) for other in ("depth", "width", "resolution") if other != axis] == [1, 1]


def test_the_costs_are_those_of_the_models_that_are_trained():
    for module in (study_single_axis, study_family_cpu):
        config = module.get_config()
        for member in found_in(module).values():
            run = scaled(config.train, member)
            model = run.model
            arch = catalog.architecture(
                model.name, model.width_multiplier, model.depth_multiplier, model.stem_stride, model.stage_strides
            )
            assert arch.count(run.dataset.resolution, model.num_classes).macs == member.macs
            assert arch.final_map(run.dataset.resolution) > 1


def test_the_family_keeps_the_ratios_of_the_published_resolutions():
    found = found_in(study_family)
    assert len(found) == 11 and {"resnet50", "resnet152", "densenet201"} < found.keys()
    for index in range(8):
        assert found[f"b{index}"].pixels == round(32 * scaling.FAMILY[f"efficientnet_b{index}"].resolution / 224)
    assert found["resnet152"].pixels == 32
    assert scaled(study_family.get_config().train, found["resnet50"]).model.stage_strides is None


def test_the_axes_are_those_of_figure_3():
    found = found_in(study_axes).values()
    for axis, values in (
        ("width", (1.4, 1.8, 2.6, 3.8, 5)), ("depth", (2, 3, 4, 6, 8)), ("resolution", (1.3, 1.5, 1.7, 1.9, 2.2, 2.5)),
    ):  # fmt: skip
        assert tuple(getattr(member, axis) for member in found if member.axis == axis) == values


def test_the_small_studies_compare_at_equal_cost():
    config = study_single_axis_cpu.get_config()
    found = found_in(study_single_axis_cpu)
    for name in ("depth_matched", "width_matched", "resolution_matched", "compound_matched"):
        assert abs(found[name].macs / found["baseline"].macs / 4 - 1) <= 0.05, name
        assert found[name].seeds == config.study.seeds and len(found[name].seeds) == 3
    for name in ("depth", "width", "compound"):
        assert (found[name].depth, found[name].width, found[name].resolution) == published.SINGLE_AXIS_SCALES[name]
        assert found[name].seeds == (0,)
    family = found_in(study_family_cpu)
    for name, member in family.items():
        factor = 2 ** int(name[3]) if name.startswith("phi") else int(re.search(r"_(\d)x", name)[1])
        assert abs(member.macs / family["phi0"].macs / factor - 1) <= 0.05, name
    assert {m.model for m in family.values()} == {"efficientnet_b0", "resnet50", "resnet152", "densenet201"}
    controls = [name for name in family if name.endswith("_rate")]
    assert len(controls) == len(study_family_cpu.CONTROLS)
    for name in controls:
        of, change, _ = name.rsplit("_", 2)
        rate = family[of].learning_rate * {"higher": 4, "lower": 1 / 4}[change]
        assert family[name] == dataclasses.replace(family[of], name=name, learning_rate=rate, seeds=(0,))


@pytest.mark.parametrize(
    ("ours", "theirs"), [("phi0", "baseline"), ("phi2", "resolution_matched"), ("phi2_paper", "compound_matched")]
)
def test_the_small_studies_share_runs(ours, theirs):
    runs = [
        scaled(module.get_config().train, found_in(module)[name]).to_dict()
        for module, name in ((study_family_cpu, ours), (study_single_axis_cpu, theirs))
    ]
    assert runs[0] == runs[1]


def test_a_baselines_multipliers_are_on_its_published_size_and_its_rate_on_the_studys():
    config = study_baselines_cpu.get_config()
    found = found_in(study_baselines_cpu)
    run = scaled(config.train, found["resnet50_shallow_24px_double"])
    assert (run.model.depth_multiplier, run.dataset.resolution) == (0.3, 24)
    assert run.optimizer.learning_rate == pytest.approx(2.0 * config.train.optimizer.learning_rate)
    networks = {name.split("_")[0]: member.model for name, member in found.items()}
    assert networks == {
        "resnet50": "resnet50", "resnet152": "resnet152", "densenet201": "densenet201", "phi2": "efficientnet_b0"
    }  # fmt: skip


def test_a_member_with_fewer_seeds_has_fewer_runs():
    config = study_single_axis_cpu.get_config()
    names = [task.name for task in scaling_study.tasks(config, list(found_in(study_single_axis_cpu).values()))]
    assert names.count("width_seed0") == 1 and "width_seed1" not in names
    assert {"width_matched_seed0", "width_matched_seed1", "width_matched_seed2"} < set(names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"match_tolerance": 1e-6}, "no depth gives config.study.members.depth_matched the MACs of compound"),
        ({"match_to": "nothing"}, "match_to='nothing' must name a member"),
        ({"match_to": "width_matched"}, "must name a member that matches no other"),
        ({"members": {"width": {"seeds": 4}}}, "members.width.seeds is from 0, all, to 3, got 4"),
        ({"members": {"width": {"width": -1.0}}}, "members.width: multipliers must be positive"),
        ({"members": {"width_matched": {"match": "height"}}}, "width_matched.match is one of depth, width, resolution"),
    ],
)
def test_refused(change, message):
    config = study_single_axis.get_config()
    config.study.update(change)
    with pytest.raises(UserError, match=message):
        found_for(config)


def test_the_columns_of_the_table_stand_below_each_other():
    found = list(found_in(study_single_axis).values())
    found[0] = dataclasses.replace(found[0], name="a_member_of_a_long_name_indeed")
    first, *rows = as_table(found).splitlines()
    assert {row.index("efficientnet_b0") for row in rows} == {first.index("model")}


def test_the_table_says_what_a_member_was_matched_to_and_a_rate_of_its_own():
    rows = {row.split()[0]: row for row in as_table(list(found_in(study_family_cpu).values())).splitlines()}
    assert rows["phi0"].endswith("0.458")
    assert rows["phi1"].endswith("  (MACs of 2 baselines)")
    assert rows["densenet201_4x"].endswith("  (MACs of 4 baselines, 8 times the learning rate)")


def test_the_dry_run_trains_nothing():
    done = forked.run("scripts/scaling_study.py", "--dry_run", "--config", "configs/study_family.py")
    assert done.returncode == 0 and "densenet201" in done.stdout
