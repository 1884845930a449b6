"""The drawing of images and of what deformations do to them."""

import numpy as np


def gallery(axes: np.ndarray, images: np.ndarray, titles: list[str]) -> np.ndarray:
    """Images (rows, columns, pixels) in axes (rows, columns), one title a column. Of three channels the mean is shown.

    A row has one scale of grey, from its darkest pixel, white, to its brightest one.
    """
    for row, pictures in zip(axes, images, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            side = int(np.sqrt(picture.size if np.sqrt(picture.size) % 1 == 0 else picture.size / 3))
            square = picture.reshape(-1, side, side).mean(0)
            ax.imshow(square, cmap="Greys", vmin=pictures.min(), vmax=pictures.max(), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    return axes
