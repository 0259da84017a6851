"""Readers of feature files, one module a format. Nothing in a file is executed."""
