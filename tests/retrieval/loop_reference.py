"""The metrics as plain loops, straight from their definitions. Slow, and independent of the package."""


def ranking(row):
    return sorted(range(len(row)), key=lambda j: row[j])  # `sorted` is stable: ties stay in the order of the gallery


def average_precision(row, query_label, gallery_labels, k, convention):
    found, total = 0, 0.0
    for rank, j in enumerate(ranking(row)[:k], start=1):
        if gallery_labels[j] == query_label:
            found += 1
            total += found / rank
    relevant = found if convention == "hits" else sum(label == query_label for label in gallery_labels)
    return total / relevant if relevant else 0.0


def mean_average_precision(distances, query_labels, gallery_labels, k, convention):
    values = [
        average_precision(row, label, gallery_labels, k, convention)
        for row, label in zip(distances, query_labels, strict=True)
    ]
    return sum(values) / len(values)


def recall_at(distances, k):
    return sum(i in ranking(row)[:k] for i, row in enumerate(distances)) / len(distances)
