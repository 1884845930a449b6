"""Names of the tensor axes: R runs of a batch, P patterns, d inputs, h width, N parameters.

Shapes in signatures are written with the aliases below. They are checked under pytest only.
"""

from jaxtyping import Float
from torch import Tensor

Params = dict[str, Tensor]
"""Parameters by name. Those of a batch carry the axis of runs in front."""

Flat = Float[Tensor, "R N"]
"""The same parameters as one row per run."""

Inputs = Float[Tensor, "P d"]
Labels = Float[Tensor, "P"]
Outputs = Float[Tensor, "R P"]
PerRun = Float[Tensor, "R"]
Gram = Float[Tensor, "R P Q"]
