"""How fast the loss, the training, the search and the image networks are on a machine, beside other libraries."""
