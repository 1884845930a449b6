"""The images of the book are those that nets were shown."""

import matplotlib
import numpy as np

from lazyjam import plots, plots_images

matplotlib.use("agg")


def test_gallery_has_every_image_at_its_place():
    images = np.arange(2 * 3 * 12.0).reshape(2, 3, 12)
    figure, axes = plots.subplots(3, rows=2)
    plots_images.gallery(axes, images, ["a", "b", "c"])
    for row, pictures in zip(axes, images, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            (drawn,) = ax.images
            assert np.array_equal(drawn.get_array(), picture.reshape(3, 2, 2).mean(0))  # three channels of four pixels
            assert drawn.get_clim() == (pictures.min(), pictures.max())
    assert [ax.get_title() for ax in axes[0]] == ["a", "b", "c"]
    plots.plt.close(figure)
