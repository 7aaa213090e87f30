//! From a shape with its parameters to the `architecture` section of a manifest.

use crate::{
    capacity::{Parameters, Shape},
    manifest::{Architecture, Diagnostic, Diagnostics, Mla, Moe, Vision},
};

/// The section; `Err` where a figure is wider than manifests hold.
pub(super) fn architecture(shape: &Shape, parameters: &Parameters) -> Result<Architecture, Diagnostics> {
    let experts_ffn = shape.experts.map_or(0, |experts| experts.ffn);
    // A model with experts in every layer may state no width of a plain layer.
    let ffn = if shape.ffn == 0 { experts_ffn } else { shape.ffn };
    Ok(Architecture {
        class: shape.class.clone(),
        parameters: parameters.total,
        active_parameters: (parameters.active < parameters.total).then_some(parameters.active),
        layers: fit("num_hidden_layers", shape.layers)?,
        hidden_size: fit("hidden_size", shape.hidden)?,
        heads: fit("num_attention_heads", shape.heads)?,
        kv_heads: fit("num_key_value_heads", shape.kv_heads)?,
        head_dim: fit("head_dim", shape.head_dim)?,
        ffn_size: fit("intermediate_size", ffn)?,
        vocab_size: fit("vocab_size", shape.vocab)?,
        max_position: fit("max_position_embeddings", shape.max_position)?,
        tied_embeddings: shape.tied,
        sliding_window: shape
            .sliding_window
            .map(|window| fit("sliding_window", window))
            .transpose()?,
        mla: mla(shape)?,
        moe: moe(shape)?,
        vision: vision(shape)?,
    })
}

fn mla(shape: &Shape) -> Result<Option<Mla>, Diagnostics> {
    let Some(latent) = shape.latent else {
        return Ok(None);
    };
    Ok(Some(Mla {
        q_lora_rank: latent.q_rank.map(|rank| fit("q_lora_rank", rank)).transpose()?,
        kv_lora_rank: fit("kv_lora_rank", latent.kv_rank)?,
        nope_head_dim: fit("qk_nope_head_dim", latent.nope)?,
        rope_head_dim: fit("qk_rope_head_dim", latent.rope)?,
        v_head_dim: fit("v_head_dim", latent.value)?,
    }))
}

fn moe(shape: &Shape) -> Result<Option<Moe>, Diagnostics> {
    let Some(experts) = shape.experts else {
        return Ok(None);
    };
    let is_multiple = experts.shared_ffn.is_multiple_of(experts.ffn.max(1));
    let (shared, shared_width) = if is_multiple {
        (experts.shared_ffn / experts.ffn.max(1), None)
    } else {
        (
            1,
            Some(fit("shared_expert_intermediate_size", experts.shared_ffn)?),
        )
    };
    Ok(Some(Moe {
        routed_experts: fit("the count of experts", experts.routed)?,
        shared_experts: fit("n_shared_experts", shared)?,
        experts_per_token: fit("num_experts_per_tok", experts.per_token)?,
        expert_ffn_size: fit("moe_intermediate_size", experts.ffn)?,
        shared_ffn_size: shared_width,
        dense_layers: fit("first_k_dense_replace", experts.dense_layers)?,
    }))
}

fn vision(shape: &Shape) -> Result<Option<Vision>, Diagnostics> {
    let Some(tower) = shape.vision else {
        return Ok(None);
    };
    let is_usual = tower.width.checked_mul(4) == Some(tower.ffn);
    Ok(Some(Vision {
        depth: fit("depth", tower.depth)?,
        width: fit("the width of the vision tower", tower.width)?,
        ffn_size: if is_usual {
            None
        } else {
            Some(fit("the feed-forward width of the vision tower", tower.ffn)?)
        },
    }))
}

fn fit(what: &str, figure: u64) -> Result<u32, Diagnostics> {
    u32::try_from(figure).map_err(|_| {
        Diagnostic::error(format!("{what} {figure} is more than a manifest holds"))
            .help(format!("manifests hold figures up to {}", u32::MAX))
            .into()
    })
}
