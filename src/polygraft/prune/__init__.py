"""Which weights: masks over named tensors, and the scores, scopes and schedules that choose them."""
