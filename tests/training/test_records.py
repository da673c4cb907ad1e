"""What a record keeps of a command line; studies that go by records are in tests/search/test_grid_search.py."""

import pytest

from effnet_jax.training.records import without_places


@pytest.mark.parametrize(
    "places",
    ["", "--workdir /a/b", "--workdir=/a/b", "--records= --storage sqlite:////x.db", "--config.dataset.data_dir=/a",
     "--config.train.dataset.data_dir=/a --workdir=b", "--config.dataset.num_workers 2"],
)  # fmt: skip
def test_a_command_says_what_was_done_and_not_where(places):
    kept = "--config configs/b0_cifar100.py --config.num_epochs=3 --config.model.name efficientnet_b1"
    assert without_places(f"python scripts/train.py {places} {kept}") == f"python scripts/train.py {kept}"
