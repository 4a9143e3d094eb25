"""Curves, pictures and JSON lines of a run, read back as TensorBoard and scripts read them."""

import dataclasses
import json
import math
import resource

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.util import tensor_util

from hifill import summaries


def read_events(workdir):
    everything = {kind: 0 for kind in event_accumulator.DEFAULT_SIZE_GUIDANCE}
    events = event_accumulator.EventAccumulator(str(workdir / "summaries"), everything)
    return events.Reload()


def lines(workdir):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    text = (workdir / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def shown_steps(workdir, tag):
    # The reader behind TensorBoard's pages; it judges differently what a restart is.
    reader = plugin_event_accumulator.EventAccumulator(
        str(workdir / "summaries"), tensor_size_guidance={"scalars": 0, "text": 0}
    )
    return [event.step for event in reader.Reload().Tensors(tag)]


def test_everything_can_be_read_back(tmp_path):
    log = summaries.RunLog(tmp_path / "run")
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    log.text("flags", "| a | b |")
    log.scalars(1, {"hole": np.float32(0.5), "context": tf.constant(0.25)})
    log.scalars(np.int64(2), {"hole": 0.125, "context": 3})
    log.histogram(2, "weights", np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    log.image(2, "grid", picture)
    # No close: a killed run's files hold everything too.
    events = read_events(tmp_path / "run")
    assert [(e.step, e.value) for e in events.Scalars("hole")] == [(1, 0.5), (2, 0.125)]
    (text,) = events.Tensors("flags")
    assert text.step == 0 and tensor_util.make_ndarray(text.tensor_proto) == b"| a | b |"
    (histogram,) = events.Tensors("weights")
    buckets = tensor_util.make_ndarray(histogram.tensor_proto)
    np.testing.assert_array_equal(buckets[:, 2], 2)
    assert (histogram.step, buckets[0, 0], buckets[-1, 1]) == (2, 0, 59)
    (image,) = events.Images("grid")
    assert (image.step, image.width, image.height) == (2, 30, 20)
    np.testing.assert_array_equal(tf.io.decode_png(image.encoded_image_string), picture)

    first, second = lines(tmp_path / "run")
    assert list(first) == ["iteration", "time", "hole", "context"]
    assert (first["iteration"], first["hole"], first["context"]) == (1, 0.5, 0.25)
    assert (second["iteration"], second["hole"], second["context"]) == (2, 0.125, 3.0)
    assert first["time"] == pytest.approx(events.Scalars("hole")[0].wall_time, abs=1)
    log.close()


def test_a_resumed_run_writes_no_iteration_twice(tmp_path):
    log = summaries.RunLog(tmp_path)
    for iteration in range(1, 6):
        log.scalars(iteration, {"loss": iteration})
    log.close()
    resumed = summaries.RunLog(tmp_path, iteration=3)
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3]
    for iteration in (4, 5, 6):
        resumed.scalars(iteration, {"loss": 10 * iteration})
    resumed.close()
    again = summaries.RunLog(tmp_path, iteration=5)
    again.scalars(6, {"loss": 600})
    again.close()
    expected = [1, 2, 3, 40, 50, 600]
    assert [line["loss"] for line in lines(tmp_path)] == expected
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert shown_steps(tmp_path, "loss") == [1, 2, 3, 4, 5, 6]
    points = read_events(tmp_path).Scalars("loss")
    assert [(point.step, point.value) for point in points] == list(enumerate(expected, 1))


def test_a_run_killed_before_its_first_checkpoint_starts_anew(tmp_path):
    for loss in (1, 2):
        log = summaries.RunLog(tmp_path)
        log.text("flags", "text")
        for iteration in range(4 - loss):
            log.scalars(iteration, {"loss": loss})
        log.close()
    assert [(line["iteration"], line["loss"]) for line in lines(tmp_path)] == [(0, 2), (1, 2)]
    assert shown_steps(tmp_path, "loss") == [0, 1]
    assert shown_steps(tmp_path, "flags") == [0]


@pytest.mark.parametrize("length", [-1, -2, 1, 20])
def test_a_half_written_line_is_dropped(tmp_path, length):
    log = summaries.RunLog(tmp_path)
    for iteration in (1, 2, 3):
        log.scalars(iteration, {"loss": 1})
    log.close()
    path = tmp_path / "metrics.jsonl"
    whole, last = path.read_text().rsplit("\n", 2)[:2]
    path.write_text(f"{whole}\n{(last + chr(10))[:length]}")
    log = summaries.RunLog(tmp_path, iteration=3)
    log.scalars(4, {"loss": 1})
    log.close()
    # At -1 only the line feed is missing.
    kept = [3] if length == -1 else []
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, *kept, 4]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_values_that_are_not_finite(tmp_path):
    log = summaries.RunLog(tmp_path)
    log.scalars(1, {"a": math.nan, "b": -math.inf, "c": np.float32("inf"), "d": 1})
    log.histogram(1, "weights", [math.nan, 1.0, 2.0, math.inf])
    log.histogram(1, "nothing", [math.nan])
    log.close()
    (line,) = lines(tmp_path)
    assert [line[name] for name in "abcd"] == [None, None, None, 1]
    events = read_events(tmp_path)
    assert math.isnan(events.Scalars("a")[0].value)
    assert events.Scalars("b")[0].value == -math.inf
    (histogram,) = events.Tensors("weights")
    assert tensor_util.make_ndarray(histogram.tensor_proto)[:, 2].sum() == 2


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = summaries.RunLog(None, iteration=7)
    log.scalars(8, {"loss": 1.0})
    log.histogram(8, "weights", [1.0])
    log.text("flags", "text")
    log.image(8, "grid", np.zeros((2, 2, 3), np.uint8))
    log.close()
    assert not list(tmp_path.iterdir())


