"""From images with labels to new weights; knows no threads, processes or windows."""
