"""AdapterHub's LoRA and (IA)3: one architecture there, which adds a product or multiplies by factors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from polygraft.errors import GraftError
from polygraft.interop.options import Options
from polygraft.parts.ia3 import IA3
from polygraft.parts.lora import Lora
from polygraft.types import ProjectionRole

ATTENTION: Mapping[str, ProjectionRole] = {"q": "query", "k": "key", "v": "value"}
"""What that library calls the maps of the attention; it has no others there."""
TRAINING_ONLY = ("dropout", "init_weights", "init_weights_seed", "dtype")
"""What changes nothing that is computed; every tensor becomes float32."""


def read_linear_options(options: Options, *, num_layers: int, is_faulty: bool) -> Lora | IA3:
    """Give the part that a configuration with the architecture `lora` asks for.

    Args:
        options: The configuration.
        num_layers: How many layers the base has.
        is_faulty: Whether the release that wrote it computed as if alpha were the rank.

    Raises:
        DataError: A key is unknown, or asks for what no part does.
    """
    options.expect("architecture", "lora", why="that is another architecture")
    options.ignore(*TRAINING_ONLY)
    options.expect("use_gating", False, why="no part has a gate")
    for key in ("vera_d", "vera_b"):
        options.expect(
            key, why="that is VeRA, and no part has vectors between matrices that all layers share"
        )
    roles = _read_roles(options)
    skipped = tuple(sorted({layer for layer in options.wholes("leave_out") if 0 <= layer < num_layers}))
    if len(skipped) == num_layers:
        raise options.refuse(
            "leave_out", list(skipped), why="no layer is left", expected="at least one layer to be left"
        )
    rank, alpha = options.whole("r", 8), options.number("alpha", 8)
    has_dora = options.flag("use_dora", default=False)
    options.expect(
        "composition_mode", "add", "scale", why="no part joins its tensors with the base's otherwise"
    )
    is_scale = options.text("composition_mode", "add") == "scale"
    if is_scale:
        options.expect("r", 1, why="factors have no rank")
        options.expect("use_dora", False, why="factors have no direction")
    if rank < 1:
        raise options.refuse("r", rank, why="a product has at least one row", expected="1 or more")
    if alpha <= 0:
        raise options.refuse("alpha", alpha, why="that undoes the adapter", expected="a number above 0")
    options.close()
    if is_scale:
        return IA3(outputs=roles, inputs=(), skip_layers=skipped)
    return Lora(
        rank=rank, alpha=rank if is_faulty else alpha, roles=roles, skip_layers=skipped, dora=has_dora
    )


def _read_roles(options: Options) -> tuple[ProjectionRole, ...]:
    has_attention = options.flag("selfattn_lora", default=True)
    given = options.texts("attn_matrices") if options.take("attn_matrices") is not None else ("q", "v")
    for each in given:
        if each not in ATTENTION:
            raise options.refuse(
                "attn_matrices",
                list(given),
                why=f"'{each}' is none of the attention's maps",
                expected=f"some of {', '.join(ATTENTION)}",
            )
    roles: list[ProjectionRole] = [
        role for letter, role in ATTENTION.items() if has_attention and letter in given
    ]
    if options.flag("intermediate_lora", default=False):
        roles.append("up")
    if options.flag("output_lora", default=False):
        roles.append("down")
    if not roles:
        raise options.refuse(
            "attn_matrices",
            list(given),
            why="no linear map is left",
            expected="selfattn_lora with some of them, intermediate_lora or output_lora",
        )
    return tuple(roles)


def read_column(tensor: Tensor) -> Tensor:
    """Give numbers of rows, [rows], from a column of the file, [rows, 1]; anything else stays as it is."""
    return tensor.flatten() if tensor.dim() == 2 and tensor.shape[1] == 1 else tensor


def write_linear_options(part: Lora | IA3, *, name: str, num_layers: int) -> dict[str, object]:
    """Give the configuration of a part.

    Args:
        part: The part.
        name: What messages call the graft.
        num_layers: How many layers the base has.

    Raises:
        GraftError: It does what that library does not.
    """
    if isinstance(part, Lora) and part.dora:
        raise GraftError(
            f"The graft '{name}' has a LoRA with dora=True, and that library's DoRA multiplies the biases of its maps, "
            "too. Expected dora=False. Export another graft."
        )
    if isinstance(part, IA3) and part.inputs:
        raise GraftError(
            f"The graft '{name}' has an (IA)3 that multiplies what {', '.join(part.inputs)} read, and that library "
            "multiplies only what maps give. Expected no inputs. Export another graft."
        )
    roles = part.outputs if isinstance(part, IA3) else part.roles
    unknown = [role for role in roles if role not in (*ATTENTION.values(), "up", "down")]
    if unknown:
        raise GraftError(
            f"The graft '{name}' has the part '{part.kind}' at {', '.join(unknown)}, where that library has nothing. "
            "Expected some of query, key, value, up and down. Export another graft."
        )
    skipped = {layer % num_layers for layer in part.skip_layers}
    is_scale = isinstance(part, IA3)
    return {
        "alpha": 1 if is_scale else _shorten(part.scale * part.rank),
        "architecture": "lora",
        "attn_matrices": [letter for letter, role in ATTENTION.items() if role in roles],
        "composition_mode": "scale" if is_scale else "add",
        "dropout": 0.0,
        "dtype": None,
        "init_weights": "ia3" if is_scale else "lora",
        "init_weights_seed": None,
        "intermediate_lora": "up" in roles,
        "leave_out": sorted(skipped),
        "output_lora": "down" in roles,
        "r": 1 if is_scale else part.rank,
        "selfattn_lora": any(role in roles for role in ATTENTION.values()),
        "use_dora": False,
        "use_gating": False,
        "vera_b": None,
        "vera_d": None,
    }


def _shorten(value: float) -> float:
    """Give a whole number as such, as that library writes alpha."""
    return int(value) if value == int(value) else value
