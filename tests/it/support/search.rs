//! Searches what came out of the program for what must not: secrets as they are, and in whatever form text travels.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use aho_corasick::AhoCorasick;
use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use trayvault::emulator::{QUOTED, SECRET_MARK};

/// What the tests' own secrets hold: credentials in documents, passphrases, and what is in a request that is wrong. It
/// begins as the emulator's secrets do.
pub(crate) const CANARY: &str = "sk-emu-canary-5d20c7e81f6b4a93";

/// A shorter secret would be found in what is not it.
const SHORTEST: usize = 8;

/// What of a secret of the emulator's is searched for: its last characters, for those before say what it is.
const TAIL: usize = 16;

/// Commands whose standard output may hold secrets, and why; their standard error may not.
const TELLING: [(&[&str], &str); 3] = [
    (&["get"], "prints what it was asked for"),
    (&["exec"], "passes on what the command prints that was given secrets"),
    (&["ingest", "show"], "opens a rejected document"),
];

/// Whether a command prints secrets to its caller by design.
pub(crate) fn tells_secrets(arguments: &[&str]) -> bool {
    TELLING.iter().any(|(command, _)| arguments.starts_with(command))
}

/// Whether this path answers with secrets by design, when it does not refuse.
pub(crate) fn answers_secrets(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    // The authentication itself, and a rejected document that is opened.
    path.ends_with("/full") || path.starts_with("/v1/ingest/rejected/")
}

/// Whether a file is where a secret is kept for the program to read: not searched, and searched for.
pub(crate) fn holds_a_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".key", ".token", "passphrase"].iter().any(|end| name.ends_with(end))
}

/// A secret's name, which a failure may say, and the secret.
type Named = (String, Vec<u8>);

pub(crate) struct Search {
    /// Of each pattern: what it is, in which form.
    patterns: Vec<(String, &'static str)>,
    automaton: AhoCorasick,
}

impl Search {
    /// For the secrets of an emulator, for what the tests put in, and for more of which each has a name.
    pub(crate) fn new(emulators: &[String], more: Vec<Named>) -> Self {
        let tails = emulators.iter().map(|secret| {
            let (kind, tail) = secret.split_at(secret.len() - TAIL);
            (kind.trim_end_matches(|char: char| char.is_ascii_hexdigit()).to_owned(), tail.as_bytes().to_vec())
        });
        let own =
            [("a canary", CANARY), ("an error's text", QUOTED)].map(|(name, text)| (name.to_owned(), text.into()));
        let secrets = tails.chain(own).chain(more.into_iter().filter(|(_, secret)| secret.len() >= SHORTEST));
        let mut patterns = vec![(("a secret's beginning".to_owned(), "plain"), SECRET_MARK.as_bytes().to_vec())];
        for (name, secret) in secrets {
            patterns.extend(forms(&secret).into_iter().map(|(form, text)| ((name.clone(), form), text)));
        }
        let (patterns, texts): (_, Vec<_>) = patterns.into_iter().unzip();
        Self { patterns, automaton: AhoCorasick::new(texts).expect("patterns") }
    }

    /// What is found first, and in which form.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<String> {
        let hit = self.automaton.find(bytes)?;
        let (name, form) = &self.patterns[hit.pattern().as_usize()];
        Some(format!("{name} ({form}) at {}", hit.start()))
    }

    /// Searches all of these, of which each has a name, and adds up what was searched in the whole suite.
    #[track_caller]
    pub(crate) fn finds_nothing_in(&self, all: impl Iterator<Item = (String, Vec<u8>)>) {
        let (mut count, mut bytes, mut hits) = (0, 0, Vec::new());
        for (name, content) in all {
            count += 1;
            bytes += content.len();
            hits.extend(self.find(&content).map(|hit| format!("{name}: {hit}")));
        }
        assert!(hits.is_empty(), "secrets came out:\n{}", hits.join("\n"));
        let sums = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redaction.searched");
        let mut sums = File::options().create(true).append(true).open(sums).expect("the sums");
        let line = format!("{bytes} {count} {}\n", self.patterns.len());
        sums.write_all(line.as_bytes()).expect("a line");
    }
}

/// A file's content; `None` if it has just gone.
pub(crate) fn content(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Every form in which a secret may come out.
pub(crate) fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let each = |write: fn(u8) -> String| secret.iter().map(|byte| write(*byte)).collect::<String>();
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: &u8| if kept(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String = secret.iter().map(encoded).collect();
    let mut forms = vec![
        ("hex", each(|byte| format!("{byte:02x}"))),
        ("hex", each(|byte| format!("{byte:02X}"))),
        ("a list of bytes", each(|byte| format!("{byte}, ")).trim_end_matches(", ").to_owned()),
        ("URL-encoded, every byte", each(|byte| format!("%{byte:02x}"))),
        ("URL-encoded, every byte", each(|byte| format!("%{byte:02X}"))),
        ("URL-encoded", encoded.replace("%20", "+")),
        ("URL-encoded", encoded.to_lowercase()),
        ("URL-encoded", encoded),
        ("JSON-escaped, every byte", each(|byte| format!("\\u{byte:04x}"))),
        ("JSON-escaped, every byte", each(|byte| format!("\\u{byte:04X}"))),
    ];
    if let Ok(text) = str::from_utf8(secret) {
        let quoted = serde_json::to_string(text).expect("JSON");
        let escaped = quoted[1..quoted.len() - 1].to_owned();
        forms.extend([("JSON-escaped", escaped.replace('/', "\\/")), ("JSON-escaped", escaped)]);
    }
    for alphabet in [&STANDARD, &URL_SAFE] {
        forms.extend((0..3).map(|before| ("base64", base64(secret, before, alphabet))));
    }
    let forms = forms.into_iter().map(|(form, text)| (form, text.into_bytes()));
    std::iter::once(("plain", secret.to_vec())).chain(forms).collect()
}

/// What is sure of a secret's base64 when so many bytes come before it, beside multiples of three.
fn base64(secret: &[u8], before: usize, alphabet: &Alphabet) -> String {
    let whole = GeneralPurpose::new(alphabet, NO_PAD).encode([&vec![0; before], secret].concat());
    // Six bits a character: those that are the secret's alone.
    whole[(before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6].to_owned()
}
