//! As much of GraphQL's syntax as the contract's operations take: one operation with one root field, arguments inline
//! or as variables, nested selections, aliases. No fragments, no directives.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Number, Value};

/// Selections and values nest no deeper than this.
const DEPTH: usize = 16;

/// Query or mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
}

impl Kind {
    /// The name of the root type.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Query => "Query",
            Self::Mutation => "Mutation",
        }
    }
}

/// A parsed operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) field: Field,
}

/// A field with its arguments, variables resolved, and what is selected of it.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    alias: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) selection: Vec<Field>,
}

impl Field {
    /// The name under which the answer holds it.
    pub(super) fn key(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

/// Parses a query; the error is a message for the client.
pub(super) fn parse(query: &str, variables: &Map<String, Value>) -> Result<Operation, String> {
    let mut parser = Parser { tokens: tokens(query)?.into_iter().peekable(), declared: Vec::new(), variables };
    let operation = parser.operation()?;
    match parser.tokens.next() {
        None => Ok(operation),
        Some(token) => Err(unexpected(Some(token))),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Variable(String),
    Text(String),
    Number(Number),
    Punctuation(char),
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' | ',' | '\u{feff}' => {}
            '#' => while rest.next_if(|character| *character != '\n').is_some() {},
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '!' | '=' => {
                tokens.push(Token::Punctuation(character));
            }
            '"' => tokens.push(Token::Text(text(&mut rest)?)),
            '$' => tokens.push(Token::Variable(word(String::new(), &mut rest))),
            '-' | '0'..='9' => {
                let number = word(character.to_string(), &mut rest);
                let number = number.parse().map_err(|_| format!("Syntax Error: invalid number {number}."))?;
                tokens.push(Token::Number(number));
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                tokens.push(Token::Name(word(character.to_string(), &mut rest)));
            }
            other => return Err(format!("Syntax Error: unexpected character \"{other}\".")),
        }
    }
    Ok(tokens)
}

/// The rest of a name or number.
fn word(mut begun: String, rest: &mut Peekable<Chars<'_>>) -> String {
    while let Some(more) = rest.next_if(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.')) {
        begun.push(more);
    }
    begun
}

/// The rest of a string; its escapes are those of JSON.
fn text(rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut quoted = String::from('"');
    while let Some(character) = rest.next() {
        quoted.push(character);
        match character {
            '"' => {
                return serde_json::from_str(&quoted).map_err(|_| "Syntax Error: invalid string.".to_owned());
            }
            '\\' => quoted.extend(rest.next()),
            _ => {}
        }
    }
    Err("Syntax Error: unterminated string.".to_owned())
}

struct Parser<'a> {
    tokens: Peekable<std::vec::IntoIter<Token>>,
    declared: Vec<String>,
    variables: &'a Map<String, Value>,
}

