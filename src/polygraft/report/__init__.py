"""Pictures and pages: what a run did, what came out, and what it cost."""
