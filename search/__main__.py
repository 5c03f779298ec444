"""Where `toonsearch` starts, which `python -m search` is as well."""

import signal
import sys

# Until there is somebody to say "interrupted" (the imports take a tenth of a second), Ctrl-C ends
# the process without a word instead of with a traceback. Who ignores Ctrl-C goes on doing so.
_python_listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _python_listens:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from search.cli.app import main  # noqa: E402

if _python_listens:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    sys.exit(main())
