"""The frozen model: loading, fingerprints, and the places where grafts attach."""
