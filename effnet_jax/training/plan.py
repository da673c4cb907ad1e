"""When things happen in a run: pure arithmetic on steps."""

import dataclasses

import ml_collections

from effnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """The schedule of a run; every figure counts optimiser updates.

    A step number says how many updates are done, so events happen "at" step N after the N-th update.
    """

    batch_size: int
    steps_per_epoch: int  # an epoch drops the remainder of a batch; shuffling makes it another one each time
    num_train_steps: int
    log_every: int
    eval_every: int
    checkpoint_every: int
    steps_per_dispatch: int

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict, train_count: int, device_count: int) -> "Plan":
        """Builds the plan for a training split of `train_count` examples.

        Raises:
          UserError: a batch larger than the split, or one that the devices cannot share evenly.
        """
        if config.batch_size > train_count:
            raise UserError(
                f"config.batch_size ({config.batch_size}) is larger than the training split ({train_count} images); "
                f"set --config.batch_size to at most that"
            )
        micro_batch = config.batch_size // config.optimizer.accumulation_steps
        for key, size in (("batch_size", micro_batch), ("eval_batch_size", config.eval_batch_size)):
            if size % device_count:
                raise UserError(
                    f"config.{key}: {size} examples at a time cannot be shared evenly by "
                    f"{device_count} devices; use a multiple"
                )
        steps_per_epoch = train_count // config.batch_size
        total = config.num_train_steps
        return cls(
            batch_size=config.batch_size,
            steps_per_epoch=steps_per_epoch,
            num_train_steps=config.num_epochs * steps_per_epoch if total is None else total,
            log_every=config.log_every_steps,
            eval_every=config.eval_every_steps or steps_per_epoch,
            checkpoint_every=config.checkpoint_every_steps or steps_per_epoch,
            steps_per_dispatch=config.steps_per_dispatch,
        )

    def is_due(self, every: int, step: int) -> bool:
        """Whether something that happens `every` steps, and at the end, happens at `step`."""
        return step % every == 0 or step == self.num_train_steps

    def dispatch(self, step: int) -> int:
        """Returns how many updates to run from `step` before the host has something to do."""
        periods = (self.log_every, self.eval_every, self.checkpoint_every, self.steps_per_epoch)
        ahead = [every - step % every for every in periods]
        return min(*ahead, self.steps_per_dispatch, self.num_train_steps - step)

    def epoch(self, step: int) -> float:
        """Passes over the training split done at `step`."""
        return step / self.steps_per_epoch
