//! JSON pointers, and the JSON that they point into.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use trayvault::pointer::Pointer;

fuzz_target!(|input: (&str, &str)| {
    let (text, json) = input;
    let Ok(pointer) = text.parse::<Pointer>() else { return };
    assert_eq!(pointer.to_string(), text);
    let Ok(whole) = serde_json::from_str::<&RawValue>(json) else { return };
    if let Some(part) = pointer.find(whole) {
        let (outer, inner) = (whole.get().as_bytes().as_ptr_range(), part.get().as_bytes().as_ptr_range());
        assert!(outer.start <= inner.start && inner.end <= outer.end, "it is a part of the text");
    }
});
