"""python -m results.probe: every figure is drawn from what probes left, with axes that say what they are."""

import io
import struct
import zipfile

import numpy as np
import pytest

import main
from data import files
from results import RecordError, probe
from results.comparing.cells import read
from results.drawing import probes
from results.reading import probed
from tests.conftest import stream
from tests.experiment.stopping import quickly, words
from tests.results.records import make, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of three short runs with all probes: `ogd` to two training accuracies, and `single`."""
    folder = tmp_path_factory.mktemp("probes")
    files.save(folder / "tiny.pt", *stream(split=True, n_outputs=6))
    names = "curve,updates,confidence,latents,sparsity,epochs"
    common = {"save_path": folder / "records", "head": "shared", "n_epochs": 2, "batch_size": 8, "lr": 0.3}
    for stop in (0.3, 0.99):
        main.main(words(folder, model="ogd", probe=f"{names},drift", stop_at_accuracy=stop, **common))
    main.main(words(folder, model="single", probe=f"{names},alignment", **common))
    return folder / "records"


@pytest.fixture(scope="module")
def drawn(folder):
    found, _ = read([folder], "x")
    return found, probe.draw(found, ("model", "stop_at_accuracy"), wanted=probe.FIGURES)


@pytest.mark.parametrize("name", probe.FIGURES)
def test_a_figure_is_not_blank_and_says_what_its_axes_are(drawn, name):
    figure = drawn[1][name]
    figure.set_layout_engine("none")  # placing everything takes most of the time
    figure.savefig(page := io.BytesIO(), format="rgba", dpi=30)
    assert np.frombuffer(page.getvalue(), np.uint8).reshape(-1, 4)[:, :3].std() > 5
    words = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes] + [
        figure.get_supxlabel(),
        figure.get_supylabel(),
    ]
    said = " ".join(words)
    units = {
        "curve": ("mini-batches", "accuracy"),
        "updates": ("mini-batch", "relative update"),
        "confidence": ("predicted class", "true class", "mean probability"),
        "latents": ("components (activation units)",),
        "sparsity": ("after task", "share"),
        "epochs": ("epoch", "nats", "accuracy"),
        "drift": ("steps", "cosine"),
        "alignment": ("steps", "past task", "cosine", "share"),
        "threshold": ("training accuracy", "accuracy over all"),
    }
    assert all(unit in said for unit in units[name]), said
    assert name == "latents" or any(axes.get_title() for axes in figure.axes)


def test_what_the_figures_show(drawn):
    found, figures = drawn
    (single,) = [run for run in found if run.fact("model") == "single"]
    measured = single.record["probes"]
    row = figures["curve"].axes[-3:]
    assert list(row[1].lines[0].get_ydata()) == pytest.approx(measured["curve"]["new"][1])
    assert list(row[1].lines[1].get_ydata()) == pytest.approx(measured["curve"]["old"][1]) and len(row[0].lines) == 1
    matrix = figures["confidence"].axes[8].images[0].get_array()
    assert np.allclose(matrix, probed.arrays(single, "confidence")["probabilities"][2], equal_nan=True)
    mesh = figures["alignment"].axes[0].collections[0].get_array()
    assert mesh.shape == (2, len(measured["alignment"]["step"]))
    assert mesh[0].tolist() == pytest.approx([values[0] for values in measured["alignment"]["before"]])
    levels = figures["threshold"].axes[0].get_xticklabels()
    assert [text.get_text() for text in levels] == ["0.3", "0.99"]


@pytest.mark.parametrize("how", quickly(["pca", "tsne"], "pca"))
def test_the_projections(how):
    """Points in a plane of a space of ten dimensions keep their distances; t-SNE keeps what is apart apart."""
    draw = np.random.default_rng(0)
    plane, _ = np.linalg.qr(draw.normal(size=(10, 2)))
    flat = draw.normal(size=(30, 2)) + np.repeat([[0, 0], [50, 0]], 15, 0)
    found = probes.projected(flat @ plane.T + 3, how)
    apart = np.linalg.norm(found[:15].mean(0) - found[15:].mean(0))
    assert apart > 2 * max(found[:15].std(), found[15:].std())
    if how == "pca":
        assert np.allclose(np.linalg.norm(found[0] - found[20]), np.linalg.norm(flat[0] - flat[20]))


def test_the_command(folder, tmp_path, capsys):
    by = ["--by", "model,stop_at_accuracy"]
    assert probe.main([str(folder), "-o", str(tmp_path / "out"), *by, "--only", "sparsity"]) == 0
    assert [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.split()] == ["sparsity.png", "sparsity.pdf"]
    plain = write(tmp_path / "plain", make())
    for argv, said in [
        ([plain, "--only", "drift"], "nothing to draw: drift: no run has what --probe drift measures"),
        ([str(folder), "--only", "x"], "--only x: the figures are curve, "),
        ([str(folder)], "runs of ogd differ in stop_at_accuracy: 0.3, 0.99; "),
    ]:
        assert probe.main([*argv, "-o", str(tmp_path / "out")]) == 2
        assert f"results.probe: {said}" in capsys.readouterr().err


def test_what_no_run_leaves_is_one_sentence(tmp_path):
    found, _ = read([write(tmp_path / "r", make(probes={"curve": {"task": 5}, "updates": {}}))], "x")
    with pytest.raises(RecordError, match="curve: a record's probes are not as a run leaves them"):
        probe.draw(found, wanted=("curve",))


def _array(header):
    """An .npz file with one array, of which there is only the header."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("updates.size.npy", b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header)
    return zipped.getvalue()


def _with(changed):
    """A good .npz file with one of its bytes replaced."""
    np.savez_compressed(good := io.BytesIO(), **{"updates.size": np.arange(99.0)})
    content = bytearray(good.getvalue())
    for at, byte in changed.items():
        content[at] = byte
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        _array(b"{{{{"),
        _array(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }\n" % 10**13),
        _array(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }\n" % 10**30),
        _array(b"{'descr': '|S1', 'fortran_order': False, 'shape': (0,), }\n"),
        _with(dict.fromkeys(range(60, 90), 255)),
        _with({8: 99, 9: 0}).replace(b"\x08\0", b"\x63\0"),
    ],
    ids=["no zip", "no header", "petabytes", "beyond integers", "text", "no deflate stream", "unknown compression"],
)
def test_damaged_arrays_are_one_sentence(tmp_path, content):
    found, _ = read([write(tmp_path / "r", make(probes={"updates": {"task": [0], "kinds": []}}))], "x")
    (tmp_path / "r" / "000.npz").write_bytes(content)
    with pytest.raises(RecordError, match=r"000\.npz: is damaged, or is no \.npz file"):
        probe.draw(found, wanted=("updates",))
