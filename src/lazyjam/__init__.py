"""Gradient flow of many small networks at once, and the phase diagram of deep learning read off it.

    cache = Cache("data_cache")
    table = sweep(Setup(dataset="digits"), STANDARD, cache, h=[8, 32], alpha_tilde=[0.1, 1e3], seed=range(3))

A Setup says what is run, sweep runs it, and the table has named axes. What is drawn stands in `lazyjam.plots`.
"""

from .cache import Cache as Cache
from .claims import check as check
from .crossover import crossover as crossover
from .crossover import kernel_ratio as kernel_ratio
from .data import load as load
from .diagnosis import diagnose as diagnose
from .ensembles import ensemble as ensemble
from .ensembles import jackknife as jackknife
from .experiment import census as census
from .experiment import sweep as sweep
from .fits import bootstrap as bootstrap
from .fits import over_seeds as over_seeds
from .fits import power_law as power_law
from .fits import spearman as spearman
from .flow import Snapshot as Snapshot
from .flow import gradient_flow as gradient_flow
from .jamming import authors_width as authors_width
from .jamming import jamming_width as jamming_width
from .jamming import plane as plane
from .kernels import ntk as ntk
from .networks import Network as Network
from .networks import from_function as from_function
from .networks import fully_connected as fully_connected
from .observables import STANDARD as STANDARD
from .observables import N_delta as N_delta
from .observables import kernel_change as kernel_change
from .observables import observable as observable
from .observables import test_error as test_error
from .setups import Setup as Setup
from .setups import Trained as Trained
from .training import train as train
