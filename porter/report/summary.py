"""The sentence that a verification ends with, in plain text: the verdict, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from porter.formats.casting import Overflow
from porter.proof import Option
from porter.target import way_to_fit
from porter.verification.files import Verification
from porter.verification.results import LayerResult
from porter.verification.suspect import NOT_JUDGED

Head = Literal["VERIFIED", "NOT VERIFIED", "VERIFICATION FAILED"]


# In a command, for what nobody but the user knows.
LEFT_OPEN = "..."
# More tensors than this with one fault are told of in one sentence.
_MANY = 5


class Call(NamedTuple):
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


Command = Callable[[Call], Sequence[str]]


def summary(verification: Verification) -> tuple[Head, str]:
    """The verdict in capitals, and the sentence behind it."""
    if verification.verified:
        whole = "; both networks agree" if verification.network else ""
        return "VERIFIED", f"{_equal(verification)}; {_ran(verification)}{whole}.{_odd(verification)}"
    if not verification.ok:
        return "VERIFICATION FAILED", _way_out(verification)[0]
    skipped = verification.not_run
    if not skipped:
        whole = "the networks could not be compared whole"
        return "NOT VERIFIED", f"{_equal(verification)}; {_ran(verification)}; {whole}."
    return "NOT VERIFIED", f"{_equal(verification)}, but {_not_run(verification)}"


def is_another_source(verification: Verification) -> bool:
    """Whether hardly a tensor of the output has a name that the source leads to."""
    counts = Counter(problem.problem for problem in verification.problems)
    return counts["unexpected"] > 0 and counts["missing"] > 9 * verification.compared


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _equal(verification: Verification) -> str:
    after = f" ({verification.cast} after the cast)" if verification.cast else ""
    equal = "equals" if verification.compared == 1 else "equal"
    return f"{plural(verification.compared, 'tensor')} {equal} the source's{after}"


def _ran(verification: Verification) -> str:
    layers = len(verification.layers)
    return f"{plural(layers, 'layer')} run, all within bounds" if layers else "no layer of a known kind to run"


def _odd(verification: Verification) -> str:
    """That a right conversion is one of a source which may be wrong itself."""
    count = sum(bool(layer.suspect) for layer in verification.layers)
    odd = f"{count} of them {'holds' if count == 1 else 'hold'} odd values of the source's own, such as NaN"
    return f" {odd}: see the notes; --strict refuses them." if count else ""


def _not_run(verification: Verification) -> str:
    """Why layers were not run, or not judged, and what helps."""
    skipped = verification.not_run
    unrun = [layer for layer in skipped if not _note(layer).startswith(NOT_JUDGED)]
    count = len(unrun or skipped)
    of = f"{count} of {plural(len(verification.layers), 'layer')}"
    if unrun:
        reason = _note(unrun[0]).rstrip(".")
        # What a framework refuses is this machine's; the rest is the layer's, and the reason says what helps.
        doctor = " bnport doctor says what runs here." if reason.startswith(("PyTorch", "MindSpore")) else ""
        others = len(skipped) - count
        unjudged = f" Of the others {others} could not be judged." if others else ""
        return f"{of} {'was' if count == 1 else 'were'} not run: {reason}.{doctor}{unjudged}"
    names = ", ".join(layer.name or "(root)" for layer in skipped[:3]) + ", ..." * (len(skipped) > 3)
    return (
        f"{of} could not be judged ({names}): {_note(skipped[0]).removeprefix(NOT_JUDGED)}. Nothing is known to be "
        "wrong with the conversion; take another checkpoint, or accept this one as it is."
    )


def _note(layer: LayerResult) -> str:
    return next((check.note for check in layer.checks if check.ok is None and check.note), "")


def _way_out(verification: Verification) -> tuple[str, Command]:
    """What is wrong and what to do, as a sentence, and as a command."""
    failed = [layer for layer in verification.layers if layer.ok is False]
    causes = {layer.cause for layer in failed}
    overflow = verification.overflow if "dtype" in causes else None
    if is_another_source(verification):
        return _of_another_source(verification), lambda call: ["bnport", "inspect", call.output]
    if verification.problems or "parameters" in causes:
        counts = (len(verification.problems), "tensor"), (len(failed), "layer")
        wrong = " and ".join(plural(count, what) for count, what in counts if count)
        sentence = (
            f"{wrong} wrong in the output{_alike(verification)}. Write it anew, with the options of its conversion."
        )
        return sentence, lambda call: _anew(call, overflow)
    return _of_layers(verification, failed, overflow) if failed else _of_networks(verification)


def _of_layers(
    verification: Verification, failed: Sequence[LayerResult], overflow: Overflow | None
) -> tuple[str, Command]:
    """Where the file holds what its conversion should have written, and layers fail."""
    causes = Counter(layer.cause for layer in failed)
    if overflow:
        layers = plural(causes["dtype"], "layer")
        sentence = f"{overflow.dtype} is too small for {layers}. Convert with --dtype {' or '.join(overflow.wider)}."
        return sentence, lambda call: _anew(call, overflow)
    if "settings" in causes:
        layers = plural(causes["settings"], "layer")
        where = "target network or its config" if _options(verification).get("output_config") else "target network"
        sentence = f"{layers} configured otherwise; the parameters are right. Mend the {where} and verify again."
        return sentence, lambda call: shlex.split(call.command)
    if set(causes) == {"source"}:
        layers = plural(causes["source"], "layer")
        sentence = (
            f"{layers} with values that the source has, too, and that --strict refuses; the conversion is right. "
            "Take another checkpoint, or leave --strict out."
        )
        return sentence, lambda call: [word for word in shlex.split(call.command) if word != "--strict"]
    layers = plural(causes["framework"], "layer")
    sentence = (
        f"{layers} off although parameters and settings are right: no fault of the conversion. "
        "Loosen --atol or --rtol if they were given; else please report it, with what bnport doctor shows."
    )
    return sentence, lambda call: ["bnport", "doctor"]


def _of_another_source(verification: Verification) -> str:
    missing = sum(problem.problem == "missing" for problem in verification.problems)
    return (
        f"OUTPUT was not made from this SOURCE, or under other names: {missing} of the "
        f"{plural(missing + verification.compared, 'tensor')} expected are missing. Give the SOURCE it was made "
        "from, or --strip-prefix, --rename or --rules as they were given to convert."
    )


def _alike(verification: Verification) -> str:
    """What is wrong with most tensors where that is one and the same: a file that is wrong throughout."""
    faults = Counter(problem.fault for problem in verification.problems if problem.fault)
    fault, count = next(iter(faults.most_common(1)), ("", 0))
    return f", {count} of the tensors in one way: each {fault}" if count > _MANY else ""


def _of_networks(verification: Verification) -> tuple[str, Command]:
    unloaded = verification.network and verification.network.problems
    if not unloaded:
        sentence = (
            "the file is right, but the networks compute different things. Mend the target network and verify again."
        )
        return sentence, lambda call: shlex.split(call.command)
    way_out = way_to_fit([problem.difference for problem in unloaded])
    sentence = f"the file is right, but {unloaded[0].side}'s network does not fit it. {way_out}"
    if _is_named_otherwise(verification):
        return sentence, lambda call: _anew(call._replace(conversion=("--align", *call.conversion)), None)
    return sentence, lambda call: shlex.split(call.command)


def next_command(verification: Verification, call: Call) -> str | None:
    """What to type next where the verification failed; None where there is nothing to do."""
    return None if verification.ok else shlex.join(_way_out(verification)[1](call))


def blanks(command: str) -> str | None:
    """What is to be filled in by hand before `command` can be typed; None for nothing."""
    is_open = LEFT_OPEN in shlex.split(command)
    return f"{LEFT_OPEN} stands for what it was given then: the record keeps no patterns" if is_open else None


def _anew(call: Call, overflow: Overflow | None) -> list[str]:
    """Write the output anew, in a dtype that holds what overflowed."""
    options = _with_dtype(call.conversion, overflow.wider[0]) if overflow else call.conversion
    return ["bnport", "convert", call.source, "-o", call.output, "--force", *options]


def _is_named_otherwise(verification: Verification) -> bool:
    """Whether the target network has parameters that the output lacks, and the output others that it lacks."""
    problems = verification.network.problems if verification.network else ()
    return {"missing", "left over"} <= {problem.difference.problem for problem in problems}


def _with_dtype(options: Sequence[str], dtype: str) -> list[str]:
    """The options of a conversion, with this `--dtype` in place of theirs."""
    words = list(options)
    if "--dtype" in words:
        place = words.index("--dtype")
        del words[place : place + 2]
    return [*words, "--dtype", dtype]


def _options(verification: Verification) -> Mapping[str, Option]:
    return verification.circumstances.options if verification.circumstances else {}
