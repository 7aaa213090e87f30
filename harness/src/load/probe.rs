//! Looks at a server before load is put on it: which model it serves, in which form it takes prompts of an exact length,
//! and whether it counts tokens rightly.

use std::sync::Arc;

use semver::Version;

use super::{
    Drawn, Form, Generator, Joint, Lengths, LoadError, Pace, Phase, Requests, Vocabulary, WORDS, Watch, job,
};
use crate::vllm::{Client, Keep, Message, Prompt, Request, Role, parse_version};

/// The version that a server is taken for where it tells none.
const ASSUMED: Version = Version::new(0, 12, 0);
/// Tokens of the answer by which the server's count is checked.
const AUDIT_TOKENS: u32 = 8;
/// Words of the shorter of two questions by which lengths are learnt.
const FEW_WORDS: usize = 8;

/// Which endpoint is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Endpoint {
    /// Whichever gives exact lengths.
    #[default]
    Any,
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

/// What is wanted of the prompts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Endpoint.
    pub endpoint: Endpoint,
    /// Whether prompts are text whatever else the server takes: conversations, prompts from a file.
    pub text: bool,
    /// Whether prompts are made at all.
    pub made: bool,
}

/// A server that was looked at.
#[derive(Debug)]
pub struct Probed {
    /// A client of its model.
    pub client: Client,
    /// In which form prompts are sent.
    pub form: Form,
    /// What prompts are made of.
    pub vocabulary: Arc<Vocabulary>,
    /// Longest sequence that it takes, where it tells.
    pub max_model_len: Option<u32>,
    /// What a user should know.
    pub notes: Vec<String>,
}

impl Probed {
    /// How the turns of a conversation are written.
    pub const fn joint(&self) -> Joint {
        match self.form {
            Form::Chat => Joint::Chat,
            Form::Ids | Form::Text => Joint::Text,
        }
    }
}

/// Looks at the server at `url`; `model` is its name there where it serves several, `key` what it wants to see.
pub async fn probe(
    url: &str,
    model: Option<&str>,
    key: Option<&str>,
    wanted: Wanted,
) -> Result<Probed, LoadError> {
    let client = |name: &str, version: &Version| Client::new(url, name, version)?.with_key(key);
    let nameless = client(model.unwrap_or_default(), &ASSUMED)?;
    let version = nameless.version().await.ok().as_deref().and_then(parse_version);
    let (name, max_model_len) = match (model, nameless.models().await) {
        (Some(model), Ok(cards)) => {
            let card = cards.iter().find(|card| card.id == model);
            (model.to_owned(), card.and_then(|card| card.max_model_len))
        }
        (Some(model), Err(_)) => (model.to_owned(), None),
        (None, cards) => match cards?.as_slice() {
            [card] => (card.id.clone(), card.max_model_len),
            cards => {
                let names: Vec<&str> = cards.iter().map(|card| card.id.as_str()).collect();
                return Err(LoadError::WhichModel(names.join(", ")));
            }
        },
    };
    let client = client(&name, version.as_ref().unwrap_or(&ASSUMED))?;
    let mut notes = Vec::new();
    let (form, vocabulary) = vocabulary(&client, wanted, &mut notes).await?;
    Ok(Probed {
        client,
        form,
        vocabulary: Arc::new(vocabulary),
        max_model_len: max_model_len.and_then(|length| u32::try_from(length).ok()),
        notes,
    })
}

async fn vocabulary(
    client: &Client,
    wanted: Wanted,
    notes: &mut Vec<String>,
) -> Result<(Form, Vocabulary), LoadError> {
    let form = match wanted.endpoint {
        Endpoint::Chat => Form::Chat,
        Endpoint::Any | Endpoint::Completions if wanted.text => Form::Text,
        Endpoint::Any | Endpoint::Completions => Form::Ids,
    };
    let words = || Vocabulary::Words {
        words: WORDS.split_whitespace().map(str::to_owned).collect(),
        overhead: 0,
        exact: false,
    };
    if !wanted.made {
        return Ok((if form == Form::Ids { Form::Text } else { form }, words()));
    }
    if form == Form::Ids {
        match job::vocabulary(client).await {
            Ok(ids) => return Ok((Form::Ids, ids)),
            Err(error) => notes.push(format!("no token ids ({error}); prompts are text")),
        }
    }
    let form = if form == Form::Ids { Form::Text } else { form };
    let counter = Counter { client, form };
    if let Some(vocabulary) = counter.learn().await? {
        return Ok((form, vocabulary));
    }
    notes.push("the server counts no prompt tokens: lengths of prompts are words, not tokens".to_owned());
    Ok((form, words()))
}

