"""What people should know beside the verdict of a check."""

from app.evidence.realised import Realised


def say_what_is_capped(compared: Realised) -> list[str]:
    """That some errors are beyond what sums hold, in a sentence.

    >>> say_what_is_capped(Realised())
    []
    """
    capped = compared.errors.clipped if compared.errors else 0
    if not capped:
        return []
    are = (
        "1 label is so far off that it was"
        if capped == 1
        else f"{capped:,} labels are so far off that they were"
    )
    return [
        f"{are} capped: the true errors are larger than `metrics` says. Correct what is wrong by feedback."
    ]
