"""The sentence that a verification ends with, in plain text: the verdict, and what to do next."""

from __future__ import annotations

from shlex import quote
from typing import Literal

from porter.verification.files import Verification

Head = Literal["VERIFIED", "NOT VERIFIED", "VERIFICATION FAILED"]


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


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _equal(verification: Verification) -> str:
    after = f" ({verification.cast} after the cast)" if verification.cast else ""
    return f"{plural(verification.compared, 'tensor')} equal the source's{after}"


def _ran(verification: Verification) -> str:
    layers = len(verification.layers)
    return f"{plural(layers, 'layer')} run, all within bounds" if layers else "no batch normalisation to run"


def _next_step(verification: Verification) -> str:
    failed = [layer for layer in verification.layers if layer.ok is False]
    if not verification.problems and not failed:
        return (
            "the file is right, but the networks do not load it, or compute different things with it. Mend the "
            "target network and verify again."
        )
    causes = {layer.cause for layer in failed}
    if verification.problems or "parameters" in causes:
        counts = [plural(len(verification.problems), "tensor"), *([plural(len(failed), "layer")] if failed else [])]
        return f"{' and '.join(counts)} wrong in the output. Write it anew: bnport convert SOURCE -o OUTPUT --force"
    layers = plural(len(failed), "layer")
    if "settings" in causes:
        return (
            f"{layers} behave differently although the parameters are right: the settings differ. Mend them in the "
            "target network and verify again."
        )
    return (
        f"{layers} depart from the reference although parameters and settings are right: no fault of the conversion. "
        "Loosen --atol or --rtol if they were given; else please report it, with what bnport doctor shows."
    )


def next_command(verification: Verification, source: str, output: str) -> str | None:
    """What to type next where the verification failed; None where there is nothing to do.

    Args:
        source, output: the files as they were given.
    """
    if verification.ok:
        return None
    files = quote(source), quote(output)
    causes = {layer.cause for layer in verification.layers if layer.ok is False}
    if verification.problems or "parameters" in causes:
        return f"bnport convert {files[0]} -o {files[1]} --force"
    if "settings" in causes or not causes:
        options = verification.circumstances.options if verification.circumstances else {}
        networks = (f"--{side} {quote(str(options[side]))}" for side in ("model", "net") if options.get(side))
        return " ".join(["bnport verify", *files, *networks])
    return "bnport doctor"
