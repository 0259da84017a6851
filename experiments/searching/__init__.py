"""What `search.py serve` is made of: a collection that answers questions, its HTTP interface, and its page."""