impl Parser<'_> {
    fn operation(&mut self) -> Result<Operation, String> {
        let kind = match self.tokens.peek() {
            Some(Token::Name(word)) if word == "query" => Kind::Query,
            Some(Token::Name(word)) if word == "mutation" => Kind::Mutation,
            Some(Token::Punctuation('{')) => return self.root(Kind::Query),
            _ => return Err(unexpected(self.tokens.next())),
        };
        self.tokens.next();
        self.tokens.next_if(|token| matches!(token, Token::Name(_)));
        if self.accept('(') {
            self.declarations()?;
        }
        self.root(kind)
    }

    fn root(&mut self, kind: Kind) -> Result<Operation, String> {
        let mut fields = self.selection(DEPTH)?;
        match (fields.pop(), fields.is_empty()) {
            (Some(field), true) => Ok(Operation { kind, field }),
            _ => Err("the emulator takes one root field at a time".to_owned()),
        }
    }

    /// `$name: Type = default …)`, of which only the names matter here.
    fn declarations(&mut self) -> Result<(), String> {
        loop {
            match self.tokens.next() {
                Some(Token::Punctuation(')')) => return Ok(()),
                Some(Token::Variable(name)) => self.declared.push(name),
                Some(_) => {}
                None => return Err(unexpected(None)),
            }
        }
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Field>, String> {
        self.expect('{')?;
        let mut fields = Vec::new();
        while !self.accept('}') {
            fields.push(self.field(deeper(depth)?)?);
        }
        if fields.is_empty() { Err("Syntax Error: empty selection.".to_owned()) } else { Ok(fields) }
    }

    fn field(&mut self, depth: usize) -> Result<Field, String> {
        let mut name = self.name()?;
        let mut alias = None;
        if self.accept(':') {
            alias = Some(std::mem::replace(&mut name, self.name()?));
        }
        let arguments = if self.accept('(') { self.entries(')', depth)? } else { Map::new() };
        let is_nested = self.tokens.peek() == Some(&Token::Punctuation('{'));
        let selection = if is_nested { self.selection(depth)? } else { Vec::new() };
        Ok(Field { alias, name, arguments, selection })
    }

    /// `name: value …` up to `end`. A variable that was given no value leaves its entry out.
    fn entries(&mut self, end: char, depth: usize) -> Result<Map<String, Value>, String> {
        let mut entries = Map::new();
        while !self.accept(end) {
            let name = self.name()?;
            self.expect(':')?;
            if let Some(value) = self.value(deeper(depth)?)? {
                entries.insert(name, value);
            }
        }
        Ok(entries)
    }

    fn value(&mut self, depth: usize) -> Result<Option<Value>, String> {
        let value = match self.tokens.next() {
            Some(Token::Variable(name)) if self.declared.contains(&name) => {
                return Ok(self.variables.get(&name).cloned());
            }
            Some(Token::Variable(name)) => {
                return Err(format!("Variable \"${name}\" is not defined."));
            }
            Some(Token::Text(text)) => text.into(),
            Some(Token::Number(number)) => number.into(),
            Some(Token::Name(word)) => match word.as_str() {
                "true" => true.into(),
                "false" => false.into(),
                "null" => Value::Null,
                _ => word.into(),
            },
            Some(Token::Punctuation('{')) => self.entries('}', depth)?.into(),
            Some(Token::Punctuation('[')) => {
                let mut items = Vec::new();
                while !self.accept(']') {
                    items.extend(self.value(deeper(depth)?)?);
                }
                items.into()
            }
            other => return Err(unexpected(other)),
        };
        Ok(Some(value))
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            other => Err(unexpected(other)),
        }
    }

    fn accept(&mut self, punctuation: char) -> bool {
        self.tokens.next_if_eq(&Token::Punctuation(punctuation)).is_some()
    }

    fn expect(&mut self, punctuation: char) -> Result<(), String> {
        if self.accept(punctuation) { Ok(()) } else { Err(unexpected(self.tokens.next())) }
    }
}

fn deeper(depth: usize) -> Result<usize, String> {
    depth.checked_sub(1).ok_or_else(|| "Syntax Error: nested too deeply.".to_owned())
}

fn unexpected(token: Option<Token>) -> String {
    match token {
        Some(Token::Name(text) | Token::Text(text)) => {
            format!("Syntax Error: unexpected \"{text}\".")
        }
        Some(Token::Variable(name)) => format!("Syntax Error: unexpected \"${name}\"."),
        Some(Token::Number(number)) => format!("Syntax Error: unexpected {number}."),
        Some(Token::Punctuation(character)) => format!("Syntax Error: unexpected \"{character}\"."),
        None => "Syntax Error: unexpected end of the query.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse_with(query: &str, variables: &Value) -> Result<Operation, String> {
        parse(query, variables.as_object().unwrap_or(&Map::new()))
    }

    #[test]
    fn arguments_come_inline_or_as_variables() -> Result<(), String> {
        let inline =
            parse_with(r#"{ users(first: 2, criteria: {externalUserId: "a\"1"}) { edges { cursor } } }"#, &json!({}))?;
        let variables = json!({"first": 2, "criteria": {"externalUserId": "a\"1"}});
        let named = "query Users($first: Int = 5, $criteria: [UserCriteria!]!, $after: String) {
            # a comment
            users(first: $first, criteria: $criteria, after: $after) { edges { cursor } }
        }";
        let named = parse_with(named, &variables)?;
        assert_eq!(inline.kind, Kind::Query);
        assert_eq!(inline.field, named.field);
        Ok(())
    }

    #[test]
    fn what_it_does_not_understand_is_an_error() {
        for query in [
            "",
            "{",
            "{ }",
            "subscription { x }",
            "{ a b }",
            "{ users(first: $undeclared) { x } }",
            "{ users { ...fragment } }",
            "{ a } { b }",
            "{ a(b: \"unterminated) }",
        ] {
            assert!(parse_with(query, &json!({})).is_err(), "{query}");
        }
        assert!(parse_with(&"{a".repeat(1000), &json!({})).is_err());
    }

    #[test]
    fn aliases_name_the_answer() -> Result<(), String> {
        let operation = parse_with("mutation { made: authorize(input: {userId: \"1\"}) { accessToken } }", &json!({}))?;
        assert_eq!((operation.kind, operation.field.key()), (Kind::Mutation, "made"));
        assert_eq!(operation.field.name, "authorize");
        Ok(())
    }
}
