"""The commands; `search/cli/app.py` imports only the module of the one that is run."""
