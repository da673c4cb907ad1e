"""The grid, its constraints, and a dry run that starts at once."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from configs import default, grid_search, grid_search_cpu
from effnet_jax.architecture import scaling
from effnet_jax.errors import UserError
from effnet_jax.search.candidates import PAPER, candidates, scaled
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[2]


def config(**search):
    made = grid_search.get_config()
    made.search.update(search)
    return made


def found_for(made):
    return candidates(made.search, made.train)


def test_the_papers_coefficients_are_among_the_candidates():
    found = {candidate.coefficients: candidate for candidate in found_for(config())}
    assert found[PAPER].product == pytest.approx(1.2 * 1.1**2 * 1.15**2) == pytest.approx(1.92, abs=1e-3)
    assert found[PAPER].name == "a1.2_b1.1_g1.15"


def test_the_formula_picks_every_grid_point_within_the_tolerance_and_no_other():
    axis = range(100, 250, 5)  # in hundredths, so that the bounds 1.9 and 2.1 are met exactly
    brute = {
        (a / 100, b / 100, g / 100)
        for a in axis for b in axis for g in axis if abs(a * b**2 * g**2 - 2 * 10**10) <= 10**9
    }  # fmt: skip
    assert {c.coefficients for c in found_for(config())} == brute
    assert len(brute) > 50


def test_the_macs_constraint_goes_by_what_rounding_leaves():
    made = config(constraint="macs", step=0.1)
    baseline = scaling.architecture(1, 1, 1, made.train.model.stage_strides).count(32, 100).macs
    axis = [round(1 + 0.1 * i, 1) for i in range(20)]
    brute = {}
    for a in axis:
        for b in axis[:10]:
            for g in axis[:10]:
                arch = scaling.architecture(b, a, 1, made.train.model.stage_strides)
                brute[a, b, g] = arch.count(round(32 * g), 100).macs / baseline
    within = {point for point, ratio in brute.items() if abs(ratio - 2) <= 0.1}
    found = {c.coefficients: c for c in found_for(made)}
    assert found.keys() == within and len(within) >= 4
    for point, candidate in found.items():
        assert candidate.macs_ratio == pytest.approx(brute[point])
    assert found.keys() != {c.coefficients for c in found_for(config(step=0.1))}


def test_phi_is_an_exponent():
    made = config(phi=2.0)
    paper = next(c for c in found_for(made) if c.coefficients == PAPER)
    assert paper.depth_multiplier == pytest.approx(1.44) and paper.width_multiplier == pytest.approx(1.21)
    assert paper.resolution == round(32 * 1.15**2)


def test_a_candidate_scales_the_config_of_its_run():
    made = grid_search_cpu.get_config()
    candidate = next(c for c in found_for(made) if c.coefficients == PAPER)
    run = scaled(made.train, candidate)
    assert (run.model.depth_multiplier, run.model.width_multiplier) == pytest.approx((0.6 * 1.2, 0.35 * 1.1))
    assert run.dataset.resolution == round(16 * 1.15)
    assert made.train.model.width_multiplier == 0.35, "the baseline's config stays as it is"


def test_points_given_one_by_one_are_the_candidates():
    points = ((1.2, 1.1, 1.15), (2.0, 1.0, 1.0))
    assert [c.coefficients for c in found_for(config(points=points))] == list(points), "in their order"
    with pytest.raises(UserError, match=r"\(1.5, 1.5, 1.0\) gives 3.375 where the constraint 'formula' asks for 2"):
        found_for(config(points=((1.5, 1.5, 1.0),)))


def test_minimum_bounds_the_grid():
    found = found_for(config(minimum=(1.1, 1.05, 1.1)))
    assert found and all(c.alpha >= 1.1 and c.beta >= 1.05 and c.gamma >= 1.1 for c in found)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"step": 0.5, "tolerance": 0.01, "minimum": (1.5, 1.5, 1.5)}, "no grid point .* raise config.search.tol"),
        ({"minimum": (1.0, 0.9, 1.0)}, "each at least 1"),
        ({"step": 0.0}, "step must be positive"),
        ({"step": 1e-9}, "too fine"),
        ({"constraint": "flops"}, "one of formula, macs, not 'flops'"),
        ({"tolerance": -0.1}, "tolerance"),
    ],
)
def test_refused(search, message):
    with pytest.raises(UserError, match=message):
        found_for(config(**search))


def run(*arguments):
    return forked.run("scripts/grid_search.py", "--dry_run", *arguments)


def test_the_dry_run():
    full = "--config=configs/grid_search.py"
    listed = json.loads(run(full, "--json").stdout)
    assert listed[0].keys() >= {"alpha", "beta", "gamma", "product", "macs", "parameters"}
    assert PAPER in [(row["alpha"], row["beta"], row["gamma"]) for row in listed]
    assert "(the paper's)" in run(full).stdout
    refused = run(full, "--config.search.tolerance=0", "--config.search.step=0.3")
    assert refused.returncode == 2 and refused.stderr.startswith("error: no grid point")


def test_without_an_accelerator_the_command_as_it_is_takes_the_small_search_and_says_so(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = run()
    assert len(done.stdout.splitlines()) == 1 + len(found_for(grid_search_cpu.get_config()))
    assert "configs/grid_search_cpu.py" in done.stderr and "no accelerator" in done.stderr
    assert not run("--config=configs/grid_search_cpu.py").stderr, "who names it knows"


def test_the_dry_run_loads_nothing_heavy_and_counts_fast():
    code = (
        "import sys; from configs import grid_search as g; from effnet_jax.search import candidates as c; "
        "m = g.get_config(); c.as_table(c.candidates(m.search, m.train)); print('jax' in sys.modules, "
        "'optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]
    started = time.process_time()
    found_for(config())
    assert time.process_time() - started < 0.5


def test_the_searched_configs_are_whole():
    assert grid_search_cpu.get_config().train.keys() == default.get_config().keys()
    found = found_for(grid_search_cpu.get_config())
    assert len(found) >= 8 and PAPER in {c.coefficients for c in found}
    alone = {tuple(x > 1 for x in c.coefficients) for c in found if sum(x > 1 for x in c.coefficients) == 1}
    assert len(alone) == 3, "depth, width and resolution by themselves"
    assert len({(c.macs, c.parameters) for c in found}) == len(found), "no two are the same network"
