"""The training stretch of the line, from a reviewed data set to a LoRA and to image sets.

    TrainingSample -> latents -> LoRA -> image sets
      dataset         latents   loop    generate

`planning` says beforehand what a training will see and need. `objective` has paths, noise levels and losses,
`random_streams` all randomness. `backends/` has one file per model family, on top of `model_files`; `monitoring/` has
logs, plots, samples and the held-out loss.
"""