/// Counts the tokens of words as the server does.
struct Counter<'a> {
    client: &'a Client,
    form: Form,
}

impl Counter<'_> {
    /// Words that are one token each behind a space, and what the server adds to a prompt of them.
    async fn learn(&self) -> Result<Option<Vocabulary>, LoadError> {
        let all: Vec<&str> = WORDS.split_whitespace().collect();
        let Some(few) = self.count(&all[..FEW_WORDS]).await? else {
            return Ok(None);
        };
        let whole = self.count(&all).await?;
        let single = if whole == Some(few + (all.len() - FEW_WORDS)) && few >= FEW_WORDS {
            all.clone()
        } else {
            self.single(&all).await?
        };
        if single.len() < 2 {
            return Ok(None);
        }
        let sample: Vec<&str> = single.iter().copied().cycle().take(all.len()).collect();
        let tokens = self.count(&sample).await?;
        let overhead = tokens.and_then(|tokens| tokens.checked_sub(sample.len()));
        Ok(overhead.map(|overhead| Vocabulary::Words {
            words: single.into_iter().map(str::to_owned).collect(),
            overhead: u32::try_from(overhead).unwrap_or_default(),
            exact: true,
        }))
    }

    /// The words that add one token each to a prompt.
    async fn single<'a>(&self, all: &[&'a str]) -> Result<Vec<&'a str>, LoadError> {
        let Some(base) = self.count(&["the"]).await? else {
            return Ok(Vec::new());
        };
        let mut single = Vec::new();
        for word in all {
            if self.count(&["the", word]).await? == Some(base + 1) {
                single.push(*word);
            }
        }
        Ok(single)
    }

    /// Tokens of a prompt of these words: by the tokenizer, or by asking for one token and reading `usage`.
    async fn count(&self, words: &[&str]) -> Result<Option<usize>, LoadError> {
        let text = words.join(" ");
        let counted = if self.form == Form::Chat {
            self.client.tokenize_chat(&[said(&text)], None).await
        } else {
            self.client.tokenize(&text, true).await
        };
        if let Ok(ids) = counted {
            return Ok(Some(ids.len()));
        }
        let prompt = if self.form == Form::Chat {
            Prompt::Chat(vec![said(&text)])
        } else {
            Prompt::Text(text)
        };
        let answer = self.client.ask(&Request::greedy(prompt, 1)).await?;
        Ok(answer.usage.map(|usage| usage.prompt_tokens as usize))
    }
}

fn said(text: &str) -> Message {
    Message {
        role: Role::User,
        text: text.to_owned(),
        images: Vec::new(),
    }
}

/// What the server's own count of one answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    /// Token ids that came.
    pub ids: u32,
    /// Tokens that `usage` counts.
    pub usage: u32,
}

/// Asks once for the token ids and counts them; `None` where the server does not tell them, or fails.
pub async fn audit(probed: &Probed, seed: u64) -> Result<Option<Audit>, LoadError> {
    let target = job::target(&probed.client, probed.form, Keep::TokenIds).await?;
    let phase = Phase {
        requests: Requests::Drawn(Drawn {
            vocabulary: Arc::clone(&probed.vocabulary),
            seed: seed ^ 0xA0D1,
            count: 1,
            prompt: Lengths::Fixed(16),
            output: Lengths::Fixed(AUDIT_TOKENS),
            shared: None,
            turns: None,
        }),
        pace: Pace::Closed {
            in_flight: 1,
            ramp: std::time::Duration::ZERO,
        },
        duration: None,
        think: std::time::Duration::ZERO,
    };
    let run = Generator::new(target, 1)
        .run(phase, Arc::new(Watch::new(1)))
        .await?;
    let trace = run.traces.first();
    Ok(trace.and_then(|trace| {
        Some(Audit {
            ids: trace.ids?,
            usage: trace.usage?.completion_tokens,
        })
    }))
}
