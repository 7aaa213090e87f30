//! A small byte-level tokenizer whose pieces look like a real one's.
//!
//! Every piece is a string of bytes and every single byte is a piece, so any text encodes and decodes to
//! itself. English averages about four characters a token (frequent words with their leading space, then
//! three, two and one letters); a Chinese character takes one or two tokens. Ids: 0 to 15 special tokens,
//! then the 256 bytes, then pieces until the vocabulary is full; ids beyond the last piece are reserved.

use std::collections::HashMap;

/// A token id.
pub type Token = u32;

/// Beginning of a text.
pub const BOS: Token = 1;
/// End of an answer.
pub const EOS: Token = 2;
/// Beginning of a chat message.
pub const TURN_START: Token = 3;
/// End of a chat message.
pub const TURN_END: Token = 4;
/// One patch of an image.
pub const IMAGE_PATCH: Token = 7;

const SPECIAL: [&str; 16] = [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<|image_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|reserved_10|>",
    "<|reserved_11|>",
    "<|reserved_12|>",
    "<|reserved_13|>",
    "<|reserved_14|>",
    "<|reserved_15|>",
];
/// Special tokens that stay visible when special tokens are skipped: parsers read them from the text.
const VISIBLE: std::ops::RangeInclusive<Token> = 5..=9;
const FIRST_BYTE: Token = 16;
const LONGEST_PIECE: usize = 24;
const WORDS: &str = include_str!("../data/words.txt");
const COMMON_CHINESE: &str = "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切除讲须引";

/// A vocabulary of a given size.
#[derive(Debug)]
pub struct Tokenizer {
    pieces: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, Token>,
    vocab_size: u32,
    words: Vec<Token>,
    openers: Vec<Token>,
    sentence_openers: Vec<Token>,
}

impl Tokenizer {
    /// Builds the vocabulary of that size (at least [`crate::config::SMALLEST_VOCABULARY`]).
    pub fn new(vocab_size: u32) -> Self {
        let mut tokenizer = Self {
            pieces: SPECIAL.iter().map(|text| text.as_bytes().into()).collect(),
            ids: HashMap::new(),
            vocab_size,
            words: Vec::new(),
            openers: Vec::new(),
            sentence_openers: Vec::new(),
        };
        for byte in 0..=u8::MAX {
            tokenizer.add(&[byte]);
        }
        tokenizer.add_words();
        tokenizer.add_chinese();
        tokenizer.add_letters();
        for code in '\u{4e00}'..='\u{9fff}' {
            tokenizer.add(code.to_string().as_bytes());
        }
        tokenizer
    }

    fn add(&mut self, piece: &[u8]) -> Option<Token> {
        if let Some(id) = self.ids.get(piece) {
            return Some(*id);
        }
        let id = u32::try_from(self.pieces.len())
            .ok()
            .filter(|id| *id < self.vocab_size)?;
        self.pieces.push(piece.into());
        self.ids.insert(piece.into(), id);
        Some(id)
    }

    fn add_words(&mut self) {
        for text in [
            "\n\n", "  ", "    ", "        ", "\n    ", "\r\n", "\", \"", "\": \"", "\": ", "```",
        ] {
            self.add(text.as_bytes());
        }
        for word in WORDS.split_whitespace() {
            let id = self.add(format!(" {word}").as_bytes());
            if word.chars().all(|letter| letter.is_ascii_lowercase()) {
                self.words.extend(id);
            }
        }
        for word in WORDS.split_whitespace() {
            self.add(word.as_bytes());
            let mut letters = word.chars();
            let Some(first) = letters.next() else { continue };
            let capitalized = format!("{}{}", first.to_ascii_uppercase(), letters.as_str());
            let opener = self.add(capitalized.as_bytes());
            self.openers.extend(opener);
            let sentence_opener = self.add(format!(" {capitalized}").as_bytes());
            self.sentence_openers.extend(sentence_opener);
        }
        for list in [&mut self.words, &mut self.openers, &mut self.sentence_openers] {
            list.sort_unstable();
            list.dedup();
        }
    }

    fn add_chinese(&mut self) {
        for character in COMMON_CHINESE.chars().chain("，。、：；？！（）“”".chars()) {
            self.add(character.to_string().as_bytes());
        }
        // The first two bytes of every character of the basic planes: with the third byte, two tokens.
        for first in 0xe3..=0xe9_u8 {
            for second in 0x80..=0xbf_u8 {
                self.add(&[first, second]);
            }
        }
    }

    fn add_letters(&mut self) {
        let letters = || b'a'..=b'z';
        for first in letters() {
            self.add(&[b' ', first]);
            self.add(&[b' ', first.to_ascii_uppercase()]);
            for second in letters() {
                self.add(&[first, second]);
                self.add(&[b' ', first, second]);
                self.add(&[first.to_ascii_uppercase(), second]);
                self.add(&[b' ', first.to_ascii_uppercase(), second]);
            }
        }
        for first in letters() {
            for second in letters() {
                for third in letters() {
                    self.add(&[first, second, third]);
                }
            }
        }
    }

    /// Ids are below this.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// Pieces that are a lower-case word with its leading space.
    pub fn words(&self) -> &[Token] {
        &self.words
    }

    /// Pieces that are a capitalized word without a space.
    pub fn openers(&self) -> &[Token] {
        &self.openers
    }

