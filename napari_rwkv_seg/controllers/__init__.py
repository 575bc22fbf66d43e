"""What the user is doing: choices, jobs and results; knows no Qt and no napari."""
