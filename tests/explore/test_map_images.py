"""Maps as pictures: what is written is read back by other code, and is the weight to eight bits."""

import io

import numpy as np

from heed.explore.map_images import address, png, shrink, to_bytes


def test_a_picture_is_read_back_by_matplotlib():
    import matplotlib.image

    image = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
    read = matplotlib.image.imread(io.BytesIO(png(image)), format="png")
    assert (np.rint(read * 255) == image).all()
    assert address(image).startswith("data:image/png;base64,iVBORw0KGgo")


def test_a_byte_keeps_a_weight_to_eight_bits_of_its_root():
    weights = np.random.default_rng(0).random((4, 9, 9)).astype(np.float16)
    back = (to_bytes(weights) / 255.0) ** 2
    assert (np.abs(back - weights) <= np.sqrt(weights.astype(float)) / 255 + 1e-5).all()
    assert to_bytes(np.array([0, 1, 2, -1, np.nan])).tolist() == [0, 255, 255, 0, 0]
    assert (to_bytes(weights) == np.rint(255 * np.sqrt(weights.astype(np.float32)))).all()


def test_a_line_one_token_wide_stays_a_line():
    image = np.zeros((1000, 1000), np.uint8)
    image[np.arange(1, 1000), np.arange(999)] = 255
    small = shrink(image)
    assert small.shape == (64, 64)
    assert (np.diag(small) == 255).all()
    assert small[0, 2] == 0
    assert shrink(image[:20, :20]).shape == (20, 20)
