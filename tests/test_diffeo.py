"""Deformations: their gradient by finite differences, their images by another library, and what nets make of them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from lazyjam import Setup, sweep, train
from lazyjam.diffeo import FIELDS, GRADIENTS, IMAGES, deform, examples, fields, flips, response

NET = Setup(dataset="digits", preprocessing="none", d=64, P=30, P_test=200, P_kernel=2, h=16, alpha_tilde=1.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fields_have_gradient_one_and_stand_still_at_the_border():
    side = 200
    xi = fields(400, side, generator())
    steps = [xi.diff(dim=dim) * side for dim in (2, 3)]
    assert float(sum(step.square().mean() for step in steps)) * 2 == pytest.approx(1, rel=0.05)
    assert float(xi[:, :, 0].abs().max()) < 0.03 * float(xi.abs().max())
    a, b = fields(3, 14, generator()), fields(3, 28, generator())  # the same fields on other pixels
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(b, 2), a, rtol=0.02, atol=2e-3)


def test_deformed_images_are_those_of_scipy():
    images = torch.randn(3, 2, 9, 9, generator=generator(), dtype=torch.float64)
    xi = 0.5 * fields(3, 9, generator(1))
    bent = deform(images, xi)
    rows, columns = np.mgrid[:9, :9]
    for n in range(3):
        where = [rows - 9 * xi[n, 1].numpy(), columns - 9 * xi[n, 0].numpy()]
        for c in range(2):
            slow = map_coordinates(images[n, c].numpy(), where, order=1, mode="nearest")
            torch.testing.assert_close(bent[n, c], torch.from_numpy(slow), rtol=1e-10, atol=1e-10)
    assert torch.equal(deform(images, 0 * xi).round(decimals=12), images.round(decimals=12))


def test_a_shift_by_one_pixel_moves_the_image_along_the_field():
    images = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    images[0, 0, 3, 4] = 1
    xi = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    xi[:, 0] = 1 / 8  # x, to the right
    assert float(deform(images, xi)[0, 0, 3, 5]) == pytest.approx(1)


def test_response_is_that_of_the_predictor():
    end = train([NET])
    got = response(end)[0]
    assert got.shape == (2, len(GRADIENTS), 3)
    x = end.data.test.x[:IMAGES]
    xi, eta = fields(len(x), 8, again := generator(FIELDS)), torch.randn(x.shape, generator=again, dtype=x.dtype)
    bent = deform(x.reshape(-1, 1, 8, 8), GRADIENTS[2] * xi).flatten(1)
    noisy = x + eta / eta.norm(dim=1, keepdim=True) * (bent - x).norm(dim=1, keepdim=True)
    f, others = end.predictor(x)[0], []
    for shift in range(1, len(x)):
        others.append((f - f.roll(shift)).square().mean())
    for move, at in enumerate((bent, noisy)):
        slow = (end.predictor(at)[0] - f).square().mean() / torch.stack(others).mean()
        assert float(got[1, 2, move]) == pytest.approx(float(slow), rel=1e-9)
    start = end.network.apply(end.w0, x)[0], end.network.apply(end.w0, bent)[0]
    slow = (start[1] - start[0]).square().mean() / (2 * start[0].var())
    assert float(got[0, 2, 0]) == pytest.approx(float(slow), rel=1e-9)
    torch.testing.assert_close(examples(end)[0, :, 3], bent[:3].float())
    assert torch.equal(examples(end)[0, :, 0], x[:3].float())
    turned = (end.predictor(bent)[0] * f <= 0).double().mean()
    assert float(flips(end)[0, 2]) == pytest.approx(float(turned), abs=1e-12)


def test_small_deformations_change_little_and_in_proportion():
    table = sweep(NET, [response, flips], None, seed=range(3), progress=False).mean("seed")
    D = table.response[1, :, 0].values
    assert D[1] / D[0] == pytest.approx((GRADIENTS[1] / GRADIENTS[0]) ** 2, rel=0.3)
    assert float(table.flips[0]) < 0.05 < float(table.flips[-1])


def test_what_is_no_image_is_refused():
    for wrong, words in (
        ({"preprocessing": "pca", "d": 10}, "preprocessing='none', got 'pca'"),
        ({"P_test": 2}, "3 or more, got 2"),
        ({"dataset": "stripe", "d": 5}, "square images of 1 or 3 channels are needed, got d = 5"),
    ):
        with pytest.raises(ValueError, match=words):
            sweep(NET.replace(**wrong), [response], None, seed=[0])
