"""The command: one file per command, and what they show."""
