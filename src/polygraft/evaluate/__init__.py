"""Scores out: spans, labels, perplexity, intervals, and the rows that hold them."""
