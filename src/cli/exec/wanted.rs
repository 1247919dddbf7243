//! What is wanted: which value, and where it goes.

use nix::sys::signal::Signal;

use crate::{authentication::AuthenticationId, percent};

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Into an environment variable.
    Variable,
    /// Into a sealed file that is inherited; its path into a variable.
    File,
    /// Into a file on tmpfs; its path into a variable.
    TmpfsFile,
}

/// `VAR=ID[/POINTER]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    name: String,
    id: AuthenticationId,
    /// A JSON pointer (RFC 6901); none for all of it.
    pointer: Option<String>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) form: Form,
    /// The variable.
    pub(super) name: String,
    pub(super) id: AuthenticationId,
    /// The request that asks for it.
    pub(super) path: String,
}

impl Wanted {
    pub(super) fn new(form: Form, source: &Source) -> Self {
        let Source { name, id, pointer } = source;
        let query = pointer.as_ref().map(|pointer| format!("?field={}", percent::encode(pointer))).unwrap_or_default();
        let path = format!("/v1/authentications/{id}/full{query}");
        Self { form, name: name.clone(), id: *id, path }
    }
}

pub(super) fn field(text: &str) -> Result<Source, &'static str> {
    let source = field_or_all(text)?;
    if source.pointer.is_some() { Ok(source) } else { Err("name a field too, such as ID/credentials/accessToken") }
}

pub(super) fn field_or_all(text: &str) -> Result<Source, &'static str> {
    let (name, source) = text.split_once('=').ok_or("it reads VAR=ID/POINTER")?;
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_name =
        name.bytes().next().is_some_and(is_letter) && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit());
    if !is_name {
        return Err("a variable's name has letters, digits and _, and does not begin with a digit");
    }
    let (id, pointer) = match source.find('/') {
        Some(at) => (&source[..at], Some(source[at..].to_owned())),
        None => (source, None),
    };
    let id = id.parse().map_err(|_| "the id of an authentication is a UUID, as trayvault list shows it")?;
    Ok(Source { name: name.to_owned(), id, pointer })
}

/// A signal's name, with or without SIG.
pub(super) fn signal(text: &str) -> Result<Signal, &'static str> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse().map_err(|_| "a signal is such as HUP or USR1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b1c52d4-3c2e-4f0a-9d6e-5a7b8c9d0e1f";

    #[test]
    fn a_source_is_a_variable_an_id_and_a_pointer() {
        let source = field(&format!("_T1={ID}/credentials/a~1b=c")).expect("it is one");
        assert_eq!((source.name.as_str(), source.pointer.as_deref()), ("_T1", Some("/credentials/a~1b=c")));
        let wanted = Wanted::new(Form::Variable, &source);
        assert_eq!(wanted.path, format!("/v1/authentications/{ID}/full?field=%2Fcredentials%2Fa~1b%3Dc"));
        let all = field_or_all(&format!("ALL={ID}")).expect("it is one");
        assert_eq!(Wanted::new(Form::File, &all).path, format!("/v1/authentications/{ID}/full"));
        assert!(field(&format!("ALL={ID}")).is_err());
    }

    #[test]
    fn what_is_no_variable_or_no_id_is_refused() {
        for text in ["T", "=x", "1T=x", "T-1=x", "T =x", "Ü=x", "T=", "T=/credentials", "T=no-id/credentials"] {
            assert!(field_or_all(text).is_err(), "{text}");
            assert!(field_or_all(&text.replace("=x", &format!("={ID}"))).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_go_by_name() {
        assert_eq!(
            [signal("HUP"), signal("sighup"), signal("usr1")].map(Result::ok),
            [Some(Signal::SIGHUP), Some(Signal::SIGHUP), Some(Signal::SIGUSR1)]
        );
        assert!(signal("1").is_err() && signal("").is_err());
    }
}
