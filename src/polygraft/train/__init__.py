"""Making a graft: objectives and the one training loop."""
