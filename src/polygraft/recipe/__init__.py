"""A whole experiment: recipes, the steps they need, and running them."""
