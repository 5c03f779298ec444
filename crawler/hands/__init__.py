"""Pictures by many hands from packages, as one folder to train on."""