def test_what_the_disk_refuses_is_an_os_error(tmp_path):
    log = summaries.RunLog(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    names = [f"{i:0999}" for i in range(400)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            log.image(1, "grid", noise)
        with pytest.raises(OSError, match="too large"):
            log.scalars(1, dict.fromkeys(names, 1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        summaries.RunLog(tmp_path / "file")


def looking(offsets, rows=4, columns=6):
    """Attention of one picture whose cells look at a given (dy, dx), where that is in it."""
    attention = np.zeros((1, rows, columns, rows * columns), np.float32)
    for (y, x), (dy, dx) in offsets.items():
        attention[0, y, x] = 0.25 / (rows * columns)
        attention[0, y, x, (y + dy) * columns + x + dx] = 0.75
    return attention


def holes(cells, rows=4, columns=6):
    mask = np.zeros((1, 16 * rows, 16 * columns, 1), np.float32)
    for y, x in cells:
        mask[0, 16 * y + 5, 16 * x + 15] = 1  # one pixel makes a cell one of the hole
    return mask


@pytest.mark.parametrize(
    ("offset", "colour"),
    [
        ((0, 2), (255, 0, 0)),
        ((1, 0), (128, 255, 0)),
        ((0, -2), (0, 255, 255)),
        ((-1, 0), (128, 0, 255)),
        ((1, 1), (255, 191, 0)),
        ((0, 0), (255, 255, 255)),
    ],
)
def test_colour_of_a_direction(offset, colour):
    cells = [(1, 2), (1, 3), (2, 2), (2, 3)]
    flow = summaries.attention_flow(looking(dict.fromkeys(cells, offset)), holes(cells))
    assert flow.shape == (1, 4, 6, 3) and flow.dtype == np.uint8
    np.testing.assert_allclose(flow[0, 1:3, 2:4], np.broadcast_to(colour, (2, 2, 3)), atol=1)
    outside = np.ones((4, 6), bool)
    outside[1:3, 2:4] = False
    np.testing.assert_array_equal(flow[0, outside], 160)


def test_opposite_directions_have_complementary_colours():
    for dy, dx in [(0, 1), (1, 0), (1, 1), (-1, 1), (1, 2)]:
        there, back = (
            summaries.attention_flow(looking({(2, 3): (s * dy, s * dx)}), holes([(2, 3)]))[0, 2, 3]
            for s in (1, -1)
        )
        np.testing.assert_allclose(there.astype(int) + back, 255, atol=1)


def test_pale_is_short():
    offsets = {(1, 1): (0, 1), (2, 0): (0, 4)}
    flow = summaries.attention_flow(looking(offsets), holes(offsets))
    assert flow[0, 1, 1].tolist() == [255, 128, 128]  # a quarter of the longest: half saturated
    assert flow[0, 2, 0].tolist() == [255, 0, 0]
    # Each picture is measured by its own longest offset.
    both = np.concatenate([looking(offsets), looking({(1, 1): (0, 1)})])
    flow = summaries.attention_flow(both, np.concatenate([holes(offsets), holes([(1, 1)])]))
    assert flow[:, 1, 1].tolist() == [[255, 128, 128], [255, 0, 0]]


def test_cells_without_attention_are_grey():
    flow = summaries.attention_flow(tf.constant(looking({(1, 1): (0, 1)})), holes([(1, 1), (2, 2)]))
    assert flow[0, 2, 2].tolist() == [160, 160, 160]
    assert flow[0, 1, 1].tolist() == [255, 0, 0]
    nowhere = summaries.attention_flow(looking({}), np.ones((1, 64, 96, 1), np.float32))
    assert (nowhere == 160).all()


def test_layout_of_the_grid():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    images = tf.constant(photos.astype(np.float32) / 127.5 - 1)
    masks = holes([(1, 1), (2, 1)], 4, 4)
    masks = np.concatenate([masks, np.flip(masks, axis=2)])
    coarse = tf.constant(rng.uniform(-1.5, 1.5, (2, 64, 64, 3)).astype(np.float32))
    refined = tf.fill([2, 64, 64, 3], -1.0)
    attention = np.repeat(looking({(1, 1): (0, 2), (2, 1): (0, -1)}, 4, 4), 2, axis=0)
    filled = tf.fill([2, 64, 64, 3], 0.6)
    grid = summaries.picture_grid(images, masks, coarse, refined, filled, attention)
    assert grid.shape == (128, 384, 3) and grid.dtype == np.uint8
    hole = masks[..., 0] > 0
    for i, row in enumerate(np.split(grid, 2)):
        photo, masked, first, second, pasted, flow = np.split(row, 6, axis=1)
        np.testing.assert_array_equal(photo, photos[i])
        np.testing.assert_array_equal(masked[~hole[i]], photos[i][~hole[i]])
        assert (masked[hole[i]] == 255).all()
        clipped = np.clip((coarse[i].numpy() + 1) * 127.5, 0, 255)
        np.testing.assert_allclose(first, clipped, atol=0.51)
        assert (second == 0).all()
        np.testing.assert_array_equal(pasted[~hole[i]], photos[i][~hole[i]])
        assert (pasted[hole[i]] == 204).all()
        cells = summaries.attention_flow(attention, masks)[i]
        np.testing.assert_array_equal(flow, np.kron(cells, np.ones((16, 16, 1), np.uint8)))


def test_pictures_of_the_generator(generator, picture, hole):
    images, masks = picture(1, 64, 128)[:, :, :64], hole(64, 64)
    coarse, refined, attention = generator([images * (1 - masks), masks])
    grid = summaries.picture_grid(images, masks, coarse, refined, refined, attention)
    assert grid.shape == (64, 384, 3)
    assert len(np.unique(grid[:, 320:].reshape(-1, 3), axis=0)) > 1


def test_table_of_flags():
    @dataclasses.dataclass
    class Flags:
        train_data: str = "/a_b/*c*|<d>"
        val_data: str | None = None

    table = summaries.flags_table(dataclasses.asdict(Flags()))
    assert table.splitlines()[3] == "| val_data | `None` |"
    html = markdown_to_safe_html(table)
    assert html.count("<tr>") == 3
    assert "<td>train_data</td>\n<td><code>/a_b/*c*|&lt;d&gt;</code></td>" in html
