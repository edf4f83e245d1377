"""The line, one file per stage: a module-level function that turns records of one kind into those of the next.

`stage(...)` binds it to its parameters, which are frozen and can be pickled. No stage imports another.
"""
