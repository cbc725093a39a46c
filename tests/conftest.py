"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run, and no limit on the time of one: the first call of a kernel compiles it.
settings.register_profile("fastconv", derandomize=True, deadline=None)
settings.load_profile("fastconv")
