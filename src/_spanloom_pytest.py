"""The pytest plugin, kept outside the package so that loading it imports nothing of Spanloom (coverage stays true)."""
