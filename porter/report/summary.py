"""The sentence that a verification ends with, in plain text: the verdict, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from porter.proof import Option
from porter.verification.files import Verification

Head = Literal["VERIFIED", "NOT VERIFIED", "VERIFICATION FAILED"]


@dataclass(frozen=True)
class Call:
    """What was asked.

    Attributes:
        command: the command line.
        source, output: the two files as they were given.
        conversion: what `bnport convert` has to be given to write `output` anew, besides the two files.
    """

    command: str
    source: str
    output: str
    conversion: tuple[str, ...] = ()


def summary(verification: Verification) -> tuple[Head, str]:
    """The verdict in capitals, and the sentence behind it."""
    if verification.verified:
        whole = "; both networks agree" if verification.network else ""
        return "VERIFIED", f"{_equal(verification)}; {_ran(verification)}{whole}."
    if not verification.ok:
        return "VERIFICATION FAILED", _next_step(verification)
    skipped = verification.not_run
    if not skipped:
        whole = "the networks could not be compared whole"
        return "NOT VERIFIED", f"{_equal(verification)}; {_ran(verification)}; {whole}."
    note = next((check.note for check in skipped[0].checks if check.ok is None and check.note), "")
    return "NOT VERIFIED", (
        f"{_equal(verification)}, but {len(skipped)} of {len(verification.layers)} layers were not run: "
        f"{note.rstrip('.')}. bnport doctor says what runs here."
    )


def is_another_source(verification: Verification) -> bool:
    """Whether hardly a tensor of the output has a name that the source leads to."""
    counts = Counter(problem.problem for problem in verification.problems)
    return counts["unexpected"] > 0 and counts["missing"] > 9 * verification.compared


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _equal(verification: Verification) -> str:
    after = f" ({verification.cast} after the cast)" if verification.cast else ""
    return f"{plural(verification.compared, 'tensor')} equal the source's{after}"


def _ran(verification: Verification) -> str:
    layers = len(verification.layers)
    return f"{plural(layers, 'layer')} run, all within bounds" if layers else "no batch normalisation to run"


def _next_step(verification: Verification) -> str:
    if is_another_source(verification):
        missing = sum(problem.problem == "missing" for problem in verification.problems)
        return (
            f"OUTPUT was not made from this SOURCE, or under other names: {missing} of the "
            f"{plural(missing + verification.compared, 'tensor')} expected are missing. Give the SOURCE it was made "
            "from, or --strip-prefix, --rename or --rules as they were given to convert."
        )
    failed = [layer for layer in verification.layers if layer.ok is False]
    if not verification.problems and not failed:
        unloaded = verification.network and verification.network.problems
        what = (
            f"{unloaded[0].side}'s network does not fit it" if unloaded else "the networks compute different things"
        )
        return f"the file is right, but {what}. Mend the target network and verify again."
    causes = {layer.cause for layer in failed}
    if verification.problems or "parameters" in causes:
        counts = (len(verification.problems), "tensor"), (len(failed), "layer")
        wrong = " and ".join(plural(count, what) for count, what in counts if count)
        return f"{wrong} wrong in the output. Write it anew, with the options of its conversion."
    layers = plural(len(failed), "layer")
    if "settings" in causes:
        where = "target network or its config" if _options(verification).get("output_config") else "target network"
        return f"{layers} configured otherwise; the parameters are right. Mend the {where} and verify again."
    return (
        f"{layers} off although parameters and settings are right: no fault of the conversion. "
        "Loosen --atol or --rtol if they were given; else please report it, with what bnport doctor shows."
    )


def next_command(verification: Verification, call: Call) -> str | None:
    """What to type next where the verification failed; None where there is nothing to do."""
    if verification.ok:
        return None
    if is_another_source(verification):
        return shlex.join(["bnport", "inspect", call.output])
    causes = {layer.cause for layer in verification.layers if layer.ok is False}
    if verification.problems or "parameters" in causes:
        return shlex.join(["bnport", "convert", call.source, "-o", call.output, "--force", *call.conversion])
    return call.command if "settings" in causes or not causes else "bnport doctor"


def _options(verification: Verification) -> Mapping[str, Option]:
    return verification.circumstances.options if verification.circumstances else {}
