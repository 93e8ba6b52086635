"""What is run by the peers' own Python is no test."""

from __future__ import annotations

collect_ignore = ["incumbents.py"]
