//! What is refused at any depth, where, and in what time.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::document::Document;
use super::*;
use crate::secret::SecretBytes;

const CANARY: &str = "s3cr3t-canary";

fn read(text: impl AsRef<[u8]>) -> Result<(), Refusal> {
    Document::parse(&SecretBytes::new(text.as_ref().to_vec())).map(drop)
}

/// A create whose credentials are these.
fn with(credentials: &str) -> String {
    format!(
        "{{\"version\":1,\"action\":\"create\",\"name\":\"n\",\"serviceEnvironmentId\":\"e\",\n\"credentials\":{credentials}}}"
    )
}

fn refusal(credentials: &str) -> Refusal {
    let refusal = read(with(credentials)).expect_err(credentials);
    assert!(!format!("{refusal:?}").contains(CANARY), "{refusal:?}");
    assert!(!serde_json::to_string(&refusal).expect("JSON").contains(CANARY));
    refusal
}

#[test]
fn what_may_be_lost_on_the_way_is_refused_at_any_depth_with_its_place() {
    let canary = format!("\"x\":\"{CANARY}\"");
    for (credentials, pointer, place, reason) in [
        (r#"{"a":[{"b":1,"b":2}]}"#, "/credentials/a/0/b", r#""b":2"#, "the key \"b\" comes twice"),
        (r#"{"a":1,"\u0061":2}"#, "/credentials/a", r#""\u0061""#, "the key \"a\" comes twice"),
        (r#"{"\ud83d\ude00":1,"😀":2}"#, "/credentials/😀", r#""😀""#, "the key \"😀\" comes twice"),
        (r#"{"":[0,{"":1,"":2}]}"#, "/credentials//1/", r#""":2"#, "the key \"\" comes twice"),
        (r#"{"a/b":["x\u0000"]}"#, "/credentials/a~1b/0", r#""x\u0000""#, "/credentials/a~1b/0 has a NUL character"),
        (
            r#"{"a":{"b\u0000":1}}"#,
            "/credentials/a/b\\0",
            r#""b\u0000""#,
            "/credentials/a/b\\0 is a key with a NUL character",
        ),
        (r#"{"a":"\ud800"}"#, "/credentials/a", r#""\u"#, "/credentials/a has half of a surrogate pair"),
        (r#"{"a":"\udc00\ud800"}"#, "/credentials/a", r#""\udc00"#, "/credentials/a has half of a surrogate pair"),
        (r#"{"a":"\ud800\u0041"}"#, "/credentials/a", r#""\u"#, "/credentials/a has half of a surrogate pair"),
        (
            r#"{"a":{"\ud800":1}}"#,
            "/credentials/a",
            r#""\ud800""#,
            "/credentials/a has a key with half of a surrogate pair",
        ),
        (
            r#"{"n":[1.50,1e2,-0,9007199254740993]}"#,
            "/credentials/n/3",
            "9007199254740993",
            "/credentials/n/3 is a number that would lose digits on its way",
        ),
    ] {
        let credentials = format!("{{{canary},{}", credentials.strip_prefix('{').expect("an object"));
        let refusal = refusal(&credentials);
        let column = "\"credentials\":".len() + credentials.rfind(place).expect("there") + 1;
        assert_eq!((refusal.reason.as_str(), refusal.pointer.as_deref()), (reason, Some(pointer)));
        assert_eq!((refusal.line, refusal.column), (Some(2), Some(column)), "{credentials}");
    }
    let hint = refusal(r#"{"n":1e400}"#).hint.expect("a hint");
    assert!(hint.contains("as text"), "{hint}");
}

#[test]
fn a_document_may_be_64_levels_deep_and_no_deeper() {
    let nested = |levels: usize| with(&format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels)));
    assert!(read(nested(62)).is_ok());
    let refusal = read(nested(63)).expect_err("too deep");
    assert!(refusal.reason.ends_with("is nested deeper than 64 levels"), "{}", refusal.reason);
    assert_eq!(refusal.pointer, Some(format!("/credentials/a{}", "/0".repeat(62))));
}

#[test]
fn what_comes_before_or_after_the_document_is_refused() {
    let document = with("{}");
    assert!(read(format!(" \r\n{document}\r\n\t ")).is_ok());
    let second = read(format!("{document}\n{document}")).expect_err("two");
    assert_eq!(
        (second.reason.as_str(), second.line, second.column),
        ("something follows the document", Some(3), Some(1))
    );
    assert!(second.hint.is_some_and(|hint| hint.contains("*.ndjson")));
    let marked = read(format!("\u{feff}{document}")).expect_err("marked");
    assert_eq!((marked.reason.as_str(), marked.column), ("the document begins with a byte order mark", Some(1)));
    assert_eq!(read(format!("{document}\0")).expect_err("NUL").reason, "something follows the document");
}

#[test]
fn a_hostile_mebibyte_is_read_or_refused_and_overflows_nothing() {
    const MEBIBYTE: usize = 1 << 20;
    let keys = |count: usize| (0..count).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(",");
    let cases = [
        "[".repeat(MEBIBYTE),
        "[".repeat(MEBIBYTE / 2) + &"]".repeat(MEBIBYTE / 2),
        with(&format!("{{\"a\":{}{}}}", "[".repeat(MEBIBYTE / 2), "]".repeat(MEBIBYTE / 2))),
        with(&format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(MEBIBYTE / 6), "}".repeat(MEBIBYTE / 6))),
        with(&format!("{{{}}}", keys(MEBIBYTE / 10))),
        with(&format!("{{\"a\":\"{}\"}}", "x".repeat(MEBIBYTE))),
        with(&format!("{{\"a\":\"{}\"}}", "\\n".repeat(MEBIBYTE / 2))),
        with(&format!("{{\"a\":[{}1]}}", "1,".repeat(MEBIBYTE / 2))),
        with(&format!("{{\"a\":0.{}1}}", "0".repeat(MEBIBYTE))),
        with(&format!("{{\"a\":{}}}", "9".repeat(MEBIBYTE))),
    ];
    // What is not linear would take minutes for each.
    let refused = cases.map(|case| read(&case).is_err());
    assert_eq!(refused, [true, true, true, true, false, false, false, false, true, true]);
}

/// JSON with the canary in every text, and numbers that doubles hold.
fn any_json() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_filter("finite", |double| double.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        "[^\0]{0,8}".prop_map(|text| Value::from(format!("{CANARY}{text}"))),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^\0]{0,6}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_json_prints_is_read(value in any_json()) {
        let credentials = json!({"value": value});
        prop_assert!(read(with(&credentials.to_string())).is_ok());
        prop_assert!(read(with(&serde_json::to_string_pretty(&credentials).expect("JSON"))).is_ok());
    }

    #[test]
    fn no_refusal_carries_a_value(value in any_json(), cut in 0_usize..400, junk in "[\\PC\0\n]{0,4}", key in "[a-z]{1,6}") {
        let mut members = Map::new();
        members.insert("value".to_owned(), value);
        let whole = with(&Value::Object(members).to_string());
        let cut = whole.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(whole.len());
        let (head, tail) = whole.split_at(cut);
        let broken = [
            format!("{head}{junk}{tail}"),
            head.to_owned(),
            whole.replacen("\"version\"", &format!("\"{key}\":\"{CANARY}\",\"version\""), 1),
            whole.replacen("\"e\"", &format!("[\"{CANARY}\"]"), 1),
            whole.replacen("\"create\"", &format!("\"{CANARY}\""), 1),
            format!("{whole}{whole}"),
        ];
        for text in broken {
            if let Err(refusal) = read(&text) {
                // What junk turns into a key may be shown, so only whole keys of the document's are looked at.
                let shown = format!("{refusal:?}{}", serde_json::to_string(&refusal).expect("JSON"));
                prop_assert!(!shown.contains(CANARY), "{}", shown);
            }
        }
    }
}
