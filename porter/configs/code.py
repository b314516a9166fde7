"""Settings in Python source, which code hands on before they reach a layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from porter.configs.model import Site
from porter.configs.names import prefixed_setting
from porter.configs.tree import Document, Expression


def in_code(document: Document, sites: Sequence[Site]) -> Iterator[Site]:
    """`sites` of a Python file, where assigned names and arguments go through code before they reach a layer.

    What a rewritten expression uses stays as it is. Other assignments, and arguments of functions that are no batch
    normalisation, are in doubt; a mapping is passed on as in any other config.
    """
    modules = {id(root.node) for root in document.roots if not root.name}
    used = {
        word
        for site in sites
        for setting in site.settings
        if not (site.node.callee is not None and prefixed_setting(setting.entry.name))
        for value in setting.values
        if isinstance(value.value, Expression)
        for word in re.findall(r"\w+", value.value.text)
    }
    for site in sites:
        own = [s for s in site.settings if not prefixed_setting(s.entry.name)]
        handed_on = [s for s in site.settings if prefixed_setting(s.entry.name) and s.entry.name not in used]
        if own:
            yield replace(site, settings=tuple(own))
        doubt = site.doubt
        if id(site.node) in modules or site.node.callee is not None:
            handed_on = [s for s in handed_on if not any(isinstance(v.value, Expression) for v in s.values)]
            doubt = "the code may hand it to a batch normalisation or compute with it"
        if handed_on:
            yield replace(site, settings=tuple(handed_on), doubt=doubt)
