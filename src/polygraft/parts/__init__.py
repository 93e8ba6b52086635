"""What a graft is made of: one mechanism a file."""
