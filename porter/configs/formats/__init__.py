"""One module for each format of configs: `parse(text)` gives a `porter.configs.tree.Document`."""
