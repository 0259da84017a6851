"""The pure parts of a sweep: its points, what comes out of it, its figure."""
