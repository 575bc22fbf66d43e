"""New models: a network for the user's classes and channels, on a pretrained encoder.

The encoder's first convolutions are fitted to the image's channels; all else of
it is taken over as it is. Decoder and head start from seeded random numbers, so
the model's card says that it is untrained.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_rwkv_seg.errors import ModelError, OutputError, SettingsError

from .building import build_checked
from .card import ClassCard, ModelCard, Normalization, class_cards, plain_text
from .encoders import EncoderCard, EncoderEntry, find_encoder, read_encoder
from .folders import check_name, is_taken, make_home
from .store import ModelEntry, list_models, user_folder, write_model

if TYPE_CHECKING:
    from torch import Tensor, nn

SEED = 42
FROM_NOTHING = "none (random weights)"
"""What a card names as its parent if not even the encoder was trained before."""
MOST_CHANNELS = 64
VARIANTS = {"med_urwkv": ("T", "S", "B", "L"), "rwkv_unet": ("T", "S", "B")}
# Which network an encoder serves, and as what.
_SERVES = {
    "vrwkv": ("med_urwkv", "plain"),
    "vrwkv_adapter": ("med_urwkv", "adapter"),
    "rwkv_unet_encoder": ("rwkv_unet", ""),
}
_FIRST_WEIGHTS = (  # those that see the image's channels
    "patch_embed.projection.weight",
    "spm.stem.0.weight",
    "stage0.0.conv.conv.weight",
)
_RGB_MEAN, _RGB_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, in [0, 1]
_GREY_MEAN, _GREY_STD = [0.449], [0.226]
_NARROW_FROM = ("B", "L")


def new_model(  # noqa: PLR0913 - each is one choice of the user's
    name: str,
    *,
    classes: Sequence[str | ClassCard],
    architecture: str = "med_urwkv",
    variant: str | None = None,
    encoder: str | None = None,
    in_channels: int = 3,
    config: dict[str, Any] | None = None,
    seed: int = SEED,
) -> ModelEntry:
    """Make a model that is to be fine-tuned, and write it among the user's.

    Parameters
    ----------
    name : str
        Its name; no model may have it yet.
    classes : sequence of str or ClassCard
        The classes; a background is put first unless the first is called so.
        Cards carry colours of their own, and are taken as they are.
    architecture : {'med_urwkv', 'rwkv_unet'}
        The network.
    variant : str, optional
        Its size; None takes the encoder's, or 'T' without one.
    encoder : str, optional
        Name or folder of a pretrained encoder; None starts from random weights.
    in_channels : int
        Channels of the images: 1 grey, 3 RGB, or any other number.
    config : dict, optional
        What else `networks.build_network` can be told, such as ``{"decoder": "slim"}``.
        A plain VRWKV may serve ``{"encoder": "adapter"}``: the adapter around it is new.
    seed : int
        Of the random numbers.

    Raises
    ------
    SettingsError
        If the name, the classes or the channels cannot be used, or the encoder does
        not fit the architecture or variant.
    ModelError
        If there is no such encoder or architecture, or it cannot be used.
    OutputError
        If there is a model of that name, or it cannot be written.
    """
    if is_taken(check_name(name), (entry.name for entry in list_models())):
        raise OutputError(f"There is a model {name!r} already; choose another name.")
    if not 1 <= in_channels <= MOST_CHANNELS:
        raise SettingsError(f"A model takes 1 to {MOST_CHANNELS} channels, got {in_channels}.")
    entry = find_encoder(encoder) if encoder is not None else None
    source = entry.card if entry is not None else None
    variant, settings = _settle(architecture, variant, source, dict(config or {}))
    card = ModelCard(
        name=name,
        title=plain_text(name, 80),
        purpose="New: not trained yet",
        architecture=architecture,
        variant=variant,
        config=settings,
        input_channels=in_channels,
        normalization=_normalization(in_channels, source),
        classes=_classes(classes),
        parent=f"encoder {source.name}" if source else FROM_NOTHING,
        license=source.license if source else "yours to choose",
        training_data="none yet",
        citation=source.citation if source else "",
        untrained=True,
    )
    network = _made(card, entry, seed)
    folder = make_home(user_folder()) / name
    written = write_model(folder, network, card, _description(card, source))
    return ModelEntry(folder, written)


def serves(card: EncoderCard) -> str:
    """Return the architecture that an encoder is a part of."""
    return _SERVES[card.architecture][0]


def _settle(
    architecture: str, variant: str | None, source: EncoderCard | None, settings: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return variant and settings of the network that an encoder, if there is one, goes into."""
    if source is not None:
        wanted, flavour = _SERVES[source.architecture]
        if architecture != wanted:
            raise SettingsError(
                f"Encoder {source.name!r} ({source.title}) serves {wanted!r}, not {architecture!r}."
            )
        if variant not in (None, source.variant):
            raise SettingsError(
                f"Encoder {source.name!r} is of size {source.variant}, not {variant}."
            )
        variant = source.variant
        settings = {**source.config, **settings}
        if flavour:
            settings.setdefault("encoder", flavour)
        if flavour == "adapter" and settings["encoder"] != "adapter":
            raise SettingsError(f"Encoder {source.name!r} has an adapter; the network must too.")
    variant = variant or "T"
    if architecture == "med_urwkv" and variant in _NARROW_FROM:
        settings.setdefault("decoder", "narrow")
    return variant, settings


