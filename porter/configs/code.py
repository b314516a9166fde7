"""Settings in Python source, which code hands on before they reach a layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from porter.configs.model import Setting, Site
from porter.configs.names import prefixed_setting
from porter.configs.tree import Expression


def in_code(sites: Sequence[Site]) -> Iterator[Site]:
    """Some `sites` are in Python, where names and arguments go through code before they reach a layer.

    Expressions are rewritten where a layer or a mapping takes them, so the names in them stay as they are. Other
    assignments, and arguments of functions that are no batch normalisation, are in doubt.
    """
    by_layers = {word for site in sites for word in _words(site) if site.node.callee is not None}
    by_mappings = {word for site in sites for word in _words(site)}
    for site in sites:
        own = [s for s in site.settings if not _is_handed_on(s)]
        if own:
            yield replace(site, settings=tuple(own))
        goes_through_code = site.node.is_scope or site.node.callee is not None
        stay = by_mappings if goes_through_code else by_layers
        handed_on = [s for s in site.settings if _is_handed_on(s) and s.entry.name not in stay]
        doubt = site.doubt
        if goes_through_code:
            handed_on = [s for s in handed_on if not _is_computed(s)]
            doubt = "the code may hand it to a batch normalisation or compute with it"
        if handed_on:
            yield replace(site, settings=tuple(handed_on), doubt=doubt)


def _is_handed_on(setting: Setting) -> bool:
    return not setting.is_told and prefixed_setting(setting.entry.name) is not None


def _is_computed(setting: Setting) -> bool:
    return any(isinstance(value.value, Expression) for value in setting.values)


def _words(site: Site) -> Iterator[str]:
    """The names that the expressions which are rewritten in a site hold."""
    for setting in site.settings:
        # A call hands on its prefixed arguments as they are.
        if site.node.callee is None or not _is_handed_on(setting):
            for value in setting.values:
                if isinstance(value.value, Expression):
                    yield from re.findall(r"\w+", value.value.text)
