"""From images with labels to new weights; knows no windows.

Only `process` knows that it is a process of its own and has a thread to listen.
"""
