"""Where `toonsearch` starts, which `python -m search` is as well."""

import signal
import sys

# Until there is somebody to say "interrupted" (the imports take a tenth of a second), Ctrl-C ends
# the process without a word instead of with a traceback, and so does a second Ctrl-C afterwards.
# Who ignores Ctrl-C goes on doing so.
_python_listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _python_listens:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from search.cli import app  # noqa: E402

if _python_listens:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> int:
    """The command line; returns the exit code."""
    try:
        return app.main()
    except KeyboardInterrupt:  # a second one, while the first was told of
        return 130
    finally:
        if _python_listens:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
