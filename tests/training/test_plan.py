import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from effnet_jax.errors import UserError
from effnet_jax.training.plan import Plan

steps = st.integers(1, 30)


@given(
    log=steps,
    evaluate=steps,
    checkpoint=steps,
    epoch=steps,
    chunk=st.integers(1, 12),
    total=st.integers(1, 90),
)
def test_dispatches_stop_at_every_event_and_end_at_the_total(log, evaluate, checkpoint, epoch, chunk, total):
    plan = Plan(
        batch_size=1,
        steps_per_epoch=epoch,
        num_train_steps=total,
        log_every=log,
        eval_every=evaluate,
        checkpoint_every=checkpoint,
        steps_per_dispatch=chunk,
    )
    visited, step = set(), 0
    while step < total:
        updates = plan.dispatch(step)
        assert 1 <= updates <= chunk
        assert step // epoch == (step + updates - 1) // epoch, "a dispatch crosses an epoch"
        step += updates
        visited.add(step)
    assert step == total
    for every in (log, evaluate, checkpoint):
        assert set(range(every, total + 1, every)) <= visited
        assert plan.is_due(every, total)


def config_of(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_steps_win_over_epochs_and_periods_default_to_an_epoch():
    plan = Plan.from_config(config_of(batch_size=100, num_epochs=3), 1050, 1)
    assert (plan.steps_per_epoch, plan.num_train_steps, plan.eval_every, plan.checkpoint_every) == (
        10,
        30,
        10,
        10,
    )
    assert Plan.from_config(config_of(batch_size=100, num_train_steps=7), 1050, 1).num_train_steps == 7


@pytest.mark.parametrize(
    ("changes", "devices", "message"),
    [
        ({"batch_size": 2000}, 1, r"batch_size \(2000\) is larger than the training split \(1050 images\)"),
        ({"batch_size": 100}, 8, "shared evenly by 8 devices"),
        ({"batch_size": 64, "optimizer.accumulation_steps": 16}, 8, "4 examples at a time"),
        ({"batch_size": 64, "eval_batch_size": 100}, 8, "eval_batch_size"),
    ],
)
def test_batches_that_do_not_fit_are_refused(changes, devices, message):
    with pytest.raises(UserError, match=message):
        Plan.from_config(config_of(**changes), 1050, devices)
