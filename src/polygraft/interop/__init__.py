"""Grafts from the files of other libraries, and files for them."""
