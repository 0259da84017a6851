"""The commands: one module each. They alone parse flags and speak of them."""
