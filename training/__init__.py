"""The training stretch of the line, from a reviewed data set to a LoRA.

    TrainingSample -> Latent -> LoRA -> generated panels
      dataset         latents   loop    sampling

`plan` says beforehand what a training will see and take; `flow` is the objective's maths, `random_streams` its chance,
`backends/` what each family of models does in its own way. Imports point from the loop towards these.
"""
