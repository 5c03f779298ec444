"""The web page and API: the same engine as the command line, behind HTTP."""
