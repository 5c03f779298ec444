"""The demo's catalog: Debian's public-domain clip art."""
