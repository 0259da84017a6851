"""A collection that nobody has trained, and its page as a server runs it."""

import contextlib
import http.client
import json
import socket
import threading

import jax
import numpy as np

from gpldan_jax import models
from gpldan_jax.data import Standardization
from gpldan_jax.data.emoji import load_emoji_arrays
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index
from gpldan_jax.serving import server
from gpldan_jax.serving.collection import Collection, pictures_of
from gpldan_jax.serving.limits import Limits

NO_LIMIT = 10**6


def model(seed=0, **metadata):
    """A network for the features of emoji as it is before training."""
    emoji = load_emoji_arrays()
    projector = models.Projector(hidden=32, width=16, parts=2)
    parameters = projector.init(jax.random.key(seed), emoji.image[:1], emoji.text[:1])["params"]
    widths = [array.shape[1] for array in (emoji.image, emoji.text)]
    scaling = Standardization(*(fill(width) for width in widths for fill in (np.zeros, np.ones)))
    described = {
        "dataset": "emoji",
        "epoch": 3,
        "features": {
            "image": {"extractor": "hog_hsv"},
            "text": {"extractor": "bag_of_words", "vocabulary": list(emoji.vocabulary)},
        },
    }
    return models.TrainedModel(projector, parameters, scaling, described | metadata)


def indexes(of=None):
    """All emoji, represented by a model."""
    emoji, of = load_emoji_arrays(), of or model()
    fields = {
        "group": [emoji.groups[label] for label in emoji.label],
        "split": [SPLITS[split] for split in emoji.split],
        "sprite": [str(row) for row in range(len(emoji.names))],
    }
    features = {"image": emoji.image, "text": emoji.text}
    return {name: Index.build(of, array, emoji.names, name, fields=fields) for name, array in features.items()}


def collection():
    """The collection of all emoji."""
    found = indexes()
    return Collection(found, pictures_of(found["image"].model.metadata))


@contextlib.contextmanager
def serving(of, **limits):
    """Runs the page of a collection in a thread; gives the port."""
    running = server.running(of, ("127.0.0.1", "localhost"), Limits(**{"rate": NO_LIMIT, "burst": NO_LIMIT} | limits))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join()


def ask(port, path, method="GET", body=None, headers=None):
    """Status, headers and content of an answer; the content is read as JSON where it is that."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
    if response.headers.get_content_type() == "application/json" and content:
        content = json.loads(content)
    return response.status, response.headers, content
