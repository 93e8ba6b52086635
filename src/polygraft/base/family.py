"""How the bases of one family of architectures are laid out: what a row of the table of sites says."""

from __future__ import annotations

from dataclasses import dataclass

from polygraft.types import ProjectionRole


@dataclass(frozen=True, kw_only=True)
class SublayerPaths:
    """Where one sublayer of a layer begins and ends, as paths below the layer."""

    input: str
    """The layer whose first argument is the sublayer's residual input, `inp`."""
    output: str
    """The layer whose output is `h`, what is added to `inp`."""
    norm: str | None = None
    """The LayerNorm that is applied to `h + inp`; None where the family is pre-norm."""


@dataclass(frozen=True, kw_only=True)
class HeadPaths:
    """Where a pretrained head that scores pieces is, as paths below the model that has one."""

    decoder: str
    """The linear layer onto the vocabulary."""
    dense: str | None = None
    norm: str | None = None
    activation: str | None = None
    """Either a key of the configuration, or `=name` for a fixed activation."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the table: how the bases of a family are laid out."""

    name: str
    model_types: tuple[str, ...]
    """Values of `model_type` in a Hugging Face configuration."""
    layers: str
    embeddings: str
    """The layer whose output enters the first layer (before any projection to D)."""
    attention: SublayerPaths
    ffn: SublayerPaths
    heads: tuple[HeadPaths, ...]
    """Where a head that scores pieces may be; the first whose decoder exists is taken."""
    is_decoder: bool = False
    """Whether it was made to guess the next piece: a token sees those before it alone, unless a base's configuration
    says otherwise."""
    has_transposed_weights: bool = False
    """Whether the files of its bases hold the weights of linear layers as [inputs, outputs]."""
    has_pooler: bool = False
    """Whether the bare encoder of this family brings a pooler, which is always left out."""
    last_norm: bool = False
    """Whether a norm follows the last layer: then the last hidden state is not the last layer's output."""
    layers_give_weights: bool = False
    """Whether a layer gives a pair: its output, and the weights of its attention or None."""
    looks_back: bool = False
    """Whether something behind the lowest layer looks at what entered it."""
    position_roles: tuple[ProjectionRole, ...] = ()
    """The linear maps that embeddings of relative positions go through as well."""
    config_keys: tuple[str, ...] = ()
    """What of the family's configuration changes its outputs and no weight's shape, beside the usual."""
