//! The text of a drafted manifest: what its sections say, in the order and the style of `models.d`, with comments.

use std::fmt::Write as _;

use crate::manifest::{
    Architecture, Endpoint, Limit, Modality, SharedCases, ThroughputWorkload, VersionedEnv,
};

use super::{
    draft::Draft,
    scalar::{comment, path, scalar},
};

/// What is said where budgets are missing.
const TO_BE_MEASURED: &str = "To be measured: memory::non_torch, activation, kv_cache, max_concurrency, latency and throughput. Each \
    limit is written as the one below, with `source: measured` and the run in `because`. Until then `validate` shows \
    the figures, calls them `unrecorded` and ends with exit code 5.";

impl Draft {
    /// The manifest as a file.
    pub fn text(&self) -> String {
        let mut out = String::from("# yaml-language-server: $schema=schema.json\n\n");
        for (index, paragraph) in self.head.iter().enumerate() {
            if index > 0 {
                out += "#\n";
            }
            out += &comment(paragraph, 0);
        }
        out += "\nschema: 1\n\n";
        self.model(&mut out);
        self.serve(&mut out);
        let stacks: Vec<String> = self.manifest.stacks.iter().map(|name| scalar(name)).collect();
        let _ = writeln!(out, "\nstacks: [{}]\n", stacks.join(", "));
        cases(&self.manifest.cases.shared, &mut out);
        self.workload(&mut out);
        self.budgets(&mut out);
        out
    }

    fn model(&self, out: &mut String) {
        let model = &self.manifest.model;
        out.push_str("model:\n");
        let hub = if self.has_id {
            ""
        } else {
            "  # its folder's name; write owner/name of the hub"
        };
        let _ = writeln!(out, "  id: {}{hub}", scalar(&model.id));
        let _ = writeln!(out, "  revision: {}", scalar(&model.revision));
        let _ = writeln!(out, "  path: {}", path(&model.path));
        let look = if self.lacks_license {
            "  # not in config.json: copy both from the model card"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  license: {{ name: {}, gated: {} }}{look}",
            scalar(&model.license.name),
            model.license.gated
        );
        architecture(&model.architecture, out);
        let endpoint = match model.endpoint {
            Endpoint::Chat => "chat",
            Endpoint::Completions => "completions",
        };
        let _ = writeln!(out, "  endpoint: {endpoint}");
        if let Some(template) = &model.chat_template {
            let _ = writeln!(out, "  chat_template: {}", scalar(template));
        }
        let modalities: Vec<&str> = model
            .modalities
            .iter()
            .map(|modality| match modality {
                Modality::Text => "text",
                Modality::Image => "image",
            })
            .collect();
        let _ = writeln!(out, "  modalities: [{}]", modalities.join(", "));
        if let Some(reasoning) = &model.reasoning {
            let parser = scalar(&reasoning.parser);
            let _ = writeln!(
                out,
                "  reasoning: {{ enabled: {}, parser: {parser} }}",
                reasoning.enabled
            );
        }
        if let Some(parser) = &model.tool_parser {
            let _ = writeln!(out, "  tool_parser: {}", scalar(parser));
        }
    }

    fn serve(&self, out: &mut String) {
        let serve = &self.manifest.serve;
        out.push_str("\nserve:\n");
        let _ = writeln!(out, "  tensor_parallel: {}", serve.tensor_parallel);
        if serve.pipeline_parallel > 1 {
            let _ = writeln!(out, "  pipeline_parallel: {}", serve.pipeline_parallel);
        }
        let _ = writeln!(out, "  max_model_len: {}", serve.max_model_len);
        let _ = writeln!(out, "  gpu_memory_utilization: {}", serve.gpu_memory_utilization);
        let _ = writeln!(out, "  dtype: {}", serve.dtype.as_str());
        let mut optional = |key: &str, figure: Option<u64>| {
            if let Some(figure) = figure {
                let _ = writeln!(out, "  {key}: {figure}");
            }
        };
        optional("block_size", serve.block_size.map(u64::from));
        optional("max_num_seqs", serve.max_num_seqs.map(u64::from));
        optional("seed", Some(serve.seed).filter(|seed| *seed != 0));
        if serve.trust_remote_code {
            out.push_str("  trust_remote_code: true\n");
        }
        if !serve.args.is_empty() {
            out.push_str("  args:\n");
            for set in &serve.args {
                let words: Vec<String> = set.add.iter().map(|word| scalar(word)).collect();
                let _ = writeln!(
                    out,
                    "    - {{ vllm: {}, add: [{}] }}",
                    scalar(&set.vllm),
                    words.join(", ")
                );
            }
        }
        environment(&serve.env, out);
        let _ = writeln!(out, "  boot_timeout: {}", serve.boot_timeout);
    }

