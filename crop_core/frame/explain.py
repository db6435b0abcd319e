"""Says in words where a crop's window lies and why. Standard library only."""

from __future__ import annotations

from crop_core.frame.plan import FOCUS, CropPlan

# What is done without a subject, by the request's `if_none`.
WITHOUT_SUBJECT = {
    "saliency": "it was cut where people would most likely cut it",
    "center": "it was cut in the middle",
    "full_image": "all of it was kept",
}
NOTHING_CUT = "nothing was cut (if_none empty)"


def explained(number: int, plan: CropPlan, on_backdrop: bool) -> str:
    """Return a line for the crop, and below it a line for each claim on its place, the strongest first.

    Args:
        number: The crop's.
        plan: Where it is cut.
        on_backdrop: Whether it was cut to the object that `trim` found on the backdrop.
    """
    x1, y1, x2, y2 = plan.window.xyxy
    fallback = without_subject(plan)
    what = "the object on the backdrop" if on_backdrop else plan.label
    what = "the focus" if plan.rule == FOCUS else "no subject" if fallback else what
    lines = [f"{number:02d} {plan.aspect_ratio}: {x2 - x1}x{y2 - y1} pixels from ({x1}, {y1}), for {what}"]
    if plan.why_ratio:
        lines.append(f"  ratio: {plan.why_ratio}")
    if fallback:
        return "\n".join([*lines, f"  nothing that was asked for was found, so {fallback}"])
    return "\n".join(
        [*lines, *(f"  {one}" for one in plan.verdicts or ["nothing to decide: the window has one place"])]
    )


def without_subject(plan: CropPlan) -> str:
    """Return what was done with a photo that has no subject; empty if the plan has one."""
    if plan.rule not in WITHOUT_SUBJECT:
        return ""
    if plan.frame:
        return "all of it was kept (fit pad)"
    return f"{WITHOUT_SUBJECT[plan.rule]} (if_none {plan.rule})"
