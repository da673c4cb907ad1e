"""scripts/cam.py end to end on tiny checkpoints, and what it draws."""

import json
import pathlib
import shutil
import types

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from PIL import Image

from effnet_jax.cam import drawing, evaluation, faithfulness, pictures, session
from effnet_jax.cam.wishes import Wish, find_class
from effnet_jax.errors import UserError
from effnet_jax.process import lock, memory
from tests import forked
from tests.checkpoints import LABELS, exhausted


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index, size in enumerate([(70, 120), (64, 64), (200, 90)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "1_empty.jpg").write_bytes(b"")
    return tmp_path


@pytest.fixture
def few_steps(monkeypatch):
    """Each measure runs the network a few times, not 60: what comes of it is for test_faithfulness.py."""
    monkeypatch.setattr(faithfulness, "STEPS", 2)
    monkeypatch.setattr(faithfulness, "FRACTIONS", (0.5,))


def request(checkpoint, output, **changes):
    defaults = {
        "checkpoints": [str(checkpoint)],
        "images": [],
        "methods": ["grad_cam"],
        "layer": None,
        "wish": Wish(),
        "output": output,
        "maps_only": False,
        "evaluate": False,
        "split": "test",
        "num_images": 4,
        "evaluate_images": 4,
        "sanity_images": 2,
        "seed": 0,
        "batch_size": 8,
        "weights": "selected",
        "data_dir": None,
    }
    return session.Request(**{**defaults, **changes})


def command(*arguments):
    return forked.run("scripts/cam.py", *arguments, with_jax=True)


def test_the_command(run_folder, folder):
    out = folder / "out"
    done = command(
        "--checkpoint", run_folder, "--method=grad_cam,eigen_cam", "--top_k=2", f"--output={out}",
        "--images", folder / "1_empty.jpg", folder / "?.png",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [str(out / "sheet.png")]
    assert "1_empty.jpg: an empty file" in done.stderr and "1 images were skipped" in done.stderr
    record = json.loads((out / "cam.json").read_text())
    assert len(record["maps"]) == 3 * 2 * 2
    assert [pathlib.Path(entry["image"]).name for entry in record["maps"][::4]] == ["0.png", "1.png", "2.png"]
    for entry in record["maps"]:
        assert entry["target"] == LABELS[entry["index"]] and entry["layer"] == "head"
        with Image.open(entry["image"]) as original, Image.open(out / entry["overlay"]) as overlay:
            assert overlay.width % original.width == 0
            assert overlay.width / original.width == overlay.height / original.height
            assert all(peak < side for peak, side in zip(entry["peak"], (original.height, original.width)))
        assert np.load(out / entry["map"]).shape == (2, 2)
    first, second = record["maps"][:2]
    assert first["probability"] >= second["probability"] and first["target"] == first["prediction"]


def test_several_checkpoints_and_faithfulness(run_folder, folder, few_steps):
    other = folder / "other" / "run"
    shutil.copytree(run_folder, other)
    result = session.run(
        request(
            run_folder, folder / "out", checkpoints=[str(run_folder), str(other)], evaluate=True,
            images=[str(folder / f"{i}.png") for i in range(3)], wish=Wish("ship"),
        )
    )  # fmt: skip
    record = json.loads((folder / "out" / "cam.json").read_text())
    names = [checkpoint["name"] for checkpoint in record["checkpoints"]]
    assert len(set(names)) == 2 and names[1] == "other_run"
    rows = {row["method"]: row for row in record["faithfulness"]["other_run"]}
    assert list(rows) == ["grad_cam", "random", "gaussian", "ones"]
    assert rows["ones"]["average_drop"]["mean"] == pytest.approx(0, abs=1e-5)
    assert rows["grad_cam"]["deletion"]["count"] == 3 and rows["grad_cam"]["randomised"]["count"] == 2
    scores = [entry["scores"] for entry in record["maps"] if entry["checkpoint"] == "other_run"]
    assert rows["grad_cam"]["road"]["mean"] == pytest.approx(np.mean([score["road"] for score in scores]))
    assert "| random (control) |" in result.table and "other_run" in result.table
    assert record["faithfulness"][names[0]] == record["faithfulness"]["other_run"], "the same weights"


def test_the_random_control_is_as_fine_as_the_maps(run_folder, folder, few_steps):
    """A coarse random map keeps whole objects, a fine one does not: figures of different grids say nothing."""
    explainer = session._load(request(run_folder, folder / "out"))[0]
    fine = explainer.map_size("stem")
    assert fine[0] > 2 * explainer.map_size(None)[0]
    grids = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            evaluation.CONTROLS, "random", lambda key, count, grid, size: grids.append(grid) or jnp.ones((count, *size))
        )
        some = [str(folder / f"{i}.png") for i in range(3)]
        session.run(request(run_folder, folder / "out", evaluate=True, images=some, layer="stem"))
    assert set(grids) == {fine}


def test_refusals(run_folder, folder):
    (folder / "none").mkdir()
    (folder / "file").write_text("")
    some = {"images": [str(folder / "1.png")]}
    for changes, message in (
        ({**some, "layer": "stage9"}, "the layers are stem"),
        ({**some, "methods": ["gradcam"]}, "did you mean 'grad_cam'"),
        ({**some, "methods": ["cam"], "layer": "stage3"}, "at the layer 'head' alone"),
        ({**some, "wish": Wish("horze")}, "did you mean 'horse'"),
        ({**some, "wish": Wish("9")}, "no class '9'"),
        ({**some, "wish": Wish("label")}, "true label"),
        ({**some, "wish": Wish("cat", top_k=2)}, "leave --target=cat out"),
        ({**some, "checkpoints": [str(folder)]}, "no checkpoint in"),
        ({**some, "output": folder / "file"}, "cannot write to the output"),
        ({"images": [str(folder / "none")]}, "no image in the folder"),
        ({"images": [str(folder / "*.webp")]}, "no file matches"),
        ({"images": [str(folder / "1_empty.jpg")]}, "not one of the images can be read"),
        ({}, "imported weights, which name no data set"),
    ):
        with pytest.raises(UserError, match=message.replace("*", r"\*")):
            session.run(request(run_folder, **{"output": folder / "out", **changes}))


def test_a_folder_that_another_process_draws_into(run_folder, folder):
    held = lock.hold_folder(folder / "out", "drawing into", "--output")
    with held, pytest.raises(lock.Held, match=r"is drawing into .*choose another --output"):
        session.run(request(run_folder, folder / "out", images=[str(folder / "1.png")]))


def test_too_little_memory_says_what_needs_less(run_folder, folder, monkeypatch):
    monkeypatch.setattr(session.Explainer, "raw_maps", exhausted)
    with pytest.raises(
        memory.TooLittle, match=r"^a batch of 8 images needs more .*: lower --batch_size, or take a meth"
    ):
        session.run(request(run_folder, folder / "out", images=[str(folder / "1.png")]))


def test_one_line_and_exit_code_2(run_folder, folder):
    done = command("--checkpoint", run_folder, "--images", folder / "1.png", "--layer=stage9", f"--output={folder}/out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no layer 'stage9'")
    assert "Traceback" not in done.stderr


def test_a_map_covers_what_the_model_saw():
    found = np.zeros((4, 4))
    found[0, 3], found[3, 0] = 1, -5
    whole = drawing.place(found, (5, 20, 40), (50, 90))
    assert whole.shape == (50, 90) and whole.dtype == np.float32
    row, column = np.unravel_index(whole.argmax(), whole.shape)
    assert 5 <= row < 15 and 50 <= column < 60, "the upper right corner of the square"
    outside = np.ones_like(whole, bool)
    outside[5:45, 20:60] = False
    assert whole[outside].max() == 0 and whole[~outside].max() == 1
    assert whole[35:45, 20:30].max() < 0.05, "what speaks against the class does not show"
    assert np.abs(np.diff(whole[5:45, 20:60], axis=1)).max() < 0.15, "smooth"


def test_an_overlay_greys_what_the_model_did_not_see():
    pixels = np.full((60, 100, 3), (200, 40, 40), np.uint8)
    drawn = drawing.overlay(pixels, np.ones((2, 2)) * [[0, 1], [0, 1]], (0, 20, 60))
    assert drawn.shape == (240, 400, 3)
    assert (np.ptp(drawn[:, :80].astype(int), axis=-1) <= 1).all()
    assert np.ptp(drawn[:, 80:320].astype(int), axis=-1).min() > 10
    assert np.abs(drawn[:, 100].astype(int) - drawn[:, 300]).max() > 50


def test_a_sheet_holds_every_tile():
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    strips = [[drawing.Tile(red, ("a name that is far too long for a tile to hold",)), drawing.Tile(blue, ())]] * 7
    sheet = drawing.sheet([["image"], ["map"]], strips)
    area = drawing.TILE**2
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert 7 * area * 0.99 < (sheet == colour).all(-1).sum() <= 7 * area


def test_each_line_of_a_heading_has_a_line_of_the_sheet():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    sheets = [drawing.sheet([["image"], lines], [[drawing.Tile(red, ())] * 2]) for lines in (["one"], ["one", "two"])]
    short, long = ((sheet == (255, 0, 0)).all(-1).any(1).argmax() for sheet in sheets)  # where the pictures begin
    assert long - short == drawing.LINE == len(sheets[1]) - len(sheets[0])
    second = sheets[1][long - drawing.LINE - drawing.GAP : long]
    assert (second[:, : drawing.TILE] == 255).all() and (second[:, drawing.TILE + 2 * drawing.GAP :] < 128).any()


def test_a_long_name_above_a_column_is_broken_and_shown_whole():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    names = ("resolution_matched_seed1", "resolution_matched_seed2", "short", "w" * 99)
    drawn = [drawing.sheet([["image"], [name, "cam"]], [[drawing.Tile(red, ())] * 2]) for name in names]
    tops = [(sheet == (255, 0, 0)).all(-1).any(1).argmax() for sheet in drawn]  # where the pictures begin
    assert tops[0] == tops[1] == tops[2] + drawing.LINE and tops[3] == tops[2]
    heads = [sheet[:top] for sheet, top in zip(drawn, tops)]
    assert (heads[0] != heads[1]).any()  # the names differ in their last letter
    for head in heads:
        assert (head[:, -drawing.GAP :] == 255).all()  # inside the sheet


def test_the_scale_of_colours_is_whole_on_a_narrow_sheet():
    red = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    sheets = [drawing.sheet([["image"]] * columns, [[drawing.Tile(red, ())] * columns]) for columns in (1, 2, 5)]
    feet = [(sheet[-drawing.LINE - 2 * drawing.GAP :] != 255).any(-1) for sheet in sheets]
    assert all(
        np.array_equal(foot[:, : feet[0].shape[1]], feet[0]) for foot in feet
    )  # the narrowest has all of the widest's
    assert not any(foot[:, feet[0].shape[1] - drawing.GAP :].any() for foot in feet)  # and white beside it


def test_a_sheet_of_wide_pictures_has_no_empty_band_and_ends_with_the_scale_of_its_colours():
    red = np.full((20, 80, 3), (255, 0, 0), np.uint8)
    heights = {}
    for count in (1, 2):
        sheet = drawing.sheet([["image"]] * 9, [[drawing.Tile(red, ("name",))] * 9] * count)
        heights[count] = len(sheet)
        assert ((sheet == (255, 0, 0)).all(-1).any(1)).sum() == count * drawing.TILE // 4
    assert heights[2] - heights[1] == drawing.TILE // 4 + drawing.LINE + drawing.GAP
    foot = sheet[-drawing.LINE - 2 * drawing.GAP :].reshape(-1, 3)
    for value in (0.0, 1.0):
        colour = np.rint(255 * np.array(matplotlib.colormaps[drawing.COLOUR_MAP](value)[:3]))
        assert (foot == colour).all(-1).any()


def test_wishes():
    probabilities = np.array([[0.1, 0.2, 0.4, 0.3, 0.0], [0.5, 0.1, 0.1, 0.1, 0.2]])
    both = lambda wish, true=(None, None): wish.classes(probabilities, true, LABELS)  # noqa: E731
    np.testing.assert_array_equal(both(Wish()), [[2], [0]])
    np.testing.assert_array_equal(both(Wish(top_k=2)), [[2, 3], [0, 4]])
    np.testing.assert_array_equal(both(Wish("label"), (1, 4)), [[1], [4]])
    np.testing.assert_array_equal(both(Wish("ship")), [[3], [3]])
    rather = Wish("dog:cat")
    explained = rather.explained(both(rather), LABELS)
    np.testing.assert_array_equal([explained.wanted, explained.against], [[[1], [1]], [[0], [0]]])
    assert rather.describe(1, LABELS) == "dog rather than cat"
    assert find_class("2", LABELS) == 2


def test_a_sample_is_seeded_and_starts_alike(tiny_config):
    net = types.SimpleNamespace(metadata={"config": tiny_config.to_dict()})
    few, many, other = (pictures.from_split(net, "test", *args) for args in ((5, 1), (300, 1), (5, 2)))
    assert [picture.source for picture in many[:5]] == [picture.source for picture in few]
    assert [picture.source for picture in other] != [picture.source for picture in few]
    assert len({picture.source for picture in many}) == 300, "none twice"
    assert few[0].pixels.shape == (8, 8, 3) and few[0].label in range(10)


def test_maps_only_hold_nothing_of_the_images(run_folder, folder):
    """The pictures of two different images by one map are the same, and so is all of an image but its map."""
    rng = np.random.default_rng(1)
    found, box = rng.uniform(size=(3, 3)), (4, 0, 64)
    both = [rng.integers(0, 256, (72, 64, 3)).astype(np.uint8) for _ in range(2)]
    first, second = (drawing.overlay(pixels, found, box, opacity=1.0) for pixels in both)
    np.testing.assert_array_equal(first, second)

    Image.fromarray(both[0]).save(folder / "noise.png")
    some = {"images": [str(folder / "noise.png")]}
    session.run(request(run_folder, folder / "with", **some))
    session.run(request(run_folder, folder / "without", **some, maps_only=True))
    sheets = [np.asarray(Image.open(folder / name / "sheet.png").convert("RGB")) for name in ("with", "without")]
    original = np.s_[40:100, 30:90]  # inside the tile of the image itself
    assert sheets[0][original].std() > 20
    assert (sheets[1][original] == 255).all()
