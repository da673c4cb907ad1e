"""One axis against compound scaling (Table 7, Figure 8 of the paper) with B0 on CIFAR-100, for an accelerator.

python scripts/scaling_study.py --config configs/study_single_axis.py --dry_run     # the models
python scripts/scaling_study.py --config configs/study_single_axis.py

The paper's single-axis models cost 0.8 of its compound model when their multiply-adds are counted; each has a
twin here, scaled further along the same axis, that costs the same to 3 %. Stem and stage 2 keep the resolution,
so that B0 ends at a 4x4 map and the costs of all axes can meet. Every model is trained three times for 30 epochs.
"""

import ml_collections

from configs import b0_cifar100


def member(
    model: str = "efficientnet_b0",
    depth: float = 1.0,
    width: float = 1.0,
    resolution: float = 1.0,
    match: str = "",
    factor: float = 0.0,
    learning_rate: float = 1.0,
    seeds: int = 0,
) -> ml_collections.ConfigDict:
    """One model: multipliers on the baseline's run, and the axis along which to match MACs, if any.

    These are `factor` times the baseline's, or those of `study.match_to` where it is 0. `seeds` are the first so many
    of the study's; 0 are all.
    """
    return ml_collections.ConfigDict(
        {
            "model": model, "depth": depth, "width": width, "resolution": resolution, "match": match,
            "factor": factor, "learning_rate": learning_rate, "seeds": seeds,
        }
    )  # fmt: skip


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.study = study = ml_collections.ConfigDict()
    study.kind = "single_axis"  # what is drawn: "single_axis", "axes", "family" or "tuning"
    study.seeds = (0, 1, 2)
    study.match_to = "compound"  # the member whose MACs those with `match` are to have
    study.match_tolerance = 0.03  # as a share of these
    study.members = members = ml_collections.ConfigDict(sort_keys=False)
    members.baseline = member()
    members.depth = member(depth=4.0)
    members.width = member(width=2.0)
    members.resolution = member(resolution=2.0)
    members.compound = member(depth=1.4, width=1.2, resolution=1.3)
    members.depth_matched = member(match="depth")
    members.width_matched = member(match="width")
    members.resolution_matched = member(match="resolution")
    config.train = train = b0_cifar100.get_config()  # the baseline's run
    train.model.stage_strides = (1, 1, 2, 2, 1, 2, 1)
    return config
