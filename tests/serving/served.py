"""A collection that nobody has trained, and its page as a server runs it."""

import asyncio
import contextlib
import http.client
import ipaddress
import json
import socket
import threading
import time
from urllib.parse import urlencode

import jax
import numpy as np

from gpldan_jax import _files, config, models, training
from gpldan_jax.data import Standardization
from gpldan_jax.data.emoji import load_emoji_arrays, load_emoji_pictures
from gpldan_jax.data.paired import SPLITS
from gpldan_jax.index import Index
from gpldan_jax.runs import session
from gpldan_jax.runs import workdir as workdirs
from gpldan_jax.serving import http_app, server
from gpldan_jax.serving.collection import Collection
from gpldan_jax.serving.limits import Limits
from gpldan_jax.serving.thumbnail_file import build_thumbnails, open_thumbnails

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


def finished_run(folder):
    """Writes what a finished run on the emoji leaves, of a small model that has not been trained."""
    settings = config.with_values(
        config.dataset_config("emoji"), {"model.hidden": 32, "model.width": 16, "model.parts": 2}
    )
    dataset, standardization = session.load(settings["dataset"])
    projector = training.projector_from_config(settings)
    parameters = projector.init(jax.random.key(0), dataset.test.images[:1], dataset.test.texts[:1])["params"]
    trained = session.trained_model(settings, dataset, standardization, parameters, epoch=1)
    models.save_model(folder / workdirs.MODEL, trained)
    _files.write_json(folder / workdirs.CONFIG, {"config": settings, "data": dataset.fingerprint()})


def indexes(of=None, **more):
    """All emoji, encoded by a model; `more` are fields of the images and texts."""
    emoji, of = load_emoji_arrays(), of or model()
    fields = {
        "group": [emoji.groups[label] for label in emoji.label],
        "split": [SPLITS[split] for split in emoji.split],
    } | more
    features = {"image": emoji.image, "text": emoji.text}
    return {name: Index.build(of, array, emoji.names, name, fields=fields) for name, array in features.items()}


def collection(folder):
    """The collection of all emoji, with its thumbnails in a folder."""
    names = build_thumbnails(folder, list(load_emoji_pictures()), threads=1)
    return Collection(indexes(picture=names), open_thumbnails(folder), title="emoji")


@contextlib.contextmanager
def serving(of, port=0, proxies=(), **limits):
    """Runs the page of a collection in a thread; yields the port."""
    proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
    limits = Limits(**{"rate": NO_LIMIT, "burst": NO_LIMIT} | limits)
    app = http_app.create_app(of, hosts=("127.0.0.1", "localhost"), limits=limits, proxies=proxies)
    stop, loop = asyncio.Event(), asyncio.new_event_loop()

    def run():
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.run(app, listener, limits, stop, proxies))

    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        server.close_slow_readers(listener, limits)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(stop.set)
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


def answer(port, path, **parameters):
    """The content of an answer that is expected to be good; a list gives a parameter several times."""
    status, _, content = ask(port, f"{path}?{urlencode(parameters, doseq=True)}")
    assert status == 200, content
    return content


def shown(found):
    """The ids and distances of an answer."""
    return [(result["id"], np.float32(result["distance"])) for result in found["results"]]


def expected(found):
    """The ids and distances of a search in an index."""
    return list(zip(found.ids[0].tolist(), found.distances[0], strict=True))


def raw(port, content, end="wait"):
    """What the server sends to whoever sends this, and then waits, sends no more, or is gone."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(OSError):
        connection.sendall(content)
        if end == "send no more":
            connection.shutdown(socket.SHUT_WR)
        while end != "be gone" and (part := connection.recv(65536)):
            received += part
    return received


class Slow(Collection):
    """A collection whose searches take a while."""

    def __init__(self, indexes, pause):
        super().__init__(indexes)
        object.__setattr__(self, "pause", pause)

    def search(self, *args):
        time.sleep(self.pause)
        return super().search(*args)
