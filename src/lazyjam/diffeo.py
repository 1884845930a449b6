"""Smooth deformations of images, and how much a net feels them (Section 1.3, Eq. 9).

tau moves the pixel at s in [0, 1]^2 to s + xi(s). The fields xi are those of largest entropy at a given gradient:
both components are sums of sin(i pi s_1) sin(j pi s_2) over i^2 + j^2 <= CUT^2, with normal coefficients of variance
proportional to 1 / (i^2 + j^2) (Petrini et al. 2021). They vanish at the border.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from .networks import image_shape
from .observables import decided, observable
from .setups import Setup, Trained
from .types import Inputs

CUT = 3
GRADIENTS = (0.03, 0.1, 0.3, 1.0)
"""rms of the gradient of xi over fields and places, at which nets are asked."""
IMAGES = 500  # of the test set that are deformed, one field each
EXAMPLES = 3  # of them that `examples` shows
FIELDS = 2021  # seed of the fields, and of the noise that is compared with them


def fields(n: int, side: int, generator: Generator) -> Float[Tensor, "Q 2 s s"]:
    """n random fields xi at the centres of side x side pixels, with <|grad xi|^2> = 1, in units of the image's side."""
    modes = [(i, j) for i in range(1, CUT + 1) for j in range(1, CUT + 1) if i * i + j * j <= CUT * CUT]
    scale = math.sqrt(2 / len(modes)) / math.pi  # for <C^2> = T / k^2, <|grad xi|^2> is T pi^2 len(modes) / 2
    at = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    waves = torch.stack([torch.outer((j * math.pi * at).sin(), (i * math.pi * at).sin()) for i, j in modes])
    size = torch.tensor([scale / math.hypot(i, j) for i, j in modes], dtype=torch.float64)
    C = torch.randn(n, 2, len(modes), generator=generator, dtype=torch.float64)
    return torch.einsum("ncm,mab->ncab", C * size, waves)


def deform(images: Float[Tensor, "Q c s s"], xi: Float[Tensor, "Q 2 s s"]) -> Float[Tensor, "Q c s s"]:
    """x(s - xi(s)), T_tau[x] to first order in xi: bilinear, the border continued. xi: (x, y) for every pixel."""
    side = images.shape[-1]
    at = (torch.arange(side, dtype=images.dtype) + 0.5) / side
    here = torch.stack(torch.meshgrid(at, at, indexing="xy"))  # (x, y) of every pixel
    there = (2 * (here - xi) - 1).permute(0, 2, 3, 1)
    return F.grid_sample(images, there, mode="bilinear", padding_mode="border", align_corners=False)


def _fine(images: Tensor, xi: Tensor) -> Tensor:
    """The same on images of twice as many pixels a side, and back: how much pixels matter."""

    def twice(values: Tensor) -> Tensor:
        return F.interpolate(values, scale_factor=2, mode="bicubic", align_corners=False)

    return F.avg_pool2d(deform(twice(images), twice(xi)), 2)


def _images(setup: Setup) -> tuple[int, int]:
    """Channels and side of the images. Raises ValueError for inputs that are none."""
    if setup.preprocessing != "none":
        raise ValueError(f"deformed are the pixels of an image, preprocessing='none', got {setup.preprocessing!r}.")
    if setup.P_test < EXAMPLES:
        raise ValueError(f"deformed images are compared with others, P_test of {EXAMPLES} or more, got {setup.P_test}.")
    return image_shape(setup.d)


def _moved(trained: Trained) -> tuple[Inputs, list[list[Inputs]]]:
    """Test images, and for each of GRADIENTS: deformed; with noise of the same norm; deformed on finer pixels."""
    channels, side = _images(trained.setup)
    x = trained.data.test.x[:IMAGES].cpu()
    images, generator = x.reshape(-1, channels, side, side), torch.Generator().manual_seed(FIELDS)
    xi, eta = fields(len(x), side, generator), torch.randn(x.shape, generator=generator, dtype=x.dtype)
    eta = eta / eta.norm(dim=1, keepdim=True)
    rows = []
    for size in GRADIENTS:
        bent = deform(images, size * xi).flatten(1)
        noisy = x + (bent - x).norm(dim=1, keepdim=True) * eta
        rows.append([bent, noisy, _fine(images, size * xi).flatten(1)])
    return x, rows


@observable(dims={"image": EXAMPLES, "gradient": 1 + len(GRADIENTS), "pixel": lambda setup: setup.d}, needs=_images)
def examples(trained: Trained) -> Tensor:
    """The first test images, as they are and deformed by GRADIENTS, in single precision: to look at."""
    x, rows = _moved(trained)
    some = torch.stack([x[:EXAMPLES], *(row[0][:EXAMPLES] for row in rows)], dim=1).float()
    return some.expand(len(trained.setups), *some.shape).clone()


@observable(dims={"when": 2, "gradient": len(GRADIENTS), "move": 3}, needs=_images)
def response(trained: Trained) -> Tensor:
    """<(f(x') - f(x))^2> / <(f(z) - f(x))^2> over test images, z another one: of f_tilde at the start, of f at the end.

    x' is x deformed, D_f; x with white noise of the same norm, G_f; and x deformed on finer pixels. For GRADIENTS. The
    ratio R_f = D_f / G_f is one for a net to which deformations are like noise (Petrini et al. 2021).
    """
    x, rows = _moved(trained)
    device = trained.alpha.device

    def ratios(f) -> Tensor:
        base = f(x.to(device))
        return torch.stack([torch.stack([_change(f(moved.to(device)), base) for moved in row], 1) for row in rows], 1)

    both = (lambda at: trained.network.apply(trained.w0, at), trained.predictor)
    return decided(trained, torch.stack([ratios(f) for f in both], dim=1))


def _change(moved: Tensor, base: Tensor) -> Tensor:
    """Two different images differ by twice the variance."""
    return (moved - base).square().mean(1) / (2 * base.var(1))


@observable(dims={"gradient": len(GRADIENTS)}, needs=_images)
def flips(trained: Trained) -> Tensor:
    """Share of the test images of which a deformation changes the sign of f, for GRADIENTS."""
    x, rows = _moved(trained)
    base = trained.predictor(x.to(trained.alpha.device))
    moved = [trained.predictor(row[0].to(base.device)) for row in rows]
    return decided(trained, torch.stack([(f * base <= 0).double().mean(1) for f in moved], dim=1))
