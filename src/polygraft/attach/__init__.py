"""A graft meets a base: plans, and the only folder with hooks."""
