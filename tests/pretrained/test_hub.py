"""Weights by name, through the real client: in a cache as it lays it out, and from a hub on this machine."""

import hashlib
import http.server
import json
import pathlib
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import effnet_jax
from effnet_jax.errors import UserError
from effnet_jax.pretrained import hub
from effnet_jax.training import checkpoint
from effnet_jax.training.transfer import Origin
from tests import forked
from tests.pretrained import golden, hub_cache
from tests.pretrained.hub_cache import COMMIT, NAME
from tests.pretrained.test_importer import tensors_of

constants = pytest.importorskip("huggingface_hub.constants")
ROOT = pathlib.Path(__file__).resolve().parents[2]
GIANT_PANDA = 388


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def run(code_or_script, *arguments, **environment):
    """Runs a script of the project, or Python code, in a process of its own, as the client reads its settings once."""
    kind = () if str(code_or_script).endswith(".py") else ("-c",)
    return forked.run(*kind, code_or_script, *arguments, with_jax=True, environment=environment)


def test_a_name_brings_the_model_and_how_it_sees_an_image(cache):
    hub_cache.lay_out(cache)
    net = effnet_jax.load(NAME)
    assert net.preprocess.mean == net.preprocess.std == (0.5, 0.5, 0.5)
    assert (net.resolution, net.preprocess.crop_fraction, net.preprocess.interpolation) == (64, 0.9, "bilinear")
    assert (net.model.numerics.padding, net.model.numerics.bn_epsilon) == ("SAME", 1e-3)
    stored = tensors_of("timm")["blocks.6.0.se.conv_reduce.weight"]
    kernel = net.variables["params"]["stage7_block1"]["se"]["reduce"]["kernel"]
    np.testing.assert_array_equal(kernel, stored[:, :, 0, 0].T)
    source = net.metadata["source"]
    assert (source["repository"], source["revision"], source["commit"]) == (NAME, "main", COMMIT)
    assert source["model"] == "tf_efficientnet_b0.ap_in1k"


def test_what_weights_are_tested_with_goes_before_what_they_were_trained_with(cache):
    hub_cache.lay_out(cache, about=hub_cache.config(test_input_size=[3, 96, 96], test_crop_pct=1.0))
    assert (effnet_jax.load(NAME).resolution, effnet_jax.load(NAME).preprocess.crop_fraction) == (96, 1.0)


def test_a_revision_is_pinned(cache):
    hub_cache.lay_out(cache, commit="f" * 40, about=hub_cache.config(crop_pct=0.5))
    hub_cache.lay_out(cache)  # main has moved on
    assert effnet_jax.load(NAME).preprocess.crop_fraction == 0.9
    net = effnet_jax.load(f"{NAME}@{'f' * 40}")
    assert net.preprocess.crop_fraction == 0.5
    assert net.metadata["source"]["commit"] == "f" * 40


def test_absent_and_offline_is_one_line_that_does(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"not in the cache .*HF_HUB_OFFLINE is set.* into the folder (\S+) here"
    ) as error:
        effnet_jax.load(NAME)
    line = str(error.value)
    assert "\n" not in line
    assert all(part in line for part in (str(cache), "config.json", "model.safetensors", f"huggingface.co/{NAME}/tree"))
    hub_cache.write_files(tmp_path / NAME)
    assert effnet_jax.load(NAME).resolution == 64
    hub_cache.write_files(tmp_path / "elsewhere")
    assert effnet_jax.load("elsewhere").resolution == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/efficientnet_b0", "no name of weights: they are called timm/MODEL.TAG"),
        ("timm/vit_base_patch16_224.augreg_in1k", "unknown timm model 'vit_base"),
        ("runs/absent", "does not exist.*timm/efficientnet_b0.ra_in1k"),
    ],
)
def test_names_that_are_none(name, message, cache):
    with pytest.raises(UserError, match=message):
        effnet_jax.load(name)


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        effnet_jax.load(NAME)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({}, "no config of timm's"),
        (hub_cache.config(interpolation="lanczos"), "'lanczos', which is not known"),
        (hub_cache.config() | {"architecture": "efficientnet_b9"}, "unknown model 'efficientnet_b9'"),
        (hub_cache.config() | {"architecture": "tf_efficientnet_b1"}, "look like tf_efficientnet_b0's weights"),
    ],
)
def test_configs_that_will_not_do(about, message, tmp_path):
    hub_cache.write_files(tmp_path / "model", about=about)
    with pytest.raises(UserError, match=message):
        effnet_jax.load(tmp_path / "model")


def test_one_set_of_weights_is_not_called_averages(cache):
    hub_cache.lay_out(cache)
    assert not checkpoint.load(NAME, "raw").ema
    with pytest.raises(UserError, match="one set of weights"):
        checkpoint.load(NAME, "ema")


