"""polygraft: one frozen pretrained model, many small grafts."""
