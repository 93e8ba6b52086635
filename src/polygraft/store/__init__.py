"""Grafts on disk."""
