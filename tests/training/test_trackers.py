"""Where figures go beside metrics.jsonl. The services are pretended: their clients want accounts or databases."""

import pathlib
import sys
import types

import pytest

from effnet_jax.errors import UserError
from effnet_jax.training import trackers

CONFIG = {f"key{number}": number for number in range(150)}
FIGURES = {"loss": 1.5, "accuracy": 0.25}


class PretendedWandb(types.ModuleType):
    """Notes how wandb is called."""

    def __init__(self):
        super().__init__("wandb")
        self.inits, self.logged, self.finished = [], [], 0

    def init(self, **options):
        self.inits.append(options)
        return self

    id = "abc123"

    def define_metric(self, name, step_metric=None):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished += 1


class PretendedMlflow(types.ModuleType):
    """Notes how mlflow is called, and takes no more parameters at once than it does."""

    def __init__(self):
        super().__init__("mlflow")
        self.started, self.parameters, self.metrics, self.active = [], {}, [], False

    def start_run(self, **options):
        assert not self.active
        self.started.append(options)
        self.active = True
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="run7"))

    def log_params(self, values):
        assert len(values) <= 100
        self.parameters |= values

    def log_metrics(self, values, step):
        self.metrics.append((step, values))

    def end_run(self):
        self.active = False


@pytest.fixture
def services(monkeypatch):
    """Both packages pretended, and no module of ours that has imported the real ones."""
    pretended = {"wandb": PretendedWandb(), "mlflow": PretendedMlflow()}
    for name, module in pretended.items():
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, f"effnet_jax.training.trackers.{name}_tracker", raising=False)
    yield pretended
    for name in pretended:
        sys.modules.pop(f"effnet_jax.training.trackers.{name}_tracker", None)


def start(workdir: pathlib.Path, first_step: int = 0):
    trackers.check(["wandb", "mlflow"])
    return trackers.open_trackers(["wandb", "mlflow"], workdir, CONFIG, first_step)


def test_every_service_has_every_figure_and_a_run_that_goes_on_is_the_same_there(services, tmp_path):
    for step in (3, 6):
        opened = start(tmp_path, step - 3)
        for tracker in opened:
            tracker.record(step, "validation", FIGURES)
            tracker.close()
    wandb, mlflow = services["wandb"], services["mlflow"]
    named = {f"validation/{key}": value for key, value in FIGURES.items()}
    assert wandb.logged == [{"step": 3, **named}, {"step": 6, **named}] and wandb.finished == 2
    assert [options["id"] for options in wandb.inits] == [None, "abc123"]
    assert wandb.inits[0]["config"] == CONFIG and wandb.inits[0]["name"] == tmp_path.name
    assert mlflow.metrics == [(3, named), (6, named)] and not mlflow.active
    assert mlflow.started == [{"run_name": tmp_path.name}, {"run_id": "run7"}]
    assert mlflow.parameters == CONFIG
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_what_is_not_there_is_said_in_one_line(monkeypatch):
    with pytest.raises(
        UserError, match=r"there is no tracker 'wanb' \(did you mean 'wandb'\?\); choose from wandb, mlflow"
    ):
        trackers.check(["wanb"])
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    monkeypatch.delitem(sys.modules, "effnet_jax.training.trackers.wandb_tracker", raising=False)
    with pytest.raises(UserError, match=r"--track wandb needs its package: pip install wandb"):
        trackers.check(["wandb"])
