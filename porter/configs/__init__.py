"""Model configs: the BatchNorm settings in them, translated between frameworks, every other character left alone.

The journey of a config file:

    text -> formats (a tree whose nodes know their characters) -> sites (which nodes are settings of a batch
    normalisation, and in whose terms) -> translate (changes, remarks) -> splices -> the same text, changed there only

Nothing in a config is imported, run or evaluated.
"""
