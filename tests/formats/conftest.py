"""What wrote the folders here is run by another library's Python, and is no test."""

from __future__ import annotations

collect_ignore_glob = ["*/make.py"]
