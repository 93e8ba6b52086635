"""Schedules: how sparse the weights are after each level of pruning, or at each step of training."""

from __future__ import annotations

from polygraft.errors import OptionError, nearest

KINDS = ("one-shot", "linear", "geometric", "cubic")


def list_sparsities(kind: str, *, final: float, num_levels: int) -> tuple[float, ...]:
    """Give the sparsity after each level, the last of which is the final one.

    With `s` the final sparsity and `x = i / num_levels` for the levels i from 1:

    - one-shot: `s` at once, in a single level;
    - linear: `s x`, every level removes as many weights;
    - geometric: `1 - (1 - s) ** x`, every level removes the same share of what is left (Frankle and Carbin 2019);
    - cubic: `s - s (1 - x) ** 3`, much at first, little at the end (Zhu and Gupta 2017).

    Args:
        kind: The schedule's name.
        final: Share of weights that is pruned in the end.
        num_levels: How often weights are removed.

    Raises:
        OptionError: The schedule is not known, or a number is out of range.

    Example:
        >>> list_sparsities("geometric", final=0.875, num_levels=3)
        (0.5, 0.75, 0.875)
    """
    if kind not in KINDS:
        raise OptionError(
            f"The schedule '{kind}' is not known. One of {', '.join(KINDS)} was expected.{nearest(kind, KINDS)} "
            "Choose one of them."
        )
    _check_sparsity("final", final)
    if num_levels < 1 or (kind == "one-shot" and num_levels != 1):
        expected = "1" if kind == "one-shot" else "A whole number of at least 1"
        raise OptionError(
            f"num_levels is {num_levels}. {expected} was expected for the schedule '{kind}'. Give such a number, or "
            "choose another schedule."
        )
    shares = [level / num_levels for level in range(1, num_levels)]
    return (*(_sparsity(kind, final=final, share=share) for share in shares), final)


def cubic_at(
    step: int, total: int, *, final: float, start_share: float, end_share: float, initial: float = 0.0
) -> float:
    """Give the sparsity at one step of a training that prunes while it trains (Zhu and Gupta 2017).

    `final + (initial - final) (1 - t) ** 3`, where t grows from 0 to 1 between the steps `start_share total` and
    `end_share total`. Movement pruning warms up before and lets the survivors settle after (Sanh et al. 2020).

    Args:
        step: Steps that are done.
        total: All steps of the training.
        final: Share of weights that is pruned in the end.
        start_share: Share of the steps before pruning begins; 0.1 is common.
        end_share: Share of the steps at which it ends; 0.7 is common.
        initial: Share of weights that is pruned before.

    Raises:
        OptionError: A number is out of range.

    Example:
        >>> [cubic_at(step, 100, final=0.75, start_share=0.0, end_share=0.5) for step in (0, 25, 75)]
        [0.0, 0.65625, 0.75]
    """
    if not 0 <= step <= total or total < 1:
        raise OptionError(
            f"step is {step} of {total}. A whole number from 0 to the number of all steps, which is at least 1, was "
            "expected. Count the steps that are done."
        )
    _check_sparsity("final", final)
    if not 0 <= initial <= final:
        raise OptionError(
            f"initial is {initial}. A share from 0 to the final sparsity, {final}, was expected. Give such a share; 0 "
            "is common."
        )
    if not 0 <= start_share < end_share <= 1:
        raise OptionError(
            f"start_share is {start_share} and end_share is {end_share}. Shares of all steps from 0 to 1 were "
            "expected, the first below the second. Give such shares; 0.1 and 0.7 are common."
        )
    start, end = start_share * total, end_share * total
    share = min(max((step - start) / (end - start), 0.0), 1.0)
    return final + (initial - final) * (1 - share) ** 3


def _sparsity(kind: str, *, final: float, share: float) -> float:
    if kind == "linear":
        return final * share
    if kind == "geometric":
        return 1 - (1 - final) ** share
    return final - final * (1 - share) ** 3


def _check_sparsity(name: str, sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise OptionError(
            f"{name} is {sparsity}. A number from 0 up to but not including 1 was expected, the share of weights that "
            "is pruned. Give one, for example 0.5."
        )