def _made(card: ModelCard, entry: EncoderEntry | None, seed: int) -> "nn.Module":
    """Return the network with seeded random weights, and the encoder's where there is one."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_checked(
            card.architecture,
            card.variant,
            in_channels=card.input_channels,
            classes=len(card.classes),
            **card.config,
        )
    if entry is not None:
        _take_over(network.get_submodule("encoder"), read_encoder(entry), card.input_channels)
    return network


def _take_over(target: "nn.Module", source: "nn.Module", channels: int) -> None:
    """Copy the weights of `source` into `target`, the first ones fitted to `channels`.

    What only `target` has (the adapter around a plain VRWKV) stays as it is; what
    only `source` has may be no more than the final norm that an adapter does not use.
    """
    weights = source.state_dict()
    for key in _FIRST_WEIGHTS:
        if key in weights:
            weights[key] = fit_channels(weights[key], channels)
    own = target.state_dict()
    left = {key for key in weights if key not in own} - {"ln1.weight", "ln1.bias"}
    wrong = [key for key in weights if key in own and weights[key].shape != own[key].shape]
    if left or wrong:
        raise ModelError(
            f"The encoder does not fit the network: {sorted(left | set(wrong))[0]!r} has no place."
        )
    target.load_state_dict(own | {key: weights[key] for key in weights if key in own}, strict=True)


def fit_channels(weight: "Tensor", channels: int) -> "Tensor":
    """Return a convolution's weight (O, C, h, w) for images of another number of channels.

    For one channel the weights are summed, which is what an image repeated C times
    would give. Otherwise they are taken in turn and scaled by C / channels, so that
    the sum over all channels keeps its size.
    """
    given = weight.shape[1]
    if channels == given:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turn = [index % given for index in range(channels)]
    return weight[:, turn] * (given / channels)


def _normalization(channels: int, source: EncoderCard | None) -> Normalization:
    """Return what the encoder was trained with, as far as the channels allow."""
    if source is None:
        return Normalization()
    if channels == len(_RGB_MEAN):
        return Normalization(mean=_RGB_MEAN, std=_RGB_STD)
    return Normalization(mean=_GREY_MEAN, std=_GREY_STD)


def _classes(classes: Sequence[str | ClassCard]) -> list[ClassCard]:
    cards = [each for each in classes if isinstance(each, ClassCard)]
    names = [plain_text(each, 80) for each in classes if isinstance(each, str)]
    if cards and not names:
        found = cards
    elif names and not cards and all(names):
        found = class_cards(names)
    else:
        found = []
    if not 2 <= len(found) <= 256:
        raise SettingsError("A model needs 1 to 255 classes besides the background, each named.")
    return found


def _description(card: ModelCard, source: EncoderCard | None) -> str:
    start = (
        f"the pretrained encoder `{source.name}` ({source.title})" if source else "random numbers"
    )
    return (
        f"Made from {start}; the decoder and the head hold random numbers. "
        "It is not trained: fine-tune it before you use its labels."
    )
