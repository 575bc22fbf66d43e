"""Parts of accuracy.py: data sets, networks, training, testing, and the report."""
