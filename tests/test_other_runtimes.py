"""The examples of docs/other_runtimes.md do what Keras does."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from hifill.generator_function import generator_function

SIZE = 128
DOCUMENT = pathlib.Path(__file__).parents[1] / "docs" / "other_runtimes.md"


@pytest.mark.parametrize("runtime", ["ai_edge_litert", "onnxruntime"])
def test_documented_example(
    generator, runtimes_folder, picture, hole, tmp_path, monkeypatch, runtime
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("DIR").symlink_to(runtimes_folder)
    photo = np.uint8(127.5 * picture(1, SIZE, SIZE) + 127.5)
    Image.fromarray(photo[0]).save("photo.jpg", quality=95)
    photo, mask = np.asarray(Image.open("photo.jpg"))[None], hole(SIZE, SIZE)
    Image.fromarray(np.uint8(255 * mask[0, ..., 0])).save("mask.png")
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    exec(next(example for example in examples if runtime in example), {})

    image = (photo / np.float32(127.5) - 1) * (1 - mask)
    refined = generator_function(generator, SIZE)(image, mask)["refined"].numpy()
    expected = np.where(mask > 0, (refined + 1) * 127.5, photo)
    filled = np.asarray(Image.open("filled.png"), np.float32)[None]
    np.testing.assert_allclose(filled, expected, atol=0.51)
