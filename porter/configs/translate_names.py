"""The classes and packages in a config under another framework's names, and what of a config is not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porter.configs.changes import Change, Remark, Translation
from porter.configs.model import ClassName, Unread
from porter.configs.references import text_of
from porter.configs.splices import Splice
from porter.configs.terms import TERMS, Dialect, class_of
from porter.configs.tree import Document, Import

FRAMEWORKS: Mapping[Dialect, str] = {
    "torch": "PyTorch",
    "mindspore": "MindSpore",
    "announced": "MindSpore",
    "mint": "mindspore.mint",
}


def dialect_of(statement: Import) -> Dialect | None:
    """Whose package an import names; None for no framework's."""
    known = class_of(f"{statement.package}.BatchNorm3d") or class_of(f"{statement.package}.nn.BatchNorm3d")
    return known[0] if known else None


@dataclass
class NameTranslator:
    """One config on its way.

    Attributes:
        document: the config.
        to: whose terms it gets.
        from_: whose terms alone are translated; None: those of every other framework.
        unsaid: whose terms settings are in that do not say so themselves.
        result: what becomes of it, added to bit by bit.
    """

    document: Document
    to: Dialect
    from_: Dialect | None
    unsaid: Dialect | None
    result: Translation

    def translates(self, source: Dialect) -> bool:
        """Whether what is in the terms of `source` is to be said anew."""
        if FRAMEWORKS[source] == FRAMEWORKS[self.to]:
            return False
        if self.from_:
            return FRAMEWORKS[source] == FRAMEWORKS[self.from_]
        return "torch" in (source, self.to)

    def classes(self, classes: Sequence[ClassName]) -> None:
        """Rename the classes that are written out."""
        for name in classes:
            if not self.translates(name.dialect):
                continue
            path, place = ".".join(name.path), self.document.place(name.span.start)
            before = self.document.text[name.span.start : name.span.end]
            if not name.class_name:
                text = f"no rule says what {before} is in {FRAMEWORKS[self.to]}"
                self.result.needs_person.append(Remark(path, "class", text, place))
                continue
            after = f"{TERMS[self.to].package}.{name.class_name}"
            if name.scalar and isinstance(name.scalar.value, str):
                after = name.scalar.value.replace(text_of(name.scalar), after)
                after = self.document.spelled(after, name.scalar) or after
            self.result.changes.append(self._renamed(path, "class", name.dialect, name.span, after))
            if name.class_name == "SyncBatchNorm" and self.to != "torch":
                text = "MindSpore's SyncBatchNorm takes 2-D and 4-D data only: BatchNorm3d serves a 3-D network"
                self.result.warnings.append(Remark(path, "class", text, place))

    def unread(self, places: Sequence[Unread]) -> None:
        """Tell of what may hold settings and is not read, in whichever terms it may be."""
        for one in places:
            source = one.dialect or self.unsaid
            if source is None or self.translates(source):
                place = self.document.place(one.span.start)
                self.result.needs_person.append(Remark(".".join(one.path), "", one.text, place))

    def imports(self) -> None:
        """Rename the packages that bring in nothing but batch normalisations, and tell of the others: last of all."""
        missing = self._missing_import()
        for statement in self.document.imports:
            dialect = dialect_of(statement)
            if not dialect or not self.translates(dialect):
                continue
            if statement.alone:
                package = TERMS[self.to].package
                self.result.changes.append(self._renamed("", "import", dialect, statement.span, package))
            else:
                text = f"`{statement.text}` still names {FRAMEWORKS[dialect]}{missing}"
                missing = ""
                place = self.document.place(statement.span.start)
                self.result.notes.append(Remark("", "import", text, place))

    def _missing_import(self) -> str:
        """What the names that were changed need, and no import that is known here brings in."""
        package = TERMS[self.to].package.partition(".")[0]
        is_there = any(statement.package.partition(".")[0] == package for statement in self.document.imports)
        is_used = any(change.after.startswith(f"{package}.") for change in self.result.changes)
        return f"; what was changed needs `import {package}`" if is_used and not is_there else ""

    def _renamed(self, path: str, what: str, source: Dialect, span: tuple[int, int], after: str) -> Change:
        start, end = span
        before = self.document.text[start:end]
        place, why = self.document.place(start), f"{FRAMEWORKS[self.to]}'s name of it"
        rule = f"{source} {what} -> {self.to} {what}"
        return Change(path, what, before, after, rule, why, place, (Splice(start, end, after),))
