"""What `extract.py` is made of: which pairs of image and text there are, their features, and the file of both."""