    fn workload(&self, out: &mut String) {
        let workload = &self.manifest.workload;
        let _ = writeln!(
            out,
            "workload:\n  latency: {{ prompt_tokens: {}, output_tokens: {} }}\n  throughput:",
            workload.latency.prompt_tokens,
            list(&workload.latency.output_tokens)
        );
        for ThroughputWorkload {
            concurrency,
            requests,
            prompt_tokens,
            output_tokens,
        } in &workload.throughput
        {
            let _ = writeln!(
                out,
                "    - {{ concurrency: {concurrency}, requests: {requests}, prompt_tokens: {prompt_tokens}, output_tokens: {} }}",
                list(output_tokens)
            );
        }
    }

    fn budgets(&self, out: &mut String) {
        out.push('\n');
        *out += &comment(TO_BE_MEASURED, 0);
        out.push_str("budgets:\n  c500:\n    memory:\n");
        let budgets = self.manifest.budgets.c500.iter();
        for (metric, limit) in budgets.flat_map(|budgets| budgets.memory.limits()) {
            let _ = writeln!(out, "      {}:", metric.name());
            bounds(limit, out);
        }
    }
}

fn bounds(limit: &Limit, out: &mut String) {
    for (bound, figure) in [("min", limit.min), ("max", limit.max)] {
        if let Some(figure) = figure {
            let _ = writeln!(out, "        {bound}: {figure}");
        }
    }
    let _ = writeln!(
        out,
        "        source: derived\n        because: {}",
        scalar(&limit.because)
    );
}

fn architecture(architecture: &Architecture, out: &mut String) {
    let _ = writeln!(
        out,
        "  architecture:\n    class: {}\n    parameters: {}",
        scalar(&architecture.class),
        architecture.parameters
    );
    if let Some(active) = architecture.active_parameters {
        let _ = writeln!(out, "    active_parameters: {active}");
    }
    for (key, figure) in [
        ("layers", architecture.layers),
        ("hidden_size", architecture.hidden_size),
        ("heads", architecture.heads),
        ("kv_heads", architecture.kv_heads),
        ("head_dim", architecture.head_dim),
        ("ffn_size", architecture.ffn_size),
        ("vocab_size", architecture.vocab_size),
        ("max_position", architecture.max_position),
    ] {
        let _ = writeln!(out, "    {key}: {figure}");
    }
    if architecture.tied_embeddings {
        out.push_str("    tied_embeddings: true\n");
    }
    if let Some(window) = architecture.sliding_window {
        let _ = writeln!(out, "    sliding_window: {window}");
    }
    parts(architecture, out);
}

/// What not every architecture has.
fn parts(architecture: &Architecture, out: &mut String) {
    if let Some(mla) = &architecture.mla {
        let rank = mla
            .q_lora_rank
            .map_or_else(String::new, |rank| format!("q_lora_rank: {rank}, "));
        let _ = writeln!(
            out,
            "    mla: {{ {rank}kv_lora_rank: {}, nope_head_dim: {}, rope_head_dim: {}, v_head_dim: {} }}",
            mla.kv_lora_rank, mla.nope_head_dim, mla.rope_head_dim, mla.v_head_dim
        );
    }
    if let Some(moe) = &architecture.moe {
        let width = moe
            .shared_ffn_size
            .map_or_else(String::new, |width| format!(", shared_ffn_size: {width}"));
        let _ = writeln!(
            out,
            "    moe: {{ routed_experts: {}, shared_experts: {}, experts_per_token: {}, expert_ffn_size: {}{width}, dense_layers: {} }}",
            moe.routed_experts,
            moe.shared_experts,
            moe.experts_per_token,
            moe.expert_ffn_size,
            moe.dense_layers
        );
    }
    if let Some(vision) = &architecture.vision {
        let width = vision
            .ffn_size
            .map_or_else(String::new, |width| format!(", ffn_size: {width}"));
        let _ = writeln!(
            out,
            "    vision: {{ depth: {}, width: {}{width} }}",
            vision.depth, vision.width
        );
    }
}

fn environment(sets: &[VersionedEnv], out: &mut String) {
    if sets.is_empty() {
        return;
    }
    out.push_str("  env:\n");
    for set in sets {
        let variables: Vec<String> = set
            .set
            .iter()
            .map(|(name, value)| format!("{}: {}", scalar(name), scalar(value)))
            .collect();
        let _ = writeln!(
            out,
            "    - {{ vllm: {}, set: {{ {} }} }}",
            scalar(&set.vllm),
            variables.join(", ")
        );
    }
}

fn cases(files: &[SharedCases], out: &mut String) {
    if files.is_empty() {
        out.push_str("cases: {}\n\n");
        return;
    }
    out.push_str("cases:\n  shared:\n");
    for shared in files {
        let _ = writeln!(out, "    - file: {}", scalar(&shared.file));
        if !shared.except.is_empty() {
            let names: Vec<String> = shared.except.iter().map(|name| scalar(name)).collect();
            let _ = writeln!(out, "      except: [{}]", names.join(", "));
        }
    }
    out.push('\n');
}

fn list(figures: &[u32]) -> String {
    let figures: Vec<String> = figures.iter().map(u32::to_string).collect();
    format!("[{}]", figures.join(", "))
}
