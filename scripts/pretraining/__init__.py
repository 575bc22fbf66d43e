"""Data and tasks of scripts/pretrain.py."""
