"""Encoded splits streamed to the devices: worker processes decode and cut, Grain keeps the order.

Everything is random access up to the batch: the examples and the crops of batch n follow from the seed and n alone,
on any number of workers. A resumed run starts at its batch without reading those before.
"""

import contextlib
import dataclasses
import functools
import gc
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator

import grain
import grain.experimental
import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from effnet_jax.data.decode import crops
from effnet_jax.data.decode.encoded import Encoded, EncodedSplit, Reading
from effnet_jax.data.decode.images import UnreadableImageError
from effnet_jax.data.device import shared_memory
from effnet_jax.data.device.feeds import State
from effnet_jax.data.device.pipeline import StreamedBatch
from effnet_jax.data.disk import files
from effnet_jax.errors import UserError
from effnet_jax.process.sharding import batch_sharded

BATCHES_AHEAD = 2  # of each worker, and on the devices
MAX_DEATHS = 3  # of workers, after which it is no accident
_DEATH = re.compile(r"Worker process was terminated unexpectedly with exit code (-?\d+)")  # as Grain reports it

Example = dict[str, np.ndarray]  # "images" uint8 [S, S, 3], "labels" int32 [], "mask" bool []; batches likewise


class StreamedSource:
    """An encoded split; see `feeds.Source`."""

    def __init__(self, split: EncodedSplit, mesh: Mesh):
        self._split, self._mesh = split, mesh
        self.count = len(split)

    def feeds(self, key: jax.Array, batch_size: int, step: int, state: State | None) -> "StreamedFeeds":
        """See `feeds.Source`."""
        return StreamedFeeds(self._split, self._mesh, int(jax.random.bits(key)), batch_size, step, state)

    def windows(self, batch_size: int, limit: int | None = None) -> Iterator[StreamedBatch]:
        """See `feeds.Source`."""
        num_batches = len(range(0, self.count, batch_size)[:limit])
        examples = grain.MapDataset.source(_Padded(self._split, num_batches * batch_size))
        batches = _local_batches(examples, batch_size)
        num_workers = min(self._split.reading.num_workers, num_batches)
        _check_room(num_workers, batch_size, self._split.reading.evaluation_side)
        yield from _stream(batches, self._mesh, num_workers, goes_on_without=True)


class StreamedFeeds:
    """The batches of training; see `feeds.Feeds`."""

    def __init__(self, split: EncodedSplit, mesh: Mesh, seed: int, batch_size: int, step: int, state: State | None):
        self._next, self._seed, self._count, self._digest = step, seed, len(split), split.digest()
        if state is not None and state != self.state():
            raise UserError(
                f"the training images are not those that this run began with (it read {state}, now {self.state()}): "
                "bring them back, or start anew with --overwrite"
            )
        _check_room(split.reading.num_workers, batch_size, split.reading.training_side)
        batches = training_batches(split, seed, batch_size)
        self._batches = _stream(batches[step:], mesh, split.reading.num_workers)

    def at(self, step: int) -> StreamedBatch:
        """See `feeds.Feeds`.

        Raises:
          UserError: an image cannot be decoded, or workers die again and again.
        """
        if step != self._next:
            raise ValueError(f"step {step} was asked for after step {self._next - 1}")
        batch = next(self._batches)
        self._next += 1
        return batch

    def state(self) -> State:
        """See `feeds.Feeds`."""
        return {"step": self._next, "seed": self._seed, "images": self._count, "digest": self._digest}

    def close(self) -> None:
        """See `feeds.Feeds`."""
        self._batches.close()


def training_batches(split: EncodedSplit, seed: int, batch_size: int) -> grain.MapDataset:
    """Returns this process's share of the global batches of training, endlessly, by number.

    Each epoch visits the examples in an order of its own, save the remainder of a batch, and draws new crops.
    """
    num_used = len(split) // batch_size * batch_size
    examples = grain.MapDataset.source(split).seed(seed).shuffle()[:num_used]
    examples = examples.random_map(functools.partial(_training_example, split.reading))
    return _local_batches(examples, batch_size).repeat()


def _training_example(reading: Reading, encoded: Encoded, rng: np.random.Generator) -> Example:
    pixels = crops.random_crop(encoded.content, encoded.name, reading.training_side, reading.random_crop, rng)
    return _example(pixels, encoded.label, True)


@dataclasses.dataclass(frozen=True)
class _Padded:
    """Evaluation examples by number; past the end of the split they are blank and masked."""

    split: EncodedSplit
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        reading = self.split.reading
        if index >= len(self.split):
            return _example(np.zeros((reading.evaluation_side, reading.evaluation_side, 3), np.uint8), 0, False)
        encoded = self.split[index]
        side, fraction = reading.evaluation_side, reading.crop_fraction
        return _example(crops.central_crop(encoded.content, encoded.name, side, fraction), encoded.label, True)


