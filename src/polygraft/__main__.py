"""The command `polygraft`, also `python -m polygraft`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from polygraft.cli.app import app
    from polygraft.cli.console import fail, show_traceback
    from polygraft.cli.explain import describe_unexpected

    words = [word for word in sys.argv[1:] if word != "--traceback"]
    wants_traceback = len(words) < len(sys.argv) - 1
    try:
        app(args=words, prog_name="polygraft")
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a sentence.
        if wants_traceback:
            show_traceback(error)
        fail(describe_unexpected(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
