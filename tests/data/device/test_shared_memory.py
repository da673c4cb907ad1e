"""What dead data workers leave in shared memory is found by its label."""

import multiprocessing.shared_memory

from effnet_jax.data.device import shared_memory


def test_the_blocks_of_a_label_are_removed_and_no_others(monkeypatch):
    monkeypatch.setattr(multiprocessing.shared_memory, "_SHM_NAME_PREFIX", "/psm_")  # put back afterwards
    labels, blocks = [shared_memory.new_label() for _ in range(2)], []
    for label in labels:
        shared_memory.label_blocks(label)
        blocks.append(multiprocessing.shared_memory.SharedMemory(create=True, size=8))
        assert blocks[-1].name.startswith(label)
    shared_memory.remove(labels[:1])
    shared_memory.remove(labels[:1])  # nothing is left to remove
    found = [(shared_memory._FOLDER / block.name).exists() for block in blocks]
    blocks[1].unlink()
    for block in blocks:
        block.close()
    assert found == [False, True]
