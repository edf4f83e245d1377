"""From sources of related images to a reviewed In-Context LoRA data set.

    source -> Record -> Group -> Grid -> Caption -> Scores -> reviewed Row -> data set
      collect         inspect   group    compose  caption    filter    review/export

The modules at the top of this package are its ground: records, errors, tasks, a run's store, the cache, pixels,
weights and progress; `plugins` belongs to it. On it stand the packages, each importing only those below it: `engines`
and `text`; `sources`, `grouping`, `consistency` and `captioning`; `review` and `dataset`; `exporters`; and on top
`stages`, one module per stage, none of which imports another. `iclora` puts the stages together into a run;
tests/test_design.py checks the imports.
"""
