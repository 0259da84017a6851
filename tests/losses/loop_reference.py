"""The losses as plain float64 loops over pairs, straight from the formulas. Slow, and independent of the package."""

import numpy as np

RHO = {"absolute": abs, "squared": lambda x: x * x, "signed": lambda x: x}


def cosine_distance(a, b):
    scale_a, scale_b = np.abs(a).max(), np.abs(b).max()
    if scale_a == 0 or scale_b == 0:
        return 1.0
    a, b = a / scale_a, b / scale_b
    return max(0.0, 1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def pair_distance(x, y, a, b):
    co_x = sum((a[r] + b[r]) * x[r] for r in range(len(a)))
    co_y = sum((a[r] + b[r]) * y[r] for r in range(len(a)))
    return cosine_distance(co_x, co_y)


def target_distances(u, c):
    n = len(u)
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                d[i, j] = np.sqrt(
                    exact_zero(cosine_distance(u[i], u[j]), u[i], u[j])
                    * exact_zero(cosine_distance(c[i], c[j]), c[i], c[j])
                )
    mean = d.sum() / max(n * (n - 1), 1)
    return d / mean if mean > 0 else d


def exact_zero(distance, a, b):
    return 0.0 if np.array_equal(a, b) and a.any() else distance


def graph_pattern_loss(image, text, a, b, u, c, *, alpha, beta, discrepancy="absolute", where=None):
    """The loss and its three terms, as Python floats."""
    if a is None:
        image, text = image[:, None], text[:, None]
        a = b = np.ones((len(image), 1))
    arrays = [np.asarray(x, np.float64) for x in (image, text, a, b, u, c)]
    if where is not None:
        arrays = [x[where] for x in arrays]
    v, t, a, b, u, c = arrays
    n = len(v)
    if n == 0:
        return 0.0, (0.0, 0.0, 0.0)
    rho, d = RHO[discrepancy], target_distances(u, c)
    pairwise = unpaired = mutual = 0.0
    for i in range(n):
        pairwise += pair_distance(v[i], t[i], a[i], b[i]) / n
        for j in range(n):
            if i == j:
                continue
            vt = pair_distance(v[i], t[j], a[i], b[j])
            vv = pair_distance(v[i], v[j], a[i], a[j])
            tt = pair_distance(t[i], t[j], b[i], b[j])
            unpaired += (rho(vt - d[i, j]) + rho(vv - d[i, j]) + rho(tt - d[i, j])) / n**2
            mutual += (abs(vt - vv) + abs(vt - tt) + abs(vv - tt)) / n**2
    return pairwise + alpha * unpaired + beta * mutual, (pairwise, unpaired, mutual)


def soft_contrastive(image, text, a, b, similarity, *, scale, within=1.0, own=1.0, where=None, groups=None):
    """The loss as a Python float."""
    if a is None:
        image, text = image[:, None], text[:, None]
        a = b = np.ones((len(image), 1))
    present = [i for i in range(len(image)) if where is None or where[i]]
    v, t, a, b = (np.asarray(x, np.float64) for x in (image, text, a, b))

    def entropy(i, distance, others):  # distance: of one instance of pair i to one of each other pair
        weights = {}
        for j in others:
            is_partner = i == j or (groups is not None and groups[i] == groups[j])
            weights[j] = own if is_partner else max(float(similarity[i, j]), 0.0)
        if sum(weights.values()) == 0:
            return 0.0
        logits = {j: scale * (1 - distance(j)) for j in others}
        highest = max(logits.values())
        normalizer = highest + np.log(sum(np.exp(z - highest) for z in logits.values()))
        return -sum(weights[j] / sum(weights.values()) * (logits[j] - normalizer) for j in others)

    total = 0.0
    for i in present:
        others = [j for j in present if j != i]
        cross = entropy(i, lambda j, i=i: pair_distance(v[i], t[j], a[i], b[j]), present)
        cross += entropy(i, lambda j, i=i: pair_distance(v[j], t[i], a[j], b[i]), present)
        inner = entropy(i, lambda j, i=i: pair_distance(v[i], v[j], a[i], a[j]), others)
        inner += entropy(i, lambda j, i=i: pair_distance(t[i], t[j], b[i], b[j]), others)
        total += (cross + within * inner) / 2
    return total / max(len(present), 1)
