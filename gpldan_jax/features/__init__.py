"""Features of pictures and texts, the same for what a model was trained on and for what it has never seen."""

from gpldan_jax.features.bag_of_words import BagOfWords as BagOfWords
from gpldan_jax.features.extractors import extractor as extractor
from gpldan_jax.features.extractors import unknown_words as unknown_words
from gpldan_jax.features.hog_hsv import hog_hsv as hog_hsv
from gpldan_jax.features.pictures import read_picture as read_picture
