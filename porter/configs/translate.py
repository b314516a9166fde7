"""From the settings found in a config to the changes that say them in another framework's terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from porter.configs.agreement import Use, clashes, named_after_the_shared
from porter.configs.changes import Change, Remark, Translation, Undecision
from porter.configs.doubled import notes_on_names
from porter.configs.model import Found, Setting, Site
from porter.configs.references import decimal_of
from porter.configs.rules import STAYS, Case, Outcome, outcome
from porter.configs.splices import Splice
from porter.configs.terms import ONLY_MINDSPORE, TERMS, Dialect, Signature
from porter.configs.told import KEEP, option
from porter.configs.translate_names import FRAMEWORKS, NameTranslator, dialect_of
from porter.configs.tree import Document, Expression, Place, Scalar
from porter.errors import Undecided, UsageError


def translate(
    document: Document,
    found: Found,
    to: Dialect,
    from_: Dialect | None = None,
    signature: Signature = "classic",
    recorded: Dialect | None = None,
) -> Translation:
    """Say a config's settings in the terms of `to`.

    Args:
        document: the config.
        found: what a search found in it.
        to: torch, mindspore or mint.
        from_: whose terms settings are in that do not say so themselves; only such sites are then translated.
        signature: of mindspore.nn.
        recorded: whose terms such settings are in by the record of an earlier translation, which outweighs `from_`.

    Raises:
        UsageError: a setting would change and nothing says in whose terms it is.
    """
    result = Translation()
    from_, recorded = (dialect and _signed(dialect, signature) for dialect in (from_, recorded))
    work = _Translator(document, _signed(to, signature), from_, recorded or from_, result, recorded is not None)
    work.sites(found, signature)
    work.classes(found.classes)
    work.unread(found.unread)
    work.imports()
    result.notes += notes_on_names(result.changes)
    result.needs_person += (
        Remark("", "", place.text, document.place(place.span.start)) for place in document.needs_person
    )
    for things in (result.changes, result.warnings, result.needs_person, result.notes, result.undecided):
        things.sort(key=lambda thing: thing.place)
    return result


def _signed(dialect: Dialect, signature: Signature) -> Dialect:
    return "announced" if dialect == "mindspore" and signature == "announced" else dialect


@dataclass
class _Translator(NameTranslator):
    is_recorded: bool = False
    # Values that serve several sites are remarked on once.
    _suspected: set[int] = field(default_factory=set)

    def sites(self, found: Found, signature: Signature) -> None:
        uses = [Use(use.path, use.offset, "", use.entry, use.value, defines=use.defines) for use in found.others]
        for site in found.sites:
            source = self._source(site, signature)
            if site.doubt:
                self._doubt(site, source)
                continue
            if source is None:
                self._demand_from(site)
            uses += self._uses(site, source)
            self._remark_on(site, source)
        self._change([*self._agreeing(uses)])

    def _source(self, site: Site, signature: Signature) -> Dialect | None:
        """Whose terms a site is in."""
        if self.is_recorded and self._is_named_by_what_stayed(site):
            return self.unsaid
        if site.dialect and site.class_name and not any(s.name in ONLY_MINDSPORE for s in site.settings):
            return _signed(site.dialect, signature)
        return site.dialect or self.unsaid

    def _is_named_by_what_stayed(self, site: Site) -> bool:
        """Whether a layer's class is named through an import that the recorded translation left as it was."""
        stayed = {dialect_of(each) for each in self.document.imports if not each.alone}
        return site.node.callee_span is None and site.dialect in stayed - {None}

    def _uses(self, site: Site, source: Dialect | None) -> list[Use]:
        """What becomes of each value of a site."""
        uses = []
        for setting in site.settings:
            for value in setting.values:
                done = STAYS
                if source and self.translates(source):
                    done = outcome(
                        Case(setting, value, source, self.to, ".".join(site.path) or "the layer", self.document)
                    )
                uses.append(
                    Use(setting.path, setting.offset, setting.name, setting.entry, value, done, setting, source)
                )
            if setting.problem and source and self._inverts(setting, source):
                problem = Outcome(needs_person=setting.problem)
                uses.append(
                    Use(setting.path, setting.offset, setting.name, setting.entry, None, problem, setting, source)
                )
        return named_after_the_shared(uses)

    def _inverts(self, setting: Setting, source: Dialect) -> bool:
        inverts = TERMS[source].inverted != TERMS[self.to].inverted
        return self.translates(source) and (inverts or setting.name != "momentum")

    def _readings(self, site: Site, source: Dialect | None) -> Iterator[Use]:
        """What would become of a site in whichever terms it may be."""
        if source:
            yield from self._uses(site, source)
            return
        readings: tuple[Dialect, ...] = ("torch", "mindspore")
        for reading in readings:
            yield from replace(self, from_=reading)._uses(site, reading)

    def _doubt(self, site: Site, source: Dialect | None) -> None:
        """Ask for every setting that would change if the site were a batch normalisation's."""
        uses = {use.path: use for use in self._readings(site, source) if use.outcome.changes}
        for use in uses.values():
            path = ".".join(use.path)
            options = tuple(option(path, word) for word in (use.name, KEEP))
            undecision = Undecision(path, use.name, site.doubt or "", self._place(use), options)
            self.result.undecided.append(undecision)

    def _demand_from(self, site: Site) -> None:
        use = next((u for u in self._readings(site, None) if u.outcome.changes or u.outcome.needs_person), None)
        if use:
            line, column = self._place(use)
            raise UsageError(
                f"nothing says in whose terms {use.name} is written",
                entry=f"line {line}, column {column}: {'.'.join(use.path)}",
                hint="Add --from torch, --from mindspore or --from mint.",
            )

    def _agreeing(self, uses: Sequence[Use]) -> Iterator[Use]:
        """The uses whose value becomes the same wherever it is used; the others are undecided."""
        refused: set[int] = set()
        for group, clash in clashes(uses):
            members = {id(use) for use in group}
            if not refused & members:
                self._refuse(*clash)
            refused |= members
        yield from (use for use in uses if id(use) not in refused)

    def _refuse(self, changing: Use, other: Use) -> None:
        path, there = ".".join(changing.path), ".".join(other.path)
        line, column = self.document.place(other.offset)
        text = f"the same value serves {there} (line {line}, column {column}), where it must not become that"
        options: tuple[str, ...] = ()
        if other.defines:
            options = (option(there, changing.name), option(path, KEEP))
        else:  # nothing that can be said of a shared value is right for both of its uses
            text += ": write the value out in one of them"
        self.result.undecided.append(
            Undecision(path, changing.name, text, self.document.place(changing.offset), options)
        )

    def _change(self, uses: Sequence[Use]) -> None:
        """Turn what becomes of the uses into changes and remarks, each once."""
        taken_out: dict[int, list[Use]] = {}
        seen: set[tuple[int, int]] = set()
        for use in uses:
            done = use.outcome
            identity = (id(use.value if use.value and not (done.key or done.removed) else use.entry), id(use.value))
            if identity in seen or use.setting is None:
                continue
            seen.add(identity)
            if done.needs_person:
                self.result.needs_person.append(self._remark(use, done.needs_person))
            if done.warning:
                self.result.warnings.append(self._remark(use, done.warning))
            if done.removed:
                taken_out.setdefault(id(use.setting.owner), []).append(use)
            elif done.changes:
                self.result.changes.append(self._changed(use))
        for group in taken_out.values():
            self.result.changes += self._removed(group)

    def _changed(self, use: Use) -> Change:
        assert use.value is not None
        before, after = use.value.text, use.value.text
        splices = []
        if use.outcome.value is not None:
            after = use.outcome.value
            splices.append(Splice(use.value.span.start, use.value.span.end, after))
        if use.outcome.key is not None:
            before = f"{use.entry.name}: {before}" if use.entry.name else before
            after = f"{use.outcome.key}: {after}"
            splices.append(self.document.renamed(use.entry, use.outcome.key))
        return self._listed(use, before, after, splices)

    def _removed(self, uses: Sequence[Use]) -> Iterator[Change]:
        """The changes that take entries out of one mapping, whose characters the first of them holds."""
        owner = uses[0].setting.owner if uses[0].setting else None
        assert owner is not None
        try:
            splices = self.document.removed(owner, [use.entry for use in uses])
        except Undecided as refusal:
            self.result.needs_person += (self._remark(use, f"{refusal.message}. {refusal.hint}") for use in uses)
            return
        for use in uses:
            assert use.value is not None
            yield self._listed(use, f"{use.name}: {use.value.text}", "", splices)
            splices = []

    def _listed(self, use: Use, before: str, after: str, splices: Iterable[Splice]) -> Change:
        assert use.source is not None
        target = "nothing" if use.outcome.removed else use.outcome.key or use.name
        rule = f"{use.source} {use.name} -> {self.to} {target}"
        path, place = ".".join(use.path), self._place(use)
        change = Change(path, use.name, before, after, rule, use.outcome.why, place, tuple(splices))
        return self._with_flow(change, use)

    def _with_flow(self, change: Change, use: Use) -> Change:
        """`change` with what code can find its value under, and with what its value is computed of."""
        assert use.setting is not None
        assert use.value is not None
        if not (use.setting.is_argument and use.setting.owner.callee is not None):
            change = replace(change, defines=self.document.handed_on_as(use.value) | {use.entry.name})
        if not isinstance(use.value.value, Expression):
            return change
        sources = self.document.sources(use.value)
        fed_by = frozenset(self.document.place(value.span.start) for value in sources.values)
        return replace(change, reads=sources.names, fed_by=fed_by)

    def _remark_on(self, site: Site, source: Dialect | None) -> None:
        """Say what is suspicious about a site, and why one that names its framework is left alone."""
        if source is None:
            return
        for setting in site.settings:
            for value in setting.values if setting.name == "momentum" else ():
                text = _suspicion(value, source)
                if text and site.dialect and self.from_ and FRAMEWORKS[self.from_] != FRAMEWORKS[source]:
                    text += f" Whatever --from says, its class is {FRAMEWORKS[source]}'s"
                if text and id(value) not in self._suspected:
                    self._suspected.add(id(value))
                    use = Use(setting.path, setting.offset, "momentum", setting.entry, value)
                    self.result.warnings.append(self._remark(use, text))
        is_another = FRAMEWORKS[source] != FRAMEWORKS[self.to]
        if site.dialect and is_another and not self.translates(source):
            first = site.settings[0]
            use = Use(site.path, first.offset, "", first.entry, None)
            text = f"it is in the terms of {FRAMEWORKS[source]}: left alone; --from {site.dialect} translates it"
            self.result.notes.append(self._remark(use, text))

    def _remark(self, use: Use, text: str) -> Remark:
        return Remark(".".join(use.path), use.name, text, self._place(use))

    def _place(self, use: Use) -> Place:
        return self.document.place((use.value or use.entry.value).span.start)


_HALF = Decimal("0.5")


def _suspicion(value: Scalar, source: Dialect) -> str:
    """Why a momentum is more likely in the other framework's terms; "" where it is not.

    In public MindSpore code 22 of 45 momenta of BatchNorm3d are 0.1, most of them pasted from PyTorch.
    """
    text = decimal_of(value)
    if text is None:
        return ""
    momentum = Decimal(text)
    if TERMS[source].inverted and momentum < _HALF:
        return (
            f"{value.text} is a small momentum for MindSpore, which weighs the old value: was it pasted from PyTorch?"
        )
    if not TERMS[source].inverted and momentum > _HALF:
        return (
            f"{value.text} is a large momentum for PyTorch, which weighs the new batch: was it pasted from MindSpore?"
        )
    return ""
