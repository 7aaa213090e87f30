//! Known answers: which tokens the model will say after which prompt.
//!
//! A plan depends on the tokens of the prompt alone, never on the request that carried them, so that scoring
//! a prompt with its answer (teacher forcing) sees the figures of generating it. A chat prompt is recognized
//! by the last user turn before an open assistant turn; any other prompt by being, as a whole, the question
//! or the question and a beginning of its answer. Either may have other text before the question, a blank line
//! between them (a long document with a question behind it).

use crate::config::{Answer, ModelSpec};
use crate::tokenizer::{BOS, EOS, TURN_END, TURN_START, Token, Tokenizer};

/// What an assistant turn holds when thinking is switched off.
pub const NO_THINKING: &str = "<think>\n\n</think>\n\n";
/// Present in a prompt that offers tools.
pub const TOOLS_MARKER: &str = "<tools>";

/// Planned output: `tokens[i]` follows the first `start + i` tokens of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Length of the context at which the answer begins.
    pub start: usize,
    /// The answer and the end token.
    pub tokens: Vec<Token>,
}

impl Plan {
    /// The planned token after this context, as long as the context keeps to the plan.
    pub fn next(&self, context: &[Token]) -> Option<Token> {
        let said = context.get(self.start..)?;
        self.tokens
            .starts_with(said)
            .then(|| self.tokens.get(said.len()).copied())
            .flatten()
    }
}

#[derive(Debug)]
struct Known {
    question: String,
    question_tokens: Vec<Token>,
    /// Output, output with thinking, output where tools are offered.
    plain: Vec<Token>,
    thinking: Vec<Token>,
    tools: Vec<Token>,
}

impl Known {
    /// Whether a text is this question, or ends with it behind a blank line.
    fn is_asked_by(&self, text: &str) -> bool {
        text.strip_suffix(self.question.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with("\n\n"))
    }
}

/// All known answers of a model.
#[derive(Debug)]
pub struct Answers {
    known: Vec<Known>,
    user_header: Vec<Token>,
    assistant_header: Vec<Token>,
    no_thinking: Vec<Token>,
}

fn ended(tokenizer: &Tokenizer, text: &str) -> Vec<Token> {
    let mut tokens = tokenizer.encode(text);
    tokens.push(EOS);
    tokens
}

fn tool_text(answer: &Answer) -> String {
    let calls = answer.tool_calls.iter().map(|call| {
        let body = serde_json::json!({"name": call.name, "arguments": call.arguments});
        format!("<tool_call>\n{body}\n</tool_call>")
    });
    calls.collect::<Vec<_>>().join("\n")
}

impl Answers {
    /// Encodes the answers of a configuration.
    pub fn new(tokenizer: &Tokenizer, model: &ModelSpec, answers: &[Answer]) -> Self {
        let known = answers.iter().map(|answer| {
            let thinking = match &answer.reasoning {
                Some(reasoning) if model.reasoning => {
                    format!("<think>\n{reasoning}\n</think>\n\n{}", answer.answer)
                }
                _ => answer.answer.clone(),
            };
            let tools = if answer.tool_calls.is_empty() {
                thinking.clone()
            } else {
                tool_text(answer)
            };
            Known {
                question: answer.prompt.trim().to_owned(),
                question_tokens: tokenizer.encode(&answer.prompt),
                plain: ended(tokenizer, &answer.answer),
                thinking: ended(tokenizer, &thinking),
                tools: ended(tokenizer, &tools),
            }
        });
        Self {
            known: known.collect(),
            user_header: tokenizer.encode("user\n"),
            assistant_header: tokenizer.encode("assistant\n"),
            no_thinking: tokenizer.encode(NO_THINKING),
        }
    }

    /// The plan that fits a prompt.
    pub fn plan(&self, tokenizer: &Tokenizer, prompt: &[Token]) -> Option<Plan> {
        match self.open_turn(prompt) {
            Some((header, start)) => self.chat_plan(tokenizer, prompt, header, start),
            None => self.whole_plan(tokenizer, prompt),
        }
    }

