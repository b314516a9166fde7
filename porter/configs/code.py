"""Settings in Python source, which code hands on before they reach a layer."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from porter.configs.model import Setting, Site
from porter.configs.names import prefixed_setting
from porter.configs.tree import Document, Expression, Scalar


def in_code(document: Document, sites: Sequence[Site]) -> Iterator[Site]:
    """Some `sites` are in Python, where names and arguments go through code before they reach a layer.

    Expressions are rewritten where a layer or a mapping takes them, so what feeds them stays as it is. Other
    assignments, and arguments of functions that are no batch normalisation, are in doubt.
    """
    fed = {
        scalar
        for site in sites
        for setting in site.settings
        if _is_rewritten(site, setting)
        for value in _computed(setting)
        for scalar in document.sources(value).values
    }
    for site in sites:
        own = [s for s in site.settings if not _is_handed_on(s) and not (site.doubt and _feeds(s, fed))]
        if own:
            yield replace(site, settings=tuple(own))
        handed_on = [s for s in site.settings if _is_handed_on(s) and not _feeds(s, fed)]
        doubt = site.doubt
        if _goes_through_code(site):
            handed_on = [s for s in handed_on if not _computed(s)]
            doubt = "the code may hand it to a batch normalisation or compute with it"
        if handed_on:
            yield replace(site, settings=tuple(handed_on), doubt=doubt)


def _is_handed_on(setting: Setting) -> bool:
    return not setting.is_told and prefixed_setting(setting.entry.name) is not None


def _goes_through_code(site: Site) -> bool:
    return site.node.is_scope or site.node.callee is not None


def _is_rewritten(site: Site, setting: Setting) -> bool:
    """Whether expressions are rewritten there: a call hands on its prefixed arguments as they are."""
    return site.doubt is None and not (_goes_through_code(site) and _is_handed_on(setting))


def _computed(setting: Setting) -> list[Scalar]:
    return [value for value in setting.values if isinstance(value.value, Expression)]


def _feeds(setting: Setting, fed: Container[Scalar]) -> bool:
    """Whether a setting is a value that feeds expressions which are rewritten."""
    return setting.entry.value in fed
