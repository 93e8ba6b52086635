"""What an AdapterHub configuration of a bottleneck or a Compacter means as parts.

The keys are those of `adapters` 1.3 and of adapter-transformers 1 to 3, whose files have them in capitals, with the
invertible part nested, and with other names of activations where they carry no version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from polygraft.errors import DataError
from polygraft.interop.options import Options, show
from polygraft.parts.bottleneck import Bottleneck
from polygraft.parts.compacter import Compacter
from polygraft.parts.invertible import Invertible
from polygraft.parts.part import Part
from polygraft.store.fields import JsonValue

ACTIVATIONS: Mapping[str, str] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "swish": "swish",
    "silu": "swish",
    "tanh": "tanh",
    "leakyrelu": "leakyrelu",
    "leaky_relu": "leakyrelu",
    "sigmoid": "sigmoid",
    "linear": "linear",
}
"""What that library calls the activations; `gelu_fast` and `gelu_pytorch_tanh` are the same formula as `gelu_new`."""
BEFORE_VERSIONS: Mapping[str, str] = {"gelu": "gelu_new", "gelu_orig": "gelu"}
"""What the names meant in files that carry no version."""

TRAINING_ONLY = ("dropout", "stochastic_depth", "init_weights", "init_weights_seed")
COMPACTER_TRAINING_ONLY = ("phm_c_init", "phm_init_range", "learn_phm", "hypercomplex_nonlinearity")
COMPACTER_ONLY = (
    *COMPACTER_TRAINING_ONLY,
    "phm_dim",
    "phm_rank",
    "phm_bias",
    "factorized_phm_w",
    "factorized_phm_rule",
    "shared_w_phm",
    "shared_phm_rule",
)
"""What means something with `phm_layer` only."""
FUSION_ONLY = ("attention_type", "new_attention_norm")
"""What the first releases wrote beside an adapter and only their fusion read."""

Placement = Literal["ffn", "attention+ffn", "parallel"]


def read_bottleneck_options(
    options: Options, *, num_layers: int, hidden: int, has_version: bool
) -> list[Part]:
    """Give the parts that a configuration asks for: bottlenecks, one for each width, or a Compacter, and the invertible
    part.

    Args:
        options: The object under `config` of adapter_config.json.
        num_layers: How many layers the base has.
        hidden: Size of a layer's output (D).
        has_version: Whether the file says which release wrote it.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options.ignore(*TRAINING_ONLY, *FUSION_ONLY)
    placement = _read_placement(options)
    activation = read_activation(options, "non_linearity", has_version=has_version)
    options.expect("use_gating", False, why="no part has a gate")
    options.expect("ln_before", False, why="no part has a LayerNorm of its own before the projection")
    options.expect("ln_after", False, why="no part has a LayerNorm of its own after the projection")
    options.expect("cross_adapter", False, why="the bases have no attention to another text")
    # Where the residual is added means nothing without a LayerNorm behind the projection.
    options.ignore("adapter_residual_before_ln")
    left_out = {layer for layer in options.wholes("leave_out") if 0 <= layer < num_layers}
    groups = _group_layers(options, num_layers=num_layers, left_out=left_out, hidden=hidden)
    skipped = {
        reduction: tuple(layer for layer in range(num_layers) if layer not in layers)
        for reduction, layers in groups.items()
    }
    parts: list[Part]
    if options.flag("phm_layer", default=False):
        parts = [_read_compacter(options, placement=placement, activation=activation, skipped=skipped)]
    else:
        options.ignore(*COMPACTER_ONLY)
        scaling = _read_scaling(options)
        parts = [
            Bottleneck(
                reduction=reduction,
                activation=activation,
                placement=placement,
                scaling=scaling,
                skip_layers=layers,
            )
            for reduction, layers in skipped.items()
        ]
    invertible = _read_invertible(options, activation=activation, has_version=has_version)
    options.close()
    return [*parts, *invertible]


def _read_scaling(options: Options) -> float | Literal["learned"]:
    value = options.take("scaling", 1.0)
    if value == "learned":
        return "learned"
    if value == "channel":
        raise options.refuse(
            "scaling", value, why="no part has a factor for each column", expected='a number or "learned"'
        )
    return options.number("scaling", 1.0)


def _read_compacter(
    options: Options, *, placement: Placement, activation: str, skipped: Mapping[float, tuple[int, ...]]
) -> Compacter:
    options.ignore(*COMPACTER_TRAINING_ONLY)
    options.expect("scaling", 1.0, 1, why="a Compacter has no factor")
    options.expect("phm_bias", True, why="a Compacter has biases")
    options.expect("shared_w_phm", False, why="each projection of a Compacter has matrices B of its own")
    options.expect("factorized_phm_rule", False, why="the matrices A of a Compacter are whole")
    if placement == "parallel":
        raise options.refuse("is_parallel", True, why="no Compacter stands there", expected="false")
    if len(skipped) > 1:
        raise options.refuse(
            "reduction_factor",
            options.take("reduction_factor"),
            why="a Compacter has one width in all layers",
            expected="a number",
        )
    terms, rank = options.whole("phm_dim", 4), options.whole("phm_rank", 1)
    is_thin = options.flag("factorized_phm_w", default=True)
    for key, value in (("phm_dim", terms), ("phm_rank", rank)):
        if value < 1:
            raise options.refuse(key, value, why="that is no sum of products", expected="1 or more")
    ((reduction, layers),) = skipped.items()
    return Compacter(
        reduction=reduction,
        terms=terms,
        rank=rank if is_thin else None,
        shared=options.flag("shared_phm_rule", default=True),
        activation=activation,
        placement=placement,
        skip_layers=layers,
    )


