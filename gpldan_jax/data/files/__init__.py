"""Readers of feature files, one module a format; `reading` finds the format. Nothing in a file is executed."""
