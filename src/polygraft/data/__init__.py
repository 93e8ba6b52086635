"""Examples in: files are read, turned into token ids, and cut into batches."""
