"""What several kinds of tests share; the fixtures built on it are in `tests/conftest.py`."""
