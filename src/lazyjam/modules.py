"""Any `torch.nn.Module` seen as this book sees a network: its outputs, its margins, its tangent kernel."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .kernels import ntk
from .networks import from_function
from .types import Gram, Params

BATCH = 1000  # patterns that are evaluated at once


def outputs(net: nn.Module, x: Tensor) -> Tensor:
    """(P, K) in double precision on the CPU, K = 1 for a single number.

    Raises ValueError for any other shape, and for numbers that are none.
    """
    parts = x.tensor_split(math.ceil(len(x) / BATCH))  # none of a single pattern, whose axis some nets squeeze
    with torch.no_grad():
        found = [net(_placed(net, part)) for part in parts]
    if not isinstance(found[0], Tensor):
        raise ValueError(f"a net returns a tensor, got a {type(found[0]).__name__}: wrap it in a module that does.")
    f = torch.cat(found) if len(x) > 1 else found[0].reshape(1, -1)
    if f.shape not in ((len(x),), (len(x), *f.shape[1:2])):
        raise ValueError(f"a net returns one number or one score per class for each pattern, (P,) or (P, K), "
                         f"got the shape {tuple(f.shape)} for {len(x)} patterns.")  # fmt: skip
    if not bool(f.isfinite().all()):
        raise ValueError("an output of a net is no finite number: its training has diverged, so take smaller steps.")
    return f.reshape(len(x), -1).double().cpu()


def tangent_kernel(net: nn.Module, x: Tensor) -> Gram:
    """The Gram matrix of the tangent kernel between all outputs of a module on patterns x (P, ...): (1, P K, P K)."""
    K, x = outputs(net, x[:2]).shape[1], _placed(net, x)
    trained = {name: value.detach() for name, value in net.named_parameters() if value.requires_grad}

    def apply(w: Params, numbers: Tensor) -> Tensor:
        which = numbers[:, 0].long()  # of pattern and class, because x may have any shape and type
        here = {name: value.reshape(trained[name].shape) for name, value in w.items()}
        f = functional_call(net, here, (x[which // K],))
        return f.reshape(-1, K).gather(1, (which % K)[:, None]).T

    numbers = torch.arange(len(x) * K, device=x.device, dtype=torch.float32)
    w = {name: value.reshape(1, -1) for name, value in trained.items()}  # of one run
    return ntk(from_function(dict, apply), w, numbers[:, None])


def _placed(net: nn.Module, x: Tensor) -> Tensor:
    """Where the net is, and in its precision."""
    w = next(net.parameters())
    return x.to(w.device, w.dtype) if x.is_floating_point() else x.to(w.device)


def margins(f: Tensor, y: Tensor) -> Tensor:
    """(..., P): y f where f is (..., P, 1); where it is (..., P, K), the score of the class less the best other one."""
    if f.shape[-1] == 1:
        return y * f[..., 0]
    own = torch.nn.functional.one_hot(y.long(), f.shape[-1]).bool()
    return f.where(own, 0.0).sum(-1) - f.where(~own, -torch.inf).amax(-1)


# what is refused -----------------------------------------------------------------------------------------------------


def check_labels(y: Tensor, K: int) -> None:
    """Raise ValueError for labels that do not go with K outputs: see `margins`."""
    if K == 1 and not bool((y.abs() == 1).all()):
        raise ValueError(f"the labels of a net with one output are +1 and -1, got {_some(y)}.")
    if K > 1 and not bool(((y >= 0) & (y < K) & (y == y.long())).all()):
        raise ValueError(f"the labels of a net with {K} outputs are the numbers 0 to {K - 1}, got {_some(y)}.")


def _some(y: Tensor) -> str:
    values = [f"{value:g}" for value in y.unique().tolist()]
    return ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")


def checked_pair(pair: Any) -> tuple[nn.Module, nn.Module]:
    """The pair itself. Raises ValueError for what is not two modules."""
    if not (isinstance(pair, tuple | list) and [isinstance(net, nn.Module) for net in pair] == [True, True]):
        raise ValueError(f"nets are pairs (net at the start, trained net), got a {type(pair).__name__} in their place.")
    return pair[0], pair[1]


def copies(start: nn.Module, end: nn.Module, x: Tensor) -> tuple[nn.Module, nn.Module]:
    """Two copies of a net as `eval()` leaves them, before and after training; the caller's stay as they are.

    x (P, ...): some patterns to try them on. Raises ValueError where they are not of one net, where the first is that
    after training, where a BatchNorm has not seen data at the start, and where outputs depend on chance or on the other
    patterns of a batch.
    """
    one, two = (dict(net.named_parameters()) for net in (start, end))
    shapes = [{(name, value.shape, value.requires_grad) for name, value in some.items()} for some in (one, two)]
    if shapes[0] != shapes[1]:
        names = sorted(name for name, *_ in shapes[0] ^ shapes[1])
        raise ValueError(f"the two copies of a net have the same parameters, but these differ in {names[0]!r}.")
    if not any(value.requires_grad for value in one.values()):
        raise ValueError("a net has parameters that require a gradient, but this one has none.")
    if all(torch.equal(one[name], two[name].to(one[name].device)) for name in one):
        raise ValueError("the copy at the start has the weights of the trained net: copy.deepcopy it before training.")
    for name, module in start.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.num_batches_tracked == 0:
            raise ValueError(f"the BatchNorm {name!r} has seen no data at the start, so its kernel means nothing: "
                             "pass the training set through the net in train mode before you copy it.")  # fmt: skip
    found = copy.deepcopy(start).eval(), copy.deepcopy(end).eval()
    for net in found:
        few, more = outputs(net, x[:2]), outputs(net, x[:3])[:2]
        if not torch.allclose(few, more, rtol=1e-3, atol=1e-3 * float(more.abs().max())):
            raise ValueError("an output depends on its own pattern and on no chance, but these depend on the rest of "
                             "the batch, or differ from call to call, after net.eval().")  # fmt: skip
    return found