def test_models_that_start_with_such_weights(cache):
    hub_cache.lay_out(cache)
    stored = tensors_of("timm")
    model, variables = effnet_jax.create_model("efficientnet_b0", 10, pretrained=NAME)
    assert model.numerics.padding == "SAME"
    np.testing.assert_array_equal(variables["params"]["classifier"]["kernel"], stored["classifier.weight"].T)
    model, variables = effnet_jax.create_model("efficientnet_b0", 7, in_channels=4, pretrained=NAME)
    assert (model.num_classes, model.architecture.in_channels) == (7, 4)
    assert variables["params"]["classifier"]["kernel"].shape == (1280, 7)
    assert not variables["params"]["classifier"]["kernel"].any()
    stem = stored["conv_stem.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(variables["params"]["stem"]["conv"]["kernel"], stem[:, :, [0, 1, 2, 0]] * 3 / 4)
    with pytest.raises(UserError, match=r"padding is SYMMETRIC but the weights of timm/\S+ were trained with SAME"):
        effnet_jax.create_model("efficientnet_b0", 10, padding="SYMMETRIC", pretrained=NAME)
    with pytest.raises(UserError, match="another model, efficientnet_b0"):
        effnet_jax.create_model("efficientnet_b1", 10, pretrained=NAME)


def test_init_from_takes_a_name(cache):
    hub_cache.lay_out(cache)
    origin = Origin.load(NAME)
    assert origin.completed({"padding": None, "bn_epsilon": None}) == {"padding": "SAME", "bn_epsilon": 1e-3}
    assert origin.preprocess.mean == (0.5, 0.5, 0.5)


def test_predict_names_the_class(tmp_path):
    """The program, with the client's own settings; the classifier is sure of one class."""
    bias = np.zeros(1000, np.float32)
    bias[GIANT_PANDA] = 100
    head = {"classifier.weight": np.zeros((1000, 1280), np.float32), "classifier.bias": bias}
    name = "timm/tf_efficientnet_b0.ns_jft_in1k"
    hub_cache.lay_out(tmp_path / "home/hub", name, tensors=golden.weights() | head)
    Image.new("RGB", (80, 70), "white").save(tmp_path / "picture.png")
    settings = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = run("scripts/predict.py", "--checkpoint", name, tmp_path / "picture.png", "--top_k=1", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("%")[1].strip() == "giant panda"
    refused = run("scripts/predict.py", NAME, tmp_path / "picture.png", **settings)
    assert refused.returncode == 2
    assert "put config.json and model.safetensors of" in refused.stderr.splitlines()[-1]


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as the client asks for; "main" moves on once its config.json has been read."""

    protocol_version = "HTTP/1.1"
    folder: pathlib.Path
    commits = ("a" * 40, "b" * 40)
    main = commits[0]

    def do_HEAD(self):
        place, _, file = self.path.partition("/resolve/")
        revision, _, file = file.partition("/")
        commit = Hub.main if revision == "main" else revision
        if place != f"/{NAME}":
            self._answer(404, {"X-Error-Code": "RepoNotFound"})
        elif commit not in self.commits:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            content = (self.folder / commit / file).read_bytes()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            self._answer(200, headers, content)
            if self.command == "GET":
                Hub.main = self.commits[1]

    def _answer(self, status, headers, content=b""):
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    Hub.folder = tmp_path_factory.mktemp("hub")
    for commit, crop in zip(Hub.commits, (0.25, 0.75)):
        hub_cache.write_files(Hub.folder / commit, about=hub_cache.config(crop_pct=crop))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


LOAD = """
import json, sys, effnet_jax
for name in sys.argv[1:]:
    try:
        net = effnet_jax.load(name)
        print(json.dumps([net.metadata["source"]["commit"], net.preprocess.crop_fraction]))
    except effnet_jax.UserError as error:
        print(json.dumps(str(error)))
"""
# The client waits between its attempts, 23 seconds in all.
IMPATIENT = """
import time
time.sleep = lambda seconds: None
"""


def test_downloads(endpoint, tmp_path):
    home = tmp_path / "home"
    names = (NAME, f"{NAME}@{'b' * 40}", f"{NAME}@v9", "timm/efficientnet_b0.absent")
    done = run(LOAD, *names, HF_HOME=str(home), HF_ENDPOINT=endpoint)
    first, pinned, revision, repository = map(json.loads, done.stdout.splitlines())
    assert first == ["a" * 40, 0.25]  # both files are of one commit
    weights = home / f"hub/models--{NAME.replace('/', '--')}/snapshots/{'a' * 40}/model.safetensors"
    assert weights.is_file()
    assert pinned == ["b" * 40, 0.75]
    assert "has no revision v9" in revision
    assert "the hub has no timm/efficientnet_b0.absent" in repository

    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home)}
    done = run(IMPATIENT + LOAD, f"{NAME}@{'a' * 40}", f"{NAME}@{'c' * 40}", **nowhere)
    kept, absent = map(json.loads, done.stdout.splitlines())
    assert kept == ["a" * 40, 0.25]
    assert "the hub cannot be reached" in absent and f"the folder {NAME}@{'c' * 40} here" in absent


def test_names():
    name = hub.Name.parse("timm/efficientnet_b0.ra4_e3600_r224_in1k@refs/pr/3")
    assert (name.repository, name.model) == ("timm/efficientnet_b0.ra4_e3600_r224_in1k", "efficientnet_b0")
    assert (name.revision, str(name)[-10:]) == ("refs/pr/3", "@refs/pr/3")
