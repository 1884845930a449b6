"""What several test files share."""

import matplotlib
import pytest

matplotlib.use("agg")


@pytest.fixture
def ax():
    """Axes of the book's style, closed when the test is over."""
    from lazyjam import plots  # here, because most tests draw nothing

    figure, axes = plots.subplots()
    yield axes[0]
    plots.plt.close(figure)


@pytest.fixture
def as_a_user():
    """Without the checks of types that pytest adds: they come before the sentences that a user sees, and they take half
    of the time of small steps."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
