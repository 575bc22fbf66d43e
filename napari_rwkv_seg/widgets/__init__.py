"""The only floor that knows Qt and napari: docks, and the link to a viewer's layers."""
