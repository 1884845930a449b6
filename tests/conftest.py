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
