"""What the models of FLUX.2 have in common."""

from __future__ import annotations


def diffsynth_layers(single_blocks: int) -> str:
    """Layers that DiffSynth-Studio's own examples train. The last ones of single blocks are named one by one: elsewhere
    their name is that of a list of layers."""
    double = "to_q,to_k,to_v,to_out.0,add_q_proj,add_k_proj,add_v_proj,to_add_out,linear_in,linear_out"
    single = (f"single_transformer_blocks.{block}.attn.to_out" for block in range(single_blocks))
    return ",".join((double, "to_qkv_mlp_proj", *single))
