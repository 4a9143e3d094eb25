"""The frozen graph: the original's nodes, run as its script runs them, and through our wrapper."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from hifill import HighResolutionInpainter, Inpainter
from hifill.frozen_graph import frozen_graph
from hifill.generator_files import GeneratorFile

SIZE = 128


@pytest.fixture(scope="module")
def frozen(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("frozen") / "hifill.pb"
    path.write_bytes(frozen_graph(generator, SIZE).SerializeToString())
    return path


def session(path):
    """What the authors' script starts with."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return tf.compat.v1.Session(graph=graph)


def photo_and_hole(height, width):
    y, x = np.mgrid[:height, :width] / 20
    planes = [np.sin(x + c) * np.cos(y * (c + 1)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    photo = np.clip(127 + 90 * np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)
    hole = np.zeros((height, width), bool)
    hole[height // 3 : height // 2, width // 4 : width // 2] = True
    return photo, hole


def test_nodes_and_their_ranges(frozen, generator):
    photo, hole = photo_and_hole(SIZE, SIZE)
    hole = hole.astype(np.float32)[None, ..., None]
    with session(frozen) as run:
        names = ["inpainted:0", "attention:0", "mask_processed:0"]
        feed = {"img:0": photo[None, ..., ::-1], "mask:0": hole}
        inpainted, attention, weight = run.run(names, feed)
        noise = np.where(hole > 0, 255.0 - photo[..., ::-1], photo[..., ::-1])
        again = run.run(names, {"img:0": noise, "mask:0": hole})
    masked = (photo / np.float32(127.5) - 1)[None] * (1 - hole)
    _, refined, expected = generator([masked, hole])
    # 2e-4 grey levels: float32 of another order of additions.
    np.testing.assert_allclose(inpainted[..., ::-1], (refined.numpy() + 1) * 127.5, atol=1e-3)
    np.testing.assert_allclose(attention, expected, atol=1e-5)
    blurred = cv2.GaussianBlur(hole[0, ..., 0], (7, 7), 1, borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(weight[0, ..., 0], blurred, atol=1e-6)
    for first, second in zip([inpainted, attention, weight], again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_official_steps_on_our_graph(frozen, generator):
    """The authors' procedure around the graph's nodes, in NumPy and OpenCV."""
    multiple, (height, width) = 2, (300, 400)
    photo, hole = photo_and_hole(height, width)
    mask = hole.astype(np.float32)
    large_size = (SIZE * multiple, SIZE * multiple)
    large = cv2.resize(photo[..., ::-1].astype(np.float32), large_size)
    small = large.reshape(SIZE, multiple, SIZE, multiple, 3).mean((1, 3))
    small_mask = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    large_mask = cv2.resize(mask, large_size, interpolation=cv2.INTER_NEAREST)
    with session(frozen) as run:
        inpainted, attention, weight = run.run(
            ["inpainted:0", "attention:0", "mask_processed:0"],
            {"img:0": small[None], "mask:0": small_mask[None, ..., None]},
        )
    residual = (large - cv2.resize(small, large_size)) * (1 - large_mask[..., None])
    grid, patch = SIZE // 16, 16 * multiple
    cells = residual.reshape(grid, patch, grid, patch, 3).transpose(0, 2, 1, 3, 4)
    cells = attention.reshape(grid * grid, -1) @ cells.reshape(grid * grid, -1)
    residual = cells.reshape(grid, grid, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    result = cv2.resize(inpainted[0], large_size) + residual.reshape(large.shape)
    result = cv2.resize(np.clip(result, 0, 255), (width, height))
    weight = cv2.resize(weight[0, ..., 0], (width, height))[..., None]
    expected = (result * weight + photo[..., ::-1] * (1 - weight)).astype(np.uint8)[..., ::-1]

    for source in (frozen, generator):
        wrapper = HighResolutionInpainter(source, "original", multiple, SIZE)
        difference = np.abs(wrapper(photo, hole).numpy().astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_the_wrapper_runs_on_it(frozen, generator):
    photo, hole = photo_and_hole(333, 450)
    expected = HighResolutionInpainter(generator, size=SIZE)(photo, hole).numpy()
    wrapper = HighResolutionInpainter(frozen)
    assert wrapper.size == SIZE
    actual = wrapper(photo, hole).numpy()
    np.testing.assert_array_equal(actual[~hole], photo[~hole])
    difference = np.abs(actual.astype(int) - expected)[hole]
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    np.testing.assert_array_equal(Inpainter(frozen)(photo, hole), actual)


@pytest.mark.slow
def test_half_weights_halve_the_file(generator, frozen, tmp_path):
    path = tmp_path / "half.pb"
    definition = frozen_graph(generator, SIZE, "float16")
    path.write_bytes(definition.SerializeToString())
    assert path.stat().st_size < 0.55 * frozen.stat().st_size
    photo, hole = photo_and_hole(SIZE, SIZE)
    # Improved, what an untrained generator draws leaves no trace at all.
    expected = HighResolutionInpainter(frozen, fidelity="plain")(photo, hole).numpy()
    actual = HighResolutionInpainter(path, fidelity="plain")(photo, hole).numpy()
    difference = np.abs(actual.astype(int) - expected)[hole]
    assert 0 < difference.mean() < 1 and (actual[~hole] == photo[~hole]).all()


def test_constants_are_folded_and_gates_merged(frozen, generator):
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(frozen.read_bytes())
    nodes = {node.name: node for node in definition.node}
    assert not {node.op for node in definition.node} & {"ReadVariableOp", "Cast", "VarHandleOp"}
    assert not definition.library.function
    convolutions = [node for node in definition.node if node.op == "Conv2D"]
    # One a layer with a single-channel gate, two a layer with a pointwise one, one for the rim, and
    # two for the last row and the last column of what is doubled.
    coarse, refine = (
        [layer for layer in network.layers if layer.weights]
        for network in (generator.coarse_network, generator.refine_network)
    )
    doubling = [layer for layer in (*coarse, *refine) if layer.upsample]
    assert len(convolutions) == len(coarse) + 2 * len(refine) + 1 + 2 * len(doubling)
    unfolded = {"Const"}
    for node in convolutions:
        kernel = nodes[node.input[1]]
        if kernel.op != "Const":
            # TensorFlow leaves alone what folding would make larger: kernels of doubled pictures,
            # four times as large as the weights that they are made from.
            assert any(layer.name in node.name for layer in doubling), node.name
            unfolded |= {n.op for n in ancestors(kernel, nodes)}
    assert unfolded <= {"Const", "Einsum", "Reshape"}


def ancestors(node, nodes):
    """A node, and all that it is computed from."""
    found = {node.name: node}
    for name in node.input:
        found |= {n.name: n for n in ancestors(nodes[name.lstrip("^").split(":")[0]], nodes)}
    return list(found.values())


def original_like(path, size):
    """A graph with the original's nodes and other arithmetic: paints holes in one BGR colour."""
    grid = size // 16
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, [1, size, size, 3], "img")
        mask = tf.compat.v1.placeholder(tf.float32, [1, size, size, 1], "mask")
        colour = tf.constant([10.0, 100.0, 200.0])  # BGR
        tf.identity(image * (1 - mask) + colour * mask, "inpainted")
        tf.zeros([1, grid, grid, grid * grid], name="attention")
        tf.identity(mask, "mask_processed")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def test_a_foreign_graph_with_the_nodes(tmp_path):
    path = tmp_path / "their.pb"
    original_like(path, 64)
    photo = np.full((130, 190, 3), 55, np.uint8)
    hole = np.zeros((130, 190), bool)
    hole[40:90, 60:120] = True
    result = HighResolutionInpainter(path)(photo, hole).numpy()
    np.testing.assert_array_equal(result[~hole], photo[~hole])
    np.testing.assert_array_equal(result[60:70, 80:100], np.full((10, 20, 3), [200, 100, 10]))


def without_node(path, name):
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    kept = [node for node in definition.node if node.name != name]
    return tf.compat.v1.GraphDef(node=kept).SerializeToString()


def with_unknown_operation(path):
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    definition.node.add(name="new", op="NoSuchOp")
    return definition.SerializeToString()


def test_bad_files(tmp_path, frozen):
    for name, content, message in (
        ("missing.pb", None, "cannot be read"),
        ("garbage.pb", b"garbage", "not a frozen graph"),
        ("cut.pb", frozen.read_bytes()[:10_000], "not a frozen graph"),
        ("other.pb", without_node(frozen, "img"), r"a graph without img:0; is it"),
        ("newer.pb", with_unknown_operation(frozen), "can run .*NoSuchOp"),
        ("empty.pb", b"", r"without img:0, mask:0, inpainted:0, attention:0"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: .*{message}") as caught:
            GeneratorFile(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="128, not 512"):
        HighResolutionInpainter(frozen, size=512)
    with pytest.raises(ValueError, match="no SavedModel"):
        GeneratorFile(tmp_path)
