"""From images and captions to a feature file: read pairs, draw splits, encode, and write a `.npz`.

    pairs = draw_splits(read_table("captions.csv", "photos"))
    extract(pairs, image_encoder("hog_hsv"), choose_words("train"), "features.npz")

Any function of a list of pictures or strings can take the place of an encoder. The file is a dataset for
`gpldan_jax.data.load_dataset("npz", path="features.npz")`.
"""

from gpldan_jax.extraction.encoders import Words as Words
from gpldan_jax.extraction.encoders import choose_words as choose_words
from gpldan_jax.extraction.encoders import image_encoder as image_encoder
from gpldan_jax.extraction.encoders import text_encoder as text_encoder
from gpldan_jax.extraction.pair_tables import read_table as read_table
from gpldan_jax.extraction.pairs import Pair as Pair
from gpldan_jax.extraction.pairs import TooManySkippedError as TooManySkippedError
from gpldan_jax.extraction.pairs import count_unused_images as count_unused_images
from gpldan_jax.extraction.pairs import draw_splits as draw_splits
from gpldan_jax.extraction.pipeline import Extraction as Extraction
from gpldan_jax.extraction.pipeline import extract as extract
from gpldan_jax.extraction.releases import RELEASES as RELEASES
from gpldan_jax.extraction.releases import read_nuswide as read_nuswide
from gpldan_jax.extraction.releases import read_pascal as read_pascal
from gpldan_jax.extraction.releases import read_wikipedia as read_wikipedia
