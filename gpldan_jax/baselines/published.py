"""Table 2 of the paper, MAP@50: image to text, text to image, average (arXiv 2106.13552).

Its features (VGG-19, AlexNet, BERT) are not those that circulate, so the figures are for orientation.
"""

_METHODS = ("cmcp", "acmr", "dscmr", "jrl", "cca", "dcca", "dccae", "cdpae", "gpldan")
_ROWS = {
    "wikipedia": (
        (0.499, 0.443, 0.493, 0.472, 0.296, 0.388, 0.361, 0.470, 0.482),
        (0.593, 0.499, 0.632, 0.560, 0.346, 0.426, 0.425, 0.475, 0.543),
        (0.546, 0.471, 0.563, 0.516, 0.321, 0.407, 0.393, 0.473, 0.513),
    ),
    "pascal": (
        (0.378, 0.407, 0.392, 0.341, 0.279, 0.366, 0.405, 0.413, 0.476),
        (0.355, 0.410, 0.415, 0.359, 0.256, 0.354, 0.413, 0.353, 0.462),
        (0.366, 0.408, 0.404, 0.350, 0.268, 0.360, 0.409, 0.383, 0.469),
    ),
    "nuswide": (
        (0.378, 0.306, 0.408, 0.400, 0.258, 0.346, 0.329, 0.383, 0.389),
        (0.334, 0.308, 0.373, 0.376, 0.250, 0.337, 0.337, 0.368, 0.381),
        (0.356, 0.307, 0.390, 0.388, 0.254, 0.342, 0.333, 0.376, 0.385),
    ),
    "xmedia": (
        (0.831, 0.895, 0.911, 0.899, 0.122, 0.762, 0.772, 0.901, 0.904),
        (0.765, 0.931, 0.935, 0.934, 0.120, 0.801, 0.773, 0.947, 0.942),
        (0.798, 0.913, 0.923, 0.917, 0.121, 0.773, 0.781, 0.924, 0.923),
    ),
}


def row(dataset: str, method: str) -> tuple[float, float, float] | None:
    """The published image to text, text to image and average, `None` where there are none.

    Example:
        >>> row("wikipedia", "gpldan"), row("cub", "gpldan"), row("wikipedia", "infonce")
        ((0.482, 0.543, 0.513), None, None)
    """
    if dataset not in _ROWS or method not in _METHODS:
        return None
    place = _METHODS.index(method)
    return tuple(figures[place] for figures in _ROWS[dataset])
