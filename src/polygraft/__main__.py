"""The command `polygraft`, also `python -m polygraft`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from polygraft.cli.streams import close_output, prepare_streams

    prepare_streams()
    from polygraft.cli.app import app
    from polygraft.cli.console import fail, show_traceback
    from polygraft.cli.explain import describe_refused, describe_unexpected

    words = [word for word in sys.argv[1:] if word != "--traceback"]
    wants_traceback = len(words) < len(sys.argv) - 1
    try:
        app(args=words, prog_name="polygraft")
    except SystemExit as leaving:
        # Help whose reader has gone leaves with 1; it is no error here, either.
        if not isinstance(leaving.__context__, BrokenPipeError):
            raise
        close_output()
        sys.exit(0)
    except OSError as error:
        close_output()
        if wants_traceback:
            show_traceback(error)
        fail(describe_refused(error))
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a sentence.
        if wants_traceback:
            show_traceback(error)
        fail(describe_unexpected(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