def _example(pixels: np.ndarray, label: int, mask: bool) -> Example:
    return {"images": pixels, "labels": np.int32(label), "mask": np.bool_(mask)}


def _local_batches(examples: grain.MapDataset, batch_size: int) -> grain.MapDataset:
    """Returns the share of this process: global batch n is the same, in the same order, on any number of processes."""
    processes = jax.process_count()
    return examples.batch(batch_size // processes)[jax.process_index() :: processes]


def _stream(
    batches: grain.MapDataset, mesh: Mesh, num_workers: int, goes_on_without: bool = False
) -> Iterator[StreamedBatch]:
    """Yields batches on the devices. Where a worker dies, killed by the system say, all are started again.

    A batch follows from its number, so nobody can tell from the batches that one did.

    Args:
      batches: what to yield.
      mesh: whose devices they go to.
      num_workers: processes that decode; 0 for threads.
      goes_on_without: after `MAX_DEATHS` threads go on. For an evaluation: no checkpoint can hold half of one.

    Raises:
      UserError: an image cannot be decoded, or workers died `MAX_DEATHS` times.
    """
    done, deaths, left = 0, 0, []  # labels of what dead workers have left
    try:
        while True:
            label = shared_memory.new_label()
            try:
                with contextlib.closing(_read_ahead(batches[done:], mesh, num_workers, label)) as ahead:
                    for number, batch in enumerate(ahead):
                        done += 1
                        if number == 0:  # by now Grain has read what it wanted of the set before
                            shared_memory.remove(left)
                        yield batch
                return
            except RuntimeError as error:
                death = _DEATH.search(str(error))
                if death is None:
                    raise
                deaths += 1
                left.append(label)
                what = f"a data worker died (exit code {death[1]}; the system kills with -9 where memory runs out)"
                if deaths < MAX_DEATHS:
                    files.say(f"{what}; the workers start again")
                    continue
                what += f", as {deaths - 1} did before"
                advice = "set --config.dataset.num_workers lower, or to 0 for threads, or free some memory"
                if not goes_on_without:
                    raise UserError(f"{what}: {advice}") from error
                files.say(f"{what}; this evaluation goes on with threads. For later ones, {advice}")
                num_workers = 0
    finally:
        shared_memory.remove(left)


def _read_ahead(batches: grain.MapDataset, mesh: Mesh, num_workers: int, label: str) -> Iterator[StreamedBatch]:
    """Yields batches made ahead of time in the background, until a worker dies; `label` names the workers' memory.

    Raises:
      UserError: an image cannot be decoded.
      RuntimeError: a worker died.
    """
    threads = 1 if num_workers else os.cpu_count()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, BATCHES_AHEAD))
    stream = batches.to_iter_dataset(options)
    if num_workers:
        if not flags.FLAGS.is_parsed():  # Grain asks for flags of its own, which scripts have parsed and notebooks not
            flags.FLAGS.mark_as_parsed()
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=BATCHES_AHEAD),
            worker_init_fn=functools.partial(_prepare_worker, label),
        )
    stream = stream.map(functools.partial(_put, batch_sharded(mesh)))
    iterator = iter(grain.experimental.ThreadPrefetchIterDataset(stream, prefetch_buffer_size=BATCHES_AHEAD))
    try:
        yield from iterator
    except UnreadableImageError as error:
        raise UserError(
            f"{error}: mend or remove it, or set --config.dataset.broken_images=skip for a folder"
        ) from error
    finally:
        iterator.close()
        if num_workers:
            gc.collect()  # the exception that ends an iteration holds its last batch, shared memory, in a cycle


def _check_room(num_workers: int, batch_size: int, side: int) -> None:
    waiting = 2 * BATCHES_AHEAD + 1  # on both sides, and one in the making
    shared_memory.check(num_workers, waiting, (batch_size // jax.process_count()) * side**2 * 3)


def _put(placement: jax.sharding.Sharding, batch: Example) -> StreamedBatch:
    """Copies a batch to the devices; what it held of the memory shared with the workers is free then.

    A CPU would otherwise use that memory as its own, as long as anybody holds the arrays: at the end of a process
    Python warns that it leaked.
    """
    own = np.array if jax.default_backend() == "cpu" else np.asarray
    place = functools.partial(jax.make_array_from_process_local_data, placement)
    return StreamedBatch(**{name: place(own(array)) for name, array in batch.items()})


def _prepare_worker(label: str, worker: int, num_workers: int) -> None:
    """Names a worker's memory, and lets it end when its parent does, not before and not after.

    Ctrl-C goes to every process of a terminal, and the parent wants to save before its workers end. A parent that is
    killed tells nobody: Grain's workers would wait for it for ever, with their memory.
    """
    shared_memory.label_blocks(label)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
