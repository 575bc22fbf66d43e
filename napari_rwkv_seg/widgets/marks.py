"""What the metadata of our layers are marked with, so that they are known again."""

METADATA_KEY = "napari-rwkv-seg"  # holds what made the layer, as plain values
ROLE = "role"  # in it, of layers that only show something; see `finetune_matching`
