//! Cases: a prompt, and how its answer is judged. Kept in files that manifests share (`models.d/cases/*.yaml`) or
//! inside one manifest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// Version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// What the cases of this file have in common.
    pub about: String,
    /// The cases.
    #[schemars(length(min = 1))]
    pub cases: Vec<Case>,
}

/// One prompt with its judgement. Needs a grader, a golden, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name, unique among the cases of a manifest; part of the trial's name and of the golden's file name.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub id: String,
    /// The user's message; a base model gets it as `Question: … Answer:` unless `completion` says otherwise.
    pub prompt: String,
    /// Prompt for a base model, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// System message of a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Earlier turns of a chat, user and assistant by turns, before `prompt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// PNG files shown before the prompt, relative to the case file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Filler text around a needle, for long contexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haystack: Option<Haystack>,
    /// Tools that the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// JSON schema that the server is asked to enforce (structured output).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// Most tokens of the answer.
    #[schemars(range(min = 1, max = 8192))]
    pub max_tokens: u32,
    /// Texts that end the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Whether the answer is also held against a golden.
    #[serde(default)]
    pub golden: bool,
    /// Whether the case is there for its golden alone: `record` asks it, and runs only score the recorded tokens.
    #[serde(default)]
    pub scoring_only: bool,
    /// Graders; the answer must satisfy each one given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// A right answer. The simulator gives it; tests hold the graders against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A right tool call, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_call: Option<ToolCall>,
}

/// Filler text of a given length with one sentence hidden in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Haystack {
    /// Length of the filler, in tokens of the model (by the server's own tokenizer).
    #[schemars(range(min = 64))]
    pub tokens: u32,
    /// The sentence to hide.
    pub needle: String,
    /// Where: 0 before the filler, 1 behind it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub depth: f64,
}

/// A function that the model may call, as the OpenAI API describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Name of the function.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments.
    pub parameters: Value,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments.
    pub arguments: BTreeMap<String, Value>,
}

/// Graders of one case: each key is one grader, and every one given must be satisfied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grade {
    /// The trimmed answer is one of these texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Exact>,
    /// The answer holds (or does not hold) given texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<Contains>,
    /// The answer matches a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<Regex>,
    /// The answer states a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Number>,
    /// The answer is JSON that a schema accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
    /// The answer chooses one of several letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The answer calls a tool with acceptable arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<ToolCallGrade>,
    /// The answer's code passes a test program, run in a locked-down container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The answer names what an image shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_words: Option<ImageWords>,
    /// The answer does not loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_repetition: Option<NoRepetition>,
    /// The answer is written in a given language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
}

/// The trimmed answer is one of these texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exact {
    /// Accepted texts.
    #[schemars(length(min = 1))]
    pub any: Vec<String>,
    /// Whether upper and lower case differ.
    #[serde(default)]
    pub case_sensitive: bool,
}

/// Texts that the answer holds, upper and lower case alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contains {
    /// Each of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub all: Vec<String>,
    /// At least one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub any: Vec<String>,
    /// None of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub none: Vec<String>,
}

/// A regular expression (Rust's syntax) that matches somewhere in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Regex {
    /// The expression.
    pub pattern: String,
}

/// The last number of the answer, thousands separators and exponents understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The right value.
    pub value: f64,
    /// How far off it may be.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
}

/// JSON in the answer (bare or in a code fence) that a schema accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Json {
    /// JSON schema.
    pub schema: Value,
}

/// One letter out of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The right letter.
    #[schemars(regex(pattern = r"^[A-Z]$"))]
    pub answer: String,
    /// All letters offered, such as `ABCD`.
    #[schemars(regex(pattern = r"^[A-Z]{2,26}$"))]
    pub among: String,
}

/// A call of `name` whose arguments `arguments` accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCallGrade {
    /// Name of the function to be called.
    pub name: String,
    /// JSON schema of acceptable arguments.
    pub arguments: Value,
}

/// Code that a test program accepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Language of the answer.
    pub language: CodeLanguage,
    /// Program put before the answer's code.
    #[serde(default)]
    pub before: String,
    /// Program put behind the answer's code; it must end with exit code 0.
    pub tests: String,
}

/// Languages that graded code may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeLanguage {
    /// Python 3.
    Python,
}

/// What an image shows, in words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageWords {
    /// For each thing seen, the words that name it; one of each list must occur.
    #[schemars(length(min = 1))]
    pub all: Vec<Vec<String>>,
}

/// Bound on looping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoRepetition {
    /// Greatest share of word triples that occurred before.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_share: f64,
}

/// Language of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English: Latin letters prevail.
    English,
    /// Chinese: Han characters prevail.
    Chinese,
}
