"""Features of pictures and texts, the same for what a model was trained on and for what it has never seen.

An encoder is a function of a batch that returns an array `[n, d]`: of a list of pictures, uint8 `[h, w, 3]`, or of a
list of strings. `image_encoder` says what attributes it may have; any function of this kind will do.
"""

from gpldan_jax.features.bag_of_words import BagOfWords as BagOfWords
from gpldan_jax.features.extractors import FunctionNeededError as FunctionNeededError
from gpldan_jax.features.extractors import SourceNeededError as SourceNeededError
from gpldan_jax.features.extractors import extractor as extractor
from gpldan_jax.features.extractors import unknown_words as unknown_words
from gpldan_jax.features.image_encoders import ImageEncoder as ImageEncoder
from gpldan_jax.features.image_encoders import hog_hsv as hog_hsv
from gpldan_jax.features.image_encoders import hog_hsv_encoder as hog_hsv_encoder
from gpldan_jax.features.image_encoders import network_encoder as network_encoder
from gpldan_jax.features.pictures import crop_square as crop_square
from gpldan_jax.features.pictures import fit_square as fit_square
from gpldan_jax.features.pictures import read_image as read_image
from gpldan_jax.features.pictures import read_images as read_images
from gpldan_jax.features.pictures import read_picture as read_picture
from gpldan_jax.features.sentence_encoder import SentenceEncoder as SentenceEncoder
from gpldan_jax.features.sentence_encoder import sentence_encoder as sentence_encoder
from gpldan_jax.features.state_dict import read_state_dict as read_state_dict