    /// Position of the last assistant turn and of the text in it.
    fn open_turn(&self, prompt: &[Token]) -> Option<(usize, usize)> {
        let turns = prompt
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, token)| **token == TURN_START);
        let opens = |at: usize| prompt[at + 1..].starts_with(&self.assistant_header);
        let header = turns.map(|(at, _)| at).find(|at| opens(*at))?;
        Some((header, header + 1 + self.assistant_header.len()))
    }

    fn chat_plan(
        &self,
        tokenizer: &Tokenizer,
        prompt: &[Token],
        header: usize,
        start: usize,
    ) -> Option<Plan> {
        let before = &prompt[..header];
        let is_user =
            |at: &usize| before[*at] == TURN_START && before[at + 1..].starts_with(&self.user_header);
        let user = (0..before.len()).rev().find(is_user)?;
        let body = &before[user + 1 + self.user_header.len()..];
        let end = body
            .iter()
            .position(|token| *token == TURN_END)
            .unwrap_or(body.len());
        let question = tokenizer.decode(&body[..end], true);
        let known = self
            .known
            .iter()
            .find(|known| known.is_asked_by(question.trim()))?;
        if prompt[start..].starts_with(&self.no_thinking) {
            return Some(Plan {
                start: start + self.no_thinking.len(),
                tokens: known.plain.clone(),
            });
        }
        let offers_tools = || tokenizer.decode(before, true).contains(TOOLS_MARKER);
        let differs = known.tools != known.thinking;
        let tokens = if differs && offers_tools() {
            &known.tools
        } else {
            &known.thinking
        };
        Some(Plan {
            start,
            tokens: tokens.clone(),
        })
    }

    fn whole_plan(&self, tokenizer: &Tokenizer, prompt: &[Token]) -> Option<Plan> {
        let skipped = usize::from(prompt.first() == Some(&BOS));
        let given = &prompt[skipped..];
        let fits = |known: &&Known| {
            given
                .strip_prefix(&known.question_tokens[..])
                .is_some_and(|said| {
                    let common = said.len().min(known.plain.len());
                    said[..common] == known.plain[..common]
                })
        };
        if let Some(known) = self
            .known
            .iter()
            .filter(fits)
            .max_by_key(|known| known.question_tokens.len())
        {
            return Some(Plan {
                start: skipped + known.question_tokens.len(),
                tokens: known.plain.clone(),
            });
        }
        let text = tokenizer.decode(given, true);
        if let Some(known) = self.known.iter().find(|known| known.is_asked_by(text.trim())) {
            return Some(Plan {
                start: prompt.len(),
                tokens: known.plain.clone(),
            });
        }
        self.document_plan(tokenizer, prompt)
    }

    /// The plan of a document with a question behind it and a beginning of the answer behind that: the answer's tokens
    /// are taken off the end, the longest beginning first, and the rest is looked at.
    fn document_plan(&self, tokenizer: &Tokenizer, prompt: &[Token]) -> Option<Plan> {
        self.known.iter().find_map(|known| {
            let begins = |said: usize| {
                let start = prompt.len().checked_sub(said)?;
                let asked = prompt[start..] == known.plain[..said]
                    && known.is_asked_by(tokenizer.decode(&prompt[..start], true).trim());
                asked.then_some(start)
            };
            let start = (1..=known.plain.len()).rev().find_map(begins)?;
            Some(Plan {
                start,
                tokens: known.plain.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::mistral;

    fn answers(reasoning: bool) -> (Tokenizer, Answers) {
        let tokenizer = Tokenizer::new(32_000);
        let mut model = mistral().model;
        model.reasoning = reasoning;
        let list: Vec<Answer> = serde_json::from_value(serde_json::json!([
            {"prompt": "The capital of France is", "answer": " Paris."},
            {"prompt": "2+2?", "answer": "4", "reasoning": "Two and two.",
             "tool_calls": [{"name": "add", "arguments": {"a": 2, "b": 2}}]},
        ]))
        .unwrap();
        let answers = Answers::new(&tokenizer, &model, &list);
        (tokenizer, answers)
    }

    fn planned(reasoning: bool, prompt: &str) -> Option<String> {
        let (tokenizer, answers) = answers(reasoning);
        let plan = answers.plan(&tokenizer, &tokenizer.encode(prompt))?;
        Some(tokenizer.decode(&plan.tokens, false))
    }

    #[test]
    fn a_whole_prompt_is_recognized_with_and_without_a_beginning_of_its_answer() {
        let (tokenizer, answers) = answers(false);
        let question = tokenizer.encode("The capital of France is");
        let full = tokenizer.encode("The capital of France is Paris");
        let plan = answers.plan(&tokenizer, &question).unwrap();
        assert_eq!(answers.plan(&tokenizer, &full).as_ref(), Some(&plan));
        assert_eq!(tokenizer.text(plan.next(&question).unwrap()), " Paris");
        assert_eq!(tokenizer.text(plan.next(&full).unwrap()), ".");
        assert_eq!(
            plan.next(&tokenizer.encode("The capital of France is London")),
            None
        );
        assert_eq!(planned(false, "The capital of Spain is"), None);
    }

    #[test]
    fn a_question_behind_a_document_is_recognized() {
        let answer = planned(false, "A long document.\n\nThe capital of France is");
        assert!(answer.unwrap().starts_with(" Paris."));
        assert_eq!(planned(false, "They say: The capital of France is"), None);
    }

    #[test]
    fn a_document_is_scored_with_the_answer_behind_it() {
        let (tokenizer, answers) = answers(false);
        let asked = tokenizer.encode("A long document.\n\nThe capital of France is");
        let plan = answers.plan(&tokenizer, &asked).unwrap();
        for said in 1..=plan.tokens.len() {
            let scored = [&asked[..], &plan.tokens[..said]].concat();
            assert_eq!(answers.plan(&tokenizer, &scored).as_ref(), Some(&plan), "{said}");
        }
        let other = [&asked[..], &tokenizer.encode(" London")].concat();
        assert_eq!(answers.plan(&tokenizer, &other), None);
    }

    #[test]
    fn a_chat_is_recognized_by_its_last_user_turn() {
        let chat = |tail: &str| {
            format!(
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>user\n 2+2? <|im_end|>\n<|im_start|>assistant\n{tail}"
            )
        };
        assert_eq!(planned(false, &chat("")).as_deref(), Some("4</s>"));
        assert_eq!(
            planned(true, &chat("")).as_deref(),
            Some("<think>\nTwo and two.\n</think>\n\n4</s>")
        );
        assert_eq!(planned(true, &chat(NO_THINKING)).as_deref(), Some("4</s>"));
        let tools = format!("<|im_start|>system\n<tools>add</tools><|im_end|>\n{}", chat(""));
        assert_eq!(
            planned(false, &tools).as_deref(),
            Some("<tool_call>\n{\"arguments\":{\"a\":2,\"b\":2},\"name\":\"add\"}\n</tool_call></s>")
        );
    }
}
