"""The laboratory: measurements and experiments about models, which are written down and can be repeated."""