    /// Pieces that are a capitalized word with its leading space.
    pub fn sentence_openers(&self) -> &[Token] {
        &self.sentence_openers
    }

    /// The id of exactly that piece.
    pub fn id(&self, piece: &str) -> Option<Token> {
        self.ids.get(piece.as_bytes()).copied()
    }

    /// Encodes a text; the texts of special tokens become these tokens.
    pub fn encode(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len() / 3 + 1);
        let mut rest = text;
        while let Some((at, id)) = next_special(rest) {
            self.encode_plain(&rest.as_bytes()[..at], &mut tokens);
            tokens.push(id);
            rest = &rest[at + SPECIAL[id as usize].len()..];
        }
        self.encode_plain(rest.as_bytes(), &mut tokens);
        tokens
    }

    fn encode_plain(&self, mut bytes: &[u8], tokens: &mut Vec<Token>) {
        while let Some(first) = bytes.first() {
            let longest = bytes.len().min(LONGEST_PIECE);
            let found = (2..=longest)
                .rev()
                .find_map(|length| self.ids.get(&bytes[..length]).map(|id| (*id, length)));
            let (id, length) = found.unwrap_or((FIRST_BYTE + u32::from(*first), 1));
            tokens.push(id);
            bytes = &bytes[length..];
        }
    }

    /// The bytes of a token; reserved ids read `<|reserved_N|>`.
    pub fn bytes(&self, token: Token) -> std::borrow::Cow<'_, [u8]> {
        match self.pieces.get(token as usize) {
            Some(piece) => piece.as_ref().into(),
            None => format!("<|reserved_{token}|>").into_bytes().into(),
        }
    }

    /// True for tokens that are left out of answers.
    pub fn is_hidden(&self, token: Token) -> bool {
        !VISIBLE.contains(&token) && (token < FIRST_BYTE || token as usize >= self.pieces.len())
    }

    /// One token's text, as logprobs show it: bytes that are no text of their own read U+FFFD.
    pub fn text(&self, token: Token) -> String {
        String::from_utf8_lossy(&self.bytes(token)).into_owned()
    }

    /// The piece as a byte-level vocabulary writes it: printable stand-ins for each byte.
    pub fn piece(&self, token: Token) -> String {
        if token < FIRST_BYTE {
            return self.text(token);
        }
        self.bytes(token).iter().map(|byte| stand_in(*byte)).collect()
    }

    /// Decodes all tokens, special ones included unless they are to be skipped.
    pub fn decode(&self, tokens: &[Token], skip_special: bool) -> String {
        let mut bytes = Vec::new();
        for token in tokens
            .iter()
            .filter(|token| !(skip_special && self.is_hidden(**token)))
        {
            bytes.extend_from_slice(&self.bytes(*token));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn next_special(text: &str) -> Option<(usize, Token)> {
    let candidates = text.match_indices('<').filter_map(|(at, _)| {
        let id = SPECIAL
            .iter()
            .position(|special| text[at..].starts_with(special))?;
        Some((at, u32::try_from(id).ok()?))
    });
    candidates.into_iter().next()
}

/// GPT-2's printable stand-in of a byte: itself where that is printable, else the next free code above 255.
fn stand_in(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !printable(*other)).count();
    u32::try_from(before)
        .ok()
        .and_then(|before| char::from_u32(256 + before))
        .unwrap_or('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENGLISH: &str = "The capital of France is Paris. It is a large city on the river, and many people \
                           of the country live there because work can be found in it.";

    #[test]
    fn english_takes_about_four_characters_a_token() {
        let tokens = Tokenizer::new(32_000).encode(ENGLISH);
        let ratio = ENGLISH.len() as f64 / tokens.len() as f64;
        assert!((3.0..5.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn chinese_takes_one_or_two_tokens_a_character() {
        let text = "中国的首都是北京，请用一句话回答鹦鹉";
        let count = Tokenizer::new(32_000).encode(text).len();
        let characters = text.chars().count();
        assert!(
            (characters..=2 * characters).contains(&count),
            "{count} of {characters}"
        );
    }

    #[test]
    fn special_tokens_are_one_token_and_can_be_skipped() {
        let tokenizer = Tokenizer::new(32_000);
        let tokens = tokenizer.encode("<|im_start|>user\nHi<|im_end|>");
        assert_eq!(tokens[0], TURN_START);
        assert_eq!(*tokens.last().unwrap(), TURN_END);
        assert_eq!(tokenizer.decode(&tokens, true), "user\nHi");
    }

    #[test]
    fn stand_ins_are_those_of_byte_level_vocabularies() {
        assert_eq!(stand_in(b' '), 'Ġ');
        assert_eq!(stand_in(b'\n'), 'Ċ');
        assert_eq!(stand_in(b'a'), 'a');
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC*|[\\x00-\\x7f]{0,40}|(<\\|im_start\\|>|<s>|<|é|中|😀| the ){0,9}") {
            for size in [512, 32_000] {
                let tokenizer = Tokenizer::new(size);
                let tokens = tokenizer.encode(&text);
                prop_assert!(tokens.iter().all(|token| *token < size));
                prop_assert_eq!(tokenizer.decode(&tokens, false), text.clone());
            }
        }
    }
}