def lower_keys(values: Mapping[str, JsonValue], *, where: str) -> dict[str, JsonValue]:
    """Give the keys of a configuration in small letters.

    Raises:
        DataError: A key is there twice.
    """
    lowered: dict[str, JsonValue] = {}
    for key, value in values.items():
        if key.lower() in lowered:
            raise DataError(
                f"{where} has the key {key} twice, in small letters and in capitals. Expected it once. Remove one of "
                "them from the file."
            )
        lowered[key.lower()] = value
    return lowered


def _read_placement(options: Options) -> Placement:
    is_parallel = options.flag("is_parallel", default=False)
    has_attention, has_ffn = (
        options.flag("mh_adapter", default=False),
        options.flag("output_adapter", default=True),
    )
    norm_before = options.flag("original_ln_before", default=False)
    options.expect("original_ln_after", True, why="every part leaves the base's own LayerNorm where it is")
    if is_parallel and has_ffn and not has_attention:
        # In parallel the adapter reads the sublayer's input, whatever these two say.
        options.ignore("residual_before_ln")
        return "parallel"
    if has_ffn and not is_parallel and has_attention != norm_before:
        if norm_before:
            options.expect(
                "residual_before_ln", True, why="every part's residual is taken before the LayerNorm"
            )
            return "ffn"
        options.expect("residual_before_ln", True, False, why="there is no sum to take the residual after")
        return "attention+ffn"
    found = ", ".join(
        f"{key} = {show(value)}"
        for key, value in (
            ("mh_adapter", has_attention),
            ("output_adapter", has_ffn),
            ("is_parallel", is_parallel),
            ("original_ln_before", norm_before),
        )
    )
    raise DataError(
        f"{options.where} has {found}: no part stands there. Expected output_adapter alone with original_ln_before "
        "(Pfeiffer), mh_adapter and output_adapter without it (Houlsby), or output_adapter alone with is_parallel. "
        "What was trained with that cannot be brought over; nothing was written."
    )


def read_activation(options: Options, key: str, *, has_version: bool, default: str | None = None) -> str:
    """Give the project's name of an activation.

    Args:
        options: The configuration.
        key: What it calls the activation.
        has_version: Whether the file says which release wrote it.
        default: That library's name of the one that is meant if none is given; None if one has to be.

    Raises:
        DataError: No part has it.
    """
    return translate_activation(options, key, options.text(key, default), has_version=has_version)


def translate_activation(options: Options, key: str, value: object, *, has_version: bool) -> str:
    """Give the project's name for that library's name of an activation.

    Raises:
        DataError: No part has it.
    """
    name = str(value).lower()
    name = name if has_version else BEFORE_VERSIONS.get(name, name)
    if name not in ACTIVATIONS:
        raise options.refuse(
            key, value, why="no part has that activation", expected=f"one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def _group_layers(
    options: Options, *, num_layers: int, left_out: set[int], hidden: int
) -> dict[float, list[int]]:
    """Give the layers of each reduction factor; each becomes a bottleneck of its own."""
    value = options.take("reduction_factor")
    layers = [layer for layer in range(num_layers) if layer not in left_out]
    if not layers:
        raise options.refuse(
            "leave_out", sorted(left_out), why="no layer is left", expected="at least one layer to be left"
        )
    if not isinstance(value, dict):
        # The library gives no adapter less than one column.
        return {min(options.number("reduction_factor"), hidden): layers}
    by_layer = Options(value, where=f"{options.where}, reduction_factor")
    default = by_layer.take("default")
    groups: dict[float, list[int]] = {}
    for layer in layers:
        if by_layer.take(str(layer), default) is None:
            raise options.refuse(
                "reduction_factor",
                value,
                why=f"layer {layer} has none",
                expected="one for each layer, or a default",
            )
        factor = by_layer.number(str(layer), cast("float | None", default))
        groups.setdefault(min(factor, hidden), []).append(layer)
    by_layer.ignore(*(key for key in value if key.isdigit()))
    by_layer.close()
    return groups


def _read_invertible(options: Options, *, activation: str, has_version: bool) -> list[Part]:
    nested = options.mapping("invertible_adapter")
    kind, reduction = options.text("inv_adapter"), options.take("inv_adapter_reduction_factor")
    if nested is not None:
        # The first releases gave the invertible part options of its own.
        inner = Options(nested, where=f"{options.where}, invertible_adapter")
        if inner.take("non_linearity") is not None:
            activation = read_activation(inner, "non_linearity", has_version=has_version)
        kind, reduction = inner.text("block_type", "nice"), inner.number("reduction_factor", 2)
        inner.expect("block_type", "nice", why=_why_not(kind))
        inner.close()
    if kind is None:
        return []
    options.expect("inv_adapter", "nice", why=_why_not(kind))
    if reduction is None:
        reduction = 2
    if isinstance(reduction, bool) or not isinstance(reduction, int | float):
        raise options.refuse(
            "inv_adapter_reduction_factor", reduction, why="that is no number", expected="a number"
        )
    return [Invertible(reduction=reduction, activation=activation)]


def _why_not(coupling: str | None) -> str:
    if coupling == "glow":
        return "that library cannot compute its own GLOW, so nothing says what an adapter with it does"
    return "no part has that coupling"
