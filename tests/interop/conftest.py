"""What runs in the peers' environment holds no test, and imports libraries that are not here."""

from __future__ import annotations

collect_ignore_glob = ["peer_*.py"]
