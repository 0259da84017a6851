"""Features of pictures and texts, computed in the same way for training and for the queries of a trained model.

An encoder is a function that takes a batch and returns an array `[n, d]`. An image encoder takes a list of pictures,
uint8 `[h, w, 3]`; a text encoder takes a list of strings. Any such function can be used; `ImageEncoder` lists the
attributes that it may have.
"""

from gpldan_jax.features.bag_of_words import BagOfWords as BagOfWords
from gpldan_jax.features.extractors import FolderNeededError as FolderNeededError
from gpldan_jax.features.extractors import FunctionNeededError as FunctionNeededError
from gpldan_jax.features.extractors import SourceNeededError as SourceNeededError
from gpldan_jax.features.extractors import extractor as extractor
from gpldan_jax.features.extractors import unknown_words as unknown_words
from gpldan_jax.features.image_encoders import ImageEncoder as ImageEncoder
from gpldan_jax.features.image_encoders import hog_hsv as hog_hsv
from gpldan_jax.features.image_encoders import hog_hsv_encoder as hog_hsv_encoder
from gpldan_jax.features.image_encoders import network_encoder as network_encoder
from gpldan_jax.features.open_clip_encoders import open_clip_image_encoder as open_clip_image_encoder
from gpldan_jax.features.open_clip_encoders import open_clip_text_encoder as open_clip_text_encoder
from gpldan_jax.features.pictures import crop_square as crop_square
from gpldan_jax.features.pictures import fit_square as fit_square
from gpldan_jax.features.pictures import read_image as read_image
from gpldan_jax.features.pictures import read_images as read_images
from gpldan_jax.features.pictures import read_picture as read_picture
from gpldan_jax.features.sentence_encoder import SentenceEncoder as SentenceEncoder
from gpldan_jax.features.sentence_encoder import sentence_encoder as sentence_encoder
from gpldan_jax.features.timm_encoders import timm_image_encoder as timm_image_encoder
from gpldan_jax.features.tokenizer import Tokenizer as Tokenizer
from gpldan_jax.features.torch_encoders import TextTower as TextTower
from gpldan_jax.features.transformers_encoders import transformers_image_encoder as transformers_image_encoder
from gpldan_jax.features.transformers_encoders import transformers_text_encoder as transformers_text_encoder
from gpldan_jax.features.weights import read_state_dict as read_state_dict
