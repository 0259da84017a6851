"""A collection that people can search: build it, ask it, and serve a page."""
